"""The service's metrics, logs and traces."""
