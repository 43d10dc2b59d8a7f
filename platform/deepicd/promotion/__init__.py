"""Candidate x champion → Decision; the registry of model versions and its aliases."""
