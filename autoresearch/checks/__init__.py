"""What tries the parts that others may bring or break: backends (conformance), the sandbox (attacks), this machine (doctor)."""
