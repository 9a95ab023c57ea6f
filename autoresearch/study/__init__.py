"""A study on disk: its terms, its ledger and the state folded from it, its git, its lock; and the session that writes to it."""
