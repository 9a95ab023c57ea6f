"""One run: a training in its cell, its score in a fresh process, and the numbers that come back. Knows no ledger."""
