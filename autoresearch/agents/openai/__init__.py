"""The agent openai: a model behind a server that speaks OpenAI's protocol, at home or elsewhere."""
