"""The `distilpose` command."""
