"""What every backend has to agree with: golden.json and golden.npz are the golden state, which docs/design/golden.md describes."""
