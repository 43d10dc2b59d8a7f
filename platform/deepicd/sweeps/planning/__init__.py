"""What a sweep will need and cost, before it starts; early stopping replayed."""
