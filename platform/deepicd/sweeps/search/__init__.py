"""Which trials a sweep draws: space, searcher, repeats, budget, warm start."""
