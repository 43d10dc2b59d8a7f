"""vLLM outside of serving: a split answered in one go, weights reloaded in place."""
