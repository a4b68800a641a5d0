"""The demo page: its routes and its files."""
