"""What the machine is doing: load, clock, power, sleep."""
