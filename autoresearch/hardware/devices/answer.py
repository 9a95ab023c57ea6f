"""The child process of `detect.ask`: `python -m autoresearch.hardware.devices.answer FILE` does what `python FILE --probe` does.

Beyond that, a UsageError that the file raises, at its import too, is its answer: a reason and a cure, not a traceback.
"""

import json
import runpy
import sys

from autoresearch.errors import UsageError


def main() -> None:
    sys.argv = [sys.argv[1], "--probe"]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except UsageError as error:
        print(json.dumps({"ok": False, "reason": error.problem, "cure": error.cure, "wrong_input": True}))


if __name__ == "__main__":
    main()
