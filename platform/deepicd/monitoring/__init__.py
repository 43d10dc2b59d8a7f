"""Predictions x late labels → windows of hierarchical F1."""
