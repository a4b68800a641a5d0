"""Label photos with a network."""
