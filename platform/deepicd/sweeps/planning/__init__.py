"""What a sweep will need and cost before it starts, and what early stopping would have saved."""
