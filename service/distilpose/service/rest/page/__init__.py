"""The demo page: its routes and the files that it is made of."""
