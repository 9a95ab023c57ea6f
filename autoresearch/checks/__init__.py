"""What tries the parts that others may bring or break: backends (conformance), tasks, the sandbox (attacks); and this machine."""
