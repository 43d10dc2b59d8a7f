"""Cluster descriptions, checked before launch, and the Ray session a command works in."""
