"""Every check of a change, on any system: `python -m tests.check [--fix] [lint] [format] [types] [tests] [docs]`.

Without a name: lint, format, types and the quick tests. pre-commit, the workflows and .ci/run take the commands from here. One that
fails hides none of the others. Ends with 1 where one failed, with 2 where a tool is not installed.
"""

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHECKS = {
    "lint": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "."],
    "types": ["mypy"],
    "tests": ["pytest", "-m", "not slow", "-n", "3"],
    "docs": ["sphinx", "-W", "-n", "docs", "build/docs"],
}
FIXES = {"lint": ["ruff", "check", "--fix", "."], "format": ["ruff", "format", "."]}
USUAL = ["lint", "format", "types", "tests"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.check", description=f"The checks of a change: {', '.join(CHECKS)}.")
    parser.add_argument("--fix", action="store_true", help="mend what lint and format can")
    parser.add_argument("names", nargs="*", metavar="CHECK", default=USUAL, help=f"default: {' '.join(USUAL)}")
    asked = parser.parse_args()
    if unknown := [name for name in asked.names if name not in CHECKS]:
        parser.error(f"no check is called {unknown[0]!r}; choose from {', '.join(CHECKS)}")
    commands = CHECKS | FIXES if asked.fix else CHECKS
    if missing := [name for name in asked.names if importlib.util.find_spec(commands[name][0]) is None]:
        parser.error(f'{sys.executable} lacks the tool for {", ".join(missing)}; with it: pip install -e ".[test,docs]"')
    failed = []
    for name in asked.names:
        print(f"== {name}: {' '.join(commands[name])}", flush=True)
        if subprocess.run([sys.executable, "-m", *commands[name]], cwd=ROOT, check=False).returncode:
            failed.append(name)
    mend = "" if asked.fix or not {*failed} & {*FIXES} else "; `python -m tests.check --fix` mends most of that"
    print(f"failed: {', '.join(failed)}{mend}" if failed else f"passed: {', '.join(asked.names)}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
