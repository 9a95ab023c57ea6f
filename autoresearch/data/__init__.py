"""Text to token files: corpora, tokenizer, and the prepared folder that training and scoring read."""
