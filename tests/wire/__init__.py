"""A real local server for the tests and benchmarks of what asks an LLM."""
