"""What an experiment's reward pays for, before anything is trained with it."""
