"""The search agent: it turns the constants of train.py, with no key and no network."""
