"""Sizes and choices by measurement: short real trainings, and a law that says which to try."""
