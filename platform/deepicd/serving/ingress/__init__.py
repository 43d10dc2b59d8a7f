"""The HTTP side of the endpoint: routes, middleware, schemas, the monitor's page. No Ray here."""
