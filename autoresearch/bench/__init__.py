"""How fast this machine is for the job: a run card that can be compared with another machine's."""
