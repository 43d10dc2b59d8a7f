"""What Ray Tune calls while a sweep runs: records, progress, duplicate trials, clean-up."""
