"""The agent command: any program that edits a file, as coding agents do."""
