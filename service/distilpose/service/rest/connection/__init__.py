"""HTTP connections: accepted, counted, bounded, read, and ended in time."""
