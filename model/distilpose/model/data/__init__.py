"""Labelled people: to learn from, to be measured on, and what may be wrong with them."""
