"""Several machines by Ray: what a night gains, and what kills lose. The nodes are raylets on this computer, the trainings wait.

    python benchmarks/ray_cluster.py speed 1337 1 2 4 8     a study of that seed with so many workers, on null with planted costs
    python benchmarks/ray_cluster.py table                  what the nights of `speed` say beside one another
    python benchmarks/ray_cluster.py kills 100              seeded kills of workers, nodes, the head and the process that decides
    python benchmarks/ray_cluster.py cpu                    two workers with a core each, that really train

Each but `table` adds to results/ray.json. The command that runs, and goes on after a kill, is `autoresearch run --workers ray
--address ...`.
"""

import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

sys.path[:0] = [str(Path(__file__).parents[1] / "tests"), str(Path(__file__).parents[1] / "tests" / "e2e")]
from ray_cluster import Cluster  # noqa: E402
from studies import PROFILE, write_corpus  # noqa: E402

from autoresearch.study.ledger import read  # noqa: E402
from autoresearch.study.state import State  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "ray.json"
PORT = 16379
TRAIN_SECONDS = 8.0  # of which the null backend sleeps all
ONE_SECONDS = 1200.0  # a night of one worker; of W workers a W-th, but at least a fifth


class Study:
    """In a folder of its own, with the command that runs it."""

    def __init__(self, folder: Path, train_seconds: float, step_seconds: float, seed: int = 1337):
        self.folder, self.seed, self.workspace = folder, seed, folder / "study"
        (corpus := folder / "corpus").mkdir(parents=True)
        write_corpus(corpus)
        text = PROFILE.replace("train_seconds = 0.1", f"train_seconds = {train_seconds}") + f"STEP_SECONDS = {step_seconds}\n"
        (folder / "test.toml").write_text(text, encoding="utf-8")

    def command(self, *words: str) -> list[str]:
        about = [] if self.workspace.exists() else ["--profile", str(self.folder / "test.toml"), "--seed", str(self.seed)]
        about = about and [*about, "--backend", "null", "--corpus", str(self.folder / "corpus")]
        fixed = ["--workspace", str(self.workspace), "--agent", "search", "--on-battery", "--json"]
        return [sys.executable, "-m", "autoresearch.cli", "run", *fixed, *about, *words]

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"AUTORESEARCH_CACHE_DIR": str(self.folder / "home")}

    @property
    def events(self) -> list[dict]:
        return read(self.workspace / ".autoresearch" / "events.jsonl")


def logged(command: list[str], environment: dict[str, str], path: Path) -> None:
    with open(path, "w", encoding="utf-8") as log:
        subprocess.run(command, env=environment, check=True, stdout=log)


def seconds_of(event: dict) -> float:
    from datetime import datetime

    return datetime.fromisoformat(event["time"]).timestamp()


def speed(workers: int, folder: Path, seed: int) -> dict:
    train_seconds, hours = TRAIN_SECONDS, ONE_SECONDS / min(workers, 5) / 3600
    study = Study(folder, train_seconds, step_seconds=1.0, seed=seed)
    cluster = Cluster(folder)
    for _ in range(max(1, workers // 2)):
        cluster.add(min(workers, 2))
    before = time.monotonic()
    words = ["--workers", "ray", "--address", cluster.address, "--hours", str(hours)]
    logged(study.command(*words), study.environment, folder / "out")
    wall = time.monotonic() - before
    cluster.close()
    events = study.events
    begun = next(seconds_of(one) for one in events if one["event"] == "begin")
    state, gains = State(), []
    for one in events:
        state.apply(one)
        if one["event"] == "verdict" and one["verdict"] == "keep" and one["n"]:
            gains.append((seconds_of(one) - begun, state.experiments[0].val_bpb - one["val_bpb"], one["n"]))
    decided = [seconds_of(one) for one in events if one["event"] == "verdict" and one.get("state") != "rebased"]
    runs = [one for one in events if one["event"] == "run"]
    return {
        "workers": workers, "seed": seed, "train_seconds": train_seconds, "experiments": len(decided) - 1, "runs": len(runs),
        "rebased": sum(one["event"] == "verdict" and one.get("state") == "rebased" for one in events),
        "wall_seconds": round(wall, 1),
        "seconds_of_experiments": round(decided[-1] - decided[0], 1),
        "experiments_an_hour": round(3600 * (len(decided) - 1) / (decided[-1] - decided[0]), 1),
        "run_overhead_seconds": round(statistics.median(one["total_seconds"] for one in runs) - train_seconds, 2),
        "gains": [(round(at, 1), round(gain, 5), n) for at, gain, n in gains],
    }  # fmt: skip


def table(nights: list[dict]) -> None:
    """Of each seed: experiments an hour, and when each had what all nights of the seed gained, also in lengths of a run."""
    nights = [one for one in nights if one["train_seconds"] == TRAIN_SECONDS]
    for one in sorted(nights, key=lambda one: (one["seed"], one["workers"])):
        same = [other for other in nights if other["seed"] == one["seed"]]
        alone = next(other for other in same if other["workers"] == 1)
        wanted = min(max((gain for _, gain, _ in other["gains"]), default=0.0) for other in same)
        found = next(at for at, gain, _ in one["gains"] if gain >= wanted)
        length = one["workers"] * one["seconds_of_experiments"] / one["runs"]
        known = {name: one[name] for name in ("seed", "workers", "experiments", "runs", "rebased", "experiments_an_hour")}
        known["times"] = round(one["experiments_an_hour"] / alone["experiments_an_hour"], 2)
        print(
            json.dumps(known | {"gain": wanted, "had_at": found, "run_lengths": round(found / length, 1), "run": round(length, 2)})
        )


def kills(wanted: int, folder: Path, seed: int = 1) -> dict:
    """A night that is resumed by the same command until so many kills are done, then goes on to a natural end."""
    rng, study, killed = random.Random(seed), Study(folder, train_seconds=2.0, step_seconds=0.5), Counter()
    cluster = Cluster(folder / "0", PORT)
    nodes = [cluster.add(2), cluster.add(2)]
    clusters, starts, after, begun = 1, 0, 0, time.monotonic()
    night: subprocess.Popen | None = None
    while sum(killed.values()) < wanted:
        if night is None or night.poll() is not None:
            starts += 1
            words = ["--workers", "ray", "--address", f"127.0.0.1:{PORT}"]
            with open(folder / "out", "a", encoding="utf-8") as log:
                night = subprocess.Popen(study.command(*words), env=study.environment, stdout=log, stderr=log)
        if not wait_for_work(study, night, after):
            continue
        time.sleep(rng.uniform(0, 4))
        what = rng.choices(["worker", "node", "head", "loop", "ray process"], [60, 15, 5, 10, 10])[0]
        if what == "worker":
            found = [one for node in nodes for one in cluster.actors(node)]
            if not found:
                continue
            end(rng.choice(found))
        elif what == "node":
            cluster.kill(nodes.pop(rng.randrange(len(nodes))))
            nodes.append(cluster.add(2))
        elif what == "head":
            cluster.kill_head()
            time.sleep(rng.uniform(0, 40))
            cluster.close()
            cluster = Cluster(folder / str(clusters), PORT)
            nodes, clusters = [cluster.add(2), cluster.add(2)], clusters + 1
        elif what == "loop":
            family = psutil.Process(night.pid).children(recursive=True)
            night.kill()
            night.wait()
            assert not psutil.wait_procs(family, timeout=60)[1], "something outlived the process that decides"
        else:
            found = [one for one in psutil.Process(night.pid).children() if "ray_driver" in words_of(one)]
            if not found:
                continue
            end(found[0])
        killed[what] += 1
        after = len(study.events)
        check(study)
        print(time.strftime("%H:%M:%S"), sum(killed.values()), what, flush=True)
    night.send_signal(signal.SIGTERM)  # a background job ignores SIGINT
    status = night.wait(300)
    cluster.close()
    found = check(study) | {"last_exit_status": status}
    seconds = round(time.monotonic() - begun)
    return {"kills": sum(killed.values()), "of": dict(killed), "seed": seed, "starts": starts, "seconds": seconds} | found


def wait_for_work(study: Study, night: subprocess.Popen, after: int) -> bool:
    """Until something is under way that began after so many events."""
    end_time = time.monotonic() + 240
    while time.monotonic() < end_time and night.poll() is None:
        try:
            events = study.events
            if any(one["event"] == "begin" for one in events[after:]) and State.from_events(events).under_way:
                return True
        except Exception:
            pass  # it is just being written
        time.sleep(0.5)
    assert night.poll() is not None, "nothing began within 240 s"
    return False


def words_of(one: psutil.Process) -> str:
    try:
        return " ".join(one.cmdline())
    except psutil.Error:
        return ""


def end(one: psutil.Process) -> None:
    try:
        one.kill()
    except psutil.NoSuchProcess:
        pass


def check(study: Study) -> dict:
    """The ledger is whole, and nothing is lost or counted twice."""
    state, under_way, seeds, ended = State(), set(), Counter(), Counter()
    for one in study.events:
        run = (one.get("n"), one.get("k"))
        if one["event"] == "begin":
            assert run not in under_way, f"{run} is begun twice"
            under_way.add(run)
        elif one["event"] in ("run", "lost", "invalid"):
            under_way.remove(run)
            ended[one["event"]] += 1
            seeds[one.get("seed")] += one["event"] == "run"
        assert state.apply(one), f"{one} has no place"
    assert set(seeds.values()) <= {0, 1}, "a seed counts twice"
    assert [one.number for one in state.experiments] == list(range(len(state.experiments))), "an experiment is lost"
    assert all(one.verdict is not None or one in state.open for one in state.experiments)
    runs = sum(len(one.results) for one in state.experiments)
    assert runs == ended["run"], "a result is lost"
    return {"experiments": len(state.experiments), "decided": sum(one.verdict is not None for one in state.experiments),
            "runs": ended["run"], "lost_runs_done_again": ended["lost"]}  # fmt: skip


def cpu(folder: Path) -> dict:
    """Two workers with a core each, of which two raylets have one."""
    folder.mkdir(parents=True, exist_ok=True)
    home = os.environ | {"AUTORESEARCH_CACHE_DIR": str(folder / "home")}
    cluster, workspace = Cluster(folder), folder / "study"
    cluster.add(2)
    words = ["run", "--workspace", str(workspace), "--agent", "search", "--on-battery", "--json"]
    profile = Path(__file__).parents[1] / "autoresearch" / "commands" / "demo.toml"
    new = ["--backend", "cpu", "--corpus", "stdlib", "--profile", str(profile), "--train-seconds", "10", "--decide", "strict"]
    command = [sys.executable, "-m", "autoresearch.cli", *words]
    first = [*command, *new, "--workers", "2", "--experiments", "0"]  # a study whose runs have a core each
    logged(first, home, folder / "out0")
    ray = [*command, "--workers", "ray", "--address", cluster.address, "--experiments", "8"]
    logged(ray, home, folder / "out")
    cluster.close()
    events = read(workspace / ".autoresearch" / "events.jsonl")
    state = State.from_events(events)
    runs = [one for one in events if one["event"] == "run"]
    decided = [seconds_of(one) for one in events if one["event"] == "verdict" and one["n"]]
    by = {(one["n"], one["k"]): one["worker"] for one in events if one["event"] == "begin"}
    return {
        "experiments": len(decided), "keeps": sum(one.verdict == "keep" for one in state.experiments) - 1,
        "runs_by_worker": dict(Counter(str(by[one["n"], one["k"]]) for one in runs)),
        "train_seconds": 10, "tokens_median": statistics.median(one["total_tokens"] for one in runs if one.get("total_tokens")),
        "seconds_an_experiment": round((decided[-1] - decided[0]) / (len(decided) - 1), 1),
        "val_bpb": [round(state.experiments[0].val_bpb, 4), round(state.best.val_bpb, 4)],
    }  # fmt: skip


def note(kind: str, found: object) -> None:
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    known[kind] = [*known.get(kind, []), found]
    RESULTS.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found), flush=True)


def main() -> None:
    kind, *rest = sys.argv[1:]
    if kind == "table":
        return table(json.loads(RESULTS.read_text())["speed"])
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    if kind == "speed":
        seed, *counts = map(int, rest)
        for workers in counts:
            note("speed", speed(workers, folder / str(workers), seed))
    else:
        note(kind, kills(int(rest[0]), folder) if kind == "kills" else cpu(folder))
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
