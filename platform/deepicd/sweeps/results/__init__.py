"""What a sweep has found: trials, status, decision, Pareto front, snapshots."""
