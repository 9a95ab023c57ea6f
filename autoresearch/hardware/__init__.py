"""What this machine is (devices), what fits it (planner, autotune) and what it is doing now (now)."""
