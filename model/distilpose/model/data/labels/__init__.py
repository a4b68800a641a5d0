"""The labels of a data folder: where tools put them, and how each becomes a person or a fault."""
