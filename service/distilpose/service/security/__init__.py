"""Who may come in: keys, certificates, and files that are replaced while we serve."""
