"""Draw people on pictures, and encode the pictures as files."""
