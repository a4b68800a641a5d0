"""Authentication and TLS: keys, certificates, and files that may be replaced while serving."""
