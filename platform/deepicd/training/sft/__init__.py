"""Supervised fine-tuning by verl on Ray Train."""
