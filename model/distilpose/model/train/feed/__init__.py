"""Labelled people to batches: cut once, augmented, loaded by several processes."""
