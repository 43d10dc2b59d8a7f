"""A trial's checkpoints: whole shards, retention, other world sizes, checked exports."""
