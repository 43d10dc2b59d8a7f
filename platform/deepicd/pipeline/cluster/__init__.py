"""Clusters from the command line: render, check, launch, submit."""
