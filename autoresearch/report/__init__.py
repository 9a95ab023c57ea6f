"""What a person looks at: the live panel, the tables, the picture."""
