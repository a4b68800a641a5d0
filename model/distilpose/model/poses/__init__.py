"""What is answered of a picture: light results that need no torch."""
