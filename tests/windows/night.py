"""A study that is killed in the middle and goes on: `python tests/windows/night.py BACKEND FOLDER [OPTION ...]`.

By the command line, as a user has it, on any system: begun in FOLDER, killed outright while experiment 1 trains, gone on with until
two experiments are done, and then every account of it compared. Options go to `autoresearch run`. Ends with status 1 and the reason
where something is lost, counted twice, or does not agree.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

EXPERIMENTS = 2
LIMIT_SECONDS = 1800.0


def call(*words: str) -> str:
    done = subprocess.run(command(*words), capture_output=True, encoding="utf-8", errors="replace", check=False)
    assert done.returncode == 0, f"{words} ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "autoresearch.cli", *words]


def events(folder: Path) -> list[dict]:
    path = folder / ".autoresearch" / "events.jsonl"
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    return [json.loads(line) for line in lines[:-1]]  # the last is empty, or torn by the kill


def kill(process: subprocess.Popen) -> None:
    """As nobody can refuse: the process alone, not what it has started."""
    if os.name == "nt":
        subprocess.run(["taskkill", "/F", "/PID", str(process.pid)], check=True)
    else:
        process.kill()
    process.wait()


def begun(folder: Path, process: subprocess.Popen) -> bool:
    assert process.poll() is None, f"it ended with {process.returncode} before it could be killed"
    return any(one["event"] == "begin" and one["n"] == 1 for one in events(folder))


def main(backend: str, folder: Path, *options: str) -> None:
    run = [
        "run", "--workspace", str(folder), "--backend", backend, "--agent", "search", "--decide", "strict", "--sandbox", "none",
        "--experiments", str(EXPERIMENTS), "--plain", *options,
    ]  # fmt: skip
    with subprocess.Popen(command(*run), stdout=subprocess.DEVNULL) as process:
        end = time.monotonic() + LIMIT_SECONDS
        while not begun(folder, process):
            assert time.monotonic() < end, "experiment 1 does not begin"
            time.sleep(0.02)
        kill(process)
    before = events(folder)
    left = EXPERIMENTS - sum(one["event"] == "verdict" and one["n"] > 0 for one in before)
    call("run", "--workspace", str(folder), "--sandbox", "none", "--experiments", str(left), "--plain")
    check(folder, before)
    print(call("results", "--workspace", str(folder)))


def check(folder: Path, before: list[dict]) -> None:
    after = events(folder)
    assert after[: len(before)] == before, "the ledger's beginning has changed"
    assert [one["seq"] for one in after] == list(range(1, len(after) + 1))
    shown = json.loads(call("results", "--json", "--workspace", str(folder)))
    assert [one["number"] for one in shown] == list(range(EXPERIMENTS + 1)), shown
    assert all(one["verdict"] and len(one["runs"]) == 1 for one in shown), "an experiment without a verdict, or trained twice"
    table = (folder / "results.tsv").read_bytes().decode().splitlines()
    assert len(table) == EXPERIMENTS + 2, table
    best = json.loads(call("best", "--json", "--workspace", str(folder)))
    kept = [one for one in shown if one["verdict"] == "keep"]
    assert best["commit"] == kept[-1]["commit"] and best["val_bpb"] == min(one["val_bpb"] for one in kept)
    said = subprocess.run(
        ["git", "-C", str(folder), "rev-parse", best["branch"]], capture_output=True, text=True, check=True
    ).stdout
    assert said.strip() == best["commit"], "the branch is not at the best"
    assert (folder / "train.py").read_bytes().decode() == best["train_py"], "the work tree is not at the best"
    subprocess.run(["git", "-C", str(folder), "fsck", "--strict"], check=True, capture_output=True)
    state = json.loads(call("status", "--json", "--workspace", str(folder)))
    assert state["process"] is None and state["pending"] is None, state
    left = [path.name for path in (folder / ".autoresearch" / "runs").glob("*/work*")]
    assert left == [], f"of the killed run's cell there is still {left}"


if __name__ == "__main__":
    try:
        main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
    except AssertionError as problem:
        sys.exit(f"night.py: {problem}")
