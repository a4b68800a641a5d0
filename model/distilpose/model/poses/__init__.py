"""Results for a picture: light classes that need no torch."""
