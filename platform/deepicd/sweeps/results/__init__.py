"""What a sweep has reached: trials, ranking, decision, Pareto front, status, snapshots."""
