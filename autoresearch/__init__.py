"""An overnight research lab for one computer. Importing this package imports no framework."""

__version__ = "0.1.0"
