"""Profiles, and the figures of a run that are known before it is made: sizes, memory, speed."""
