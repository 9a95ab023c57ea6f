"""What comes out of a cell, and the only code that touches it: messages.py its words, files.py its files, log.py what it prints."""
