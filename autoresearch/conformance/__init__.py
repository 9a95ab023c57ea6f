"""Is a backend right? The suite behind `autoresearch backends check`, and the golden state that every backend must agree with."""
