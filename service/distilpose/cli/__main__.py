"""`python -m distilpose.cli` is the same as `distilpose`."""

from distilpose.cli import main

main()
