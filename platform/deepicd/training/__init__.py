"""Experiment → checkpoint: the only room that imports verl."""
