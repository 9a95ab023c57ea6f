"""The ratchet: what an experiment needs next, the runs and audits that this takes, keep or roll back."""
