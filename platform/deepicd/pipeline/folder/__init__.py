"""A run's folder: its name and place, its lock, what the run is to do, what it spent."""
