"""Items to batches on one device. Knows nothing of images or models."""
