"""Experiment + search space → ranked trials: the only package that imports Ray Tune."""
