"""Networks on a device, and their export for other runtimes."""
