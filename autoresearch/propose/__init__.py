"""Where proposals come from: the agents are asked, their texts checked, what they are shown is put together."""
