"""A million mutants of recorded conversations and checkpoints: `python -m tests.fuzz`, from the checkout's folder."""
