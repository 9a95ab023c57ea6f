"""Attempts to get out of the cell, one function each, for `autoresearch doctor --attack`; trial.py makes their world."""
