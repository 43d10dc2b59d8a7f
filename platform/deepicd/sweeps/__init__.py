"""Experiment + search space → ranked trials: the only room that imports Ray Tune."""
