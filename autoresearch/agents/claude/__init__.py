"""The agent claude: an LLM behind a service that speaks the Messages protocol."""
