"""verl's platform, engine and rollouts on CPU."""
