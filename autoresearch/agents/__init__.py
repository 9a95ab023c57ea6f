"""What proposes the next edit. One file an agent."""
