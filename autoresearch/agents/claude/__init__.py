"""The agent claude: a model behind a service that speaks Anthropic's Messages protocol."""
