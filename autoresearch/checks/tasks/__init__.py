"""The suite that every task has to pass: `autoresearch tasks check`; docs/design/tasks-check.md says what each contract shows."""
