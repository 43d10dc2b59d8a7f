"""The replica that holds vLLM: its engine, its completions, the versions it may load."""
