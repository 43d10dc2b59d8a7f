"""The process that drives verl: its runner, its messages, its placement and watchdog."""
