"""Pictures with what was found in them, and pictures to files."""
