"""Batches of labelled people: cropped once, augmented, loaded by several processes."""
