"""The client's HTTP transport."""
