"""Guarded patches of verl and TransferQueue, each with its upstream reason."""
