"""Networks on a device, and files of them for other runtimes."""
