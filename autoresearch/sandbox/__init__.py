"""The cell that agent code runs in: policy.py says what it may touch, the other modules put a process in it (docs/trust.md)."""
