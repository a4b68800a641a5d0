"""One request's journey through decode, detect and pose."""
