"""What every backend has to agree with, on any machine: golden.json and golden.npz hold the saved state, docs/design/golden.md says how."""
