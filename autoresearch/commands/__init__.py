"""One file a command: its options and its printing. The work is done elsewhere."""
