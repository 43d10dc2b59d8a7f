"""What verl loads in every process of its own: platforms and guarded patches."""
