"""What a client meets: routes, limits, typed replies, the dashboard."""
