"""The person detector trained on any folder of labelled people."""
