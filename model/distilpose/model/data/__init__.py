"""Labelled people for training and evaluation, and checks of their labels."""
