"""What this machine is, and what fits it: backends, their facts, profiles."""
