"""Training: losses, data, steps and loops; the service never imports it."""
