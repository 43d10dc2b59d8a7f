"""The engine side of the endpoint: vLLM in one process, its answers, checks of versions."""
