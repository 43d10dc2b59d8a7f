"""Quality of a running endpoint: its predictions and late labels → windows, drift, alerts."""
