"""Backends, and what a backend says of the device that it found."""
