"""The child process of one attempt: `python -m autoresearch.checks.attacks`, started as a worker is, in a cell or without."""

import json
import os
import sys

from autoresearch.checks.attacks import files, kernel, network, processes, traces  # noqa: F401, they enter their attempts
from autoresearch.checks.attacks.attempt import ALL


def main() -> None:
    job = json.loads(sys.stdin.buffer.readline())
    answer = os.dup(1)
    os.dup2(2, 1)  # what a program says is for the log
    try:
        how, is_open = ALL[job["name"]].run(job["targets"]), True
    except Exception as error:  # refused, in whichever way
        how, is_open = f"{type(error).__name__}: {error}", False
    os.write(answer, json.dumps({"type": "done", "open": is_open, "how": " ".join(how.split())[:200]}).encode() + b"\n")


if __name__ == "__main__":
    main()
