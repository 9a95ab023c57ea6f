"""A model behind a service: the conversation, its tools, what it is told, what it costs. The services: claude/, openai/."""
