"""vLLM as evaluation and serving use it: its arguments, whole splits, weights reloaded in place."""
