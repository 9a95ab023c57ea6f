"""`python -m autoresearch`: the same as the command `autoresearch`."""

from autoresearch.cli import main

if __name__ == "__main__":
    main()
