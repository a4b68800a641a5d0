"""Measurements of a network: accuracy, reliability of its scores, cost."""
