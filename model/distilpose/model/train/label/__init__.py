"""Photos that nobody labelled, labelled by a network."""
