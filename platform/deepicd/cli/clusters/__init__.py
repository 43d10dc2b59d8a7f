"""Commands about machines, from a single one to a cluster."""
