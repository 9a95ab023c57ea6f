"""What a study of up to 100,000 experiments costs beside its trainings; docs/design/scale.md has what that makes of 1,000,000.

    python benchmarks/scale.py [--experiments 1000 10000 100000] [--times 3] [--folder DIR] [--out FILE.json]

The studies are written, not trained: a ledger of the lines that a real night on the null backend writes, one experiment in
KEEP_EVERY kept after five runs, and audited; real commits and refs; the files that stay of a run. Each figure is of a process of
its own: the commands as typed, with the time to start Python, and in-process (--part) what the loop does beside one experiment's
training. Times are the least of --times; exponents are of the last two sizes. With --folder the studies stay, and are used again.
"""

import argparse
import heapq
import json
import math
import os
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pygit2
from pygit2.enums import FileMode

from autoresearch.agents.mix import Agents
from autoresearch.agents.search.search import Search
from autoresearch.commands.bars import bars
from autoresearch.hardware.devices import detect
from autoresearch.hardware.planner import model
from autoresearch.loop import begin, loop
from autoresearch.loop.next_step import next_step
from autoresearch.measure.summary import RunResult
from autoresearch.propose.proposals import program_key
from autoresearch.propose.proposer import Proposer
from autoresearch.report import answers, screen
from autoresearch.report.page import html
from autoresearch.study import events, ledger, lines, new, terms, workspace
from autoresearch.study.session import Session, opened
from autoresearch.study.state import State
from autoresearch.study.store import Store
from autoresearch.text import described

OPTIONS = {"profile": "null", "backend": "null", "corpus": "stdlib", "tag": "scale", "decide": "confirmed", "autotune": "off"}
KEEP_EVERY, KEEP_RUNS, CHECK_RUNS = 50, 5, 2
STEPS = 6  # experiments whose bookkeeping is timed: the first one learns the past
COMMANDS = {
    "results": ["results"], "status": ["status"], "show": ["show", "1"], "best": ["best"], "report": ["report"],
    "studies": ["studies"], "watch": ["watch", "--once"],
    "run, no experiment": ["run", "--experiments", "0", "--plain", "--agent", "search"],
}  # fmt: skip


class Silent:
    def event(self, event: dict) -> None: ...

    def progress(self, number: int, run: int, progress) -> None: ...


# ------------------------------------------------------------------------------------------------- a study that was not trained


class Writer:
    """Events, as Ledger.append writes them, many at a time and without a sync."""

    def __init__(self, path: Path):
        self._file, self._seq, self._check = path.open("ab"), 0, ""

    def append(self, event: str, **fields: object) -> None:
        self._seq += 1
        minutes, seconds = divmod(60 * self._seq, 3600)
        stamp = (
            f"2026-{1 + minutes // 672 % 12:02d}-{1 + minutes // 24 % 28:02d}T{minutes % 24:02d}:{seconds // 60:02d}:00.000+00:00"
        )
        entry = {"seq": self._seq, "time": stamp, "event": event, **fields}
        if self._seq < 1000 and (wrong := events.objection(entry)):
            raise ValueError(f"{event}: {wrong}")
        line, self._check = lines.encode(entry, self._check)
        self._file.write(line)

    def close(self) -> None:
        self._file.close()


CONDITIONS = {
    "cores": 2, "power": {"source": None, "percent": None, "reason": "the system reports no battery"},
    "heat": {"throttled": None, "reason": "this processor has no throttling counters", "count": None},
    "load": {"share": 0.01, "processors": 2, "largest": None, "stolen": None}, "device": None, "warnings": [],
}  # fmt: skip
WATCHED = {"state": None, "reason": None, "asleep_seconds": 0.0, "taken": 0.0, "device_throttled": None, "joules": None}
COSTS = {"rows": 165, "loading": [0.0039, 0.01], "all_rows": [0.0202, 0.0], "batch": [0.0026, 0.0]}


def written(folder: Path, experiments: int) -> None:
    """A study with that many experiments and a baseline."""
    new.make(folder, OPTIONS, lambda line: None, partial(bars, quiet=True, plain=True), 0)
    study = workspace.load(folder)
    store = Store(folder, study.tag)
    pygit2.settings.enable_fsync_gitdir(False)
    repository = pygit2.Repository(str(folder))
    writer, template = Writer(study.events), (folder / "train.py").read_text(encoding="utf-8")
    writer.append("study", tag=study.tag, seed=study.seed, decide=study.decide, terms=(folder / "study.toml").read_text("utf-8"))
    parent, best, results, refs = store.tip, 3.7, 0, []
    for n in range(experiments + 1):
        keeps = n % KEEP_EVERY == 0
        score = best if n == 0 else best - 2e-3 / (1 + n / KEEP_EVERY) if keeps else best + 1e-4 + 1e-6 * (n % 1000)
        what = f"EMBEDDING_LR 0.6 -> {0.05 + 0.0019 * (n % 997):.4f}, MATRIX_LR 0.04 -> {0.005 + 0.0011 * (n // 997):.4f}"
        text = template if n == 0 else edited(template, n)
        commit, blob = (
            (store.tip, store.blob(store.tip)) if n == 0 else proposed(repository, parent, text, f"{what}\n\nexperiment {n}\n")
        )
        writer.append(
            "start", n=n, commit=commit, parent=parent if n else None, blob=blob, key=commit[:24], description=what,
            reasoning="the model of 128 results expects -0.0008 bpb, give or take 0.0329", agent="search", cost_usd=0.0,
        )  # fmt: skip
        scores = []
        for k in range(1, (KEEP_RUNS if n and keeps else 3 if keeps else 1) + 1):
            scores.append(_run(writer, study, n, k, results, score + 1e-4 * math.sin(results), text))
            results += 1
        if keeps:
            writer.append(
                "audit",
                n=n,
                k=1,
                cuts=128,
                worst_nats=0.0,
                shift_nats=0.0,
                allowed=[0.2, 0.05],
                closer=None,
                reason=None,
                seconds=0.414,
            )
        state = "baseline" if n == 0 else "keep" if keeps else "discard"
        fair = statistics.fmean(scores[1:] or scores)
        reason = f"{fair:.6f} against the best's {best:.6f} of 7: higher, and 0.000745 is asked for to go on (sigma 0.0010)"
        verdict = "keep" if keeps else "discard"
        writer.append("verdict", n=n, commit=commit, verdict=verdict, state=state, reason=reason, val_bpb=fair, scores=scores)
        if n and keeps:
            for k in range(KEEP_RUNS + 1, KEEP_RUNS + CHECK_RUNS + 1):
                _run(writer, study, n, k, results, score + 1e-4 * math.sin(results), text)
                results += 1
        if keeps:
            parent, best = commit, score
        refs.append((store.ref_name(n), commit))
    writer.append("stop", reason=f"{experiments} experiments done")
    writer.close()
    head = "# pack-refs with: peeled fully-peeled sorted \n"
    (folder / ".git" / "packed-refs").write_text(head + "".join(f"{commit} {name}\n" for name, commit in sorted(refs)))


def proposed(repository: pygit2.Repository, parent: str, text: str, message: str) -> tuple[str, str]:
    """(commit, blob), as Store.propose makes them."""
    blob = repository.create_blob(text.encode("utf-8"))
    tree = repository.TreeBuilder(repository[parent].tree)
    tree.insert("train.py", blob, FileMode.BLOB)
    author = pygit2.Signature("autoresearch", "autoresearch@localhost", int(time.time()), 0)
    commit = repository.create_commit(None, author, author, message, tree.write(), [pygit2.Oid(hex=parent)])
    return str(commit), str(blob)


def edited(template: str, n: int) -> str:
    text = re.sub(r"(?m)^EMBEDDING_LR = \S+", f"EMBEDDING_LR = {0.05 + 0.0019 * (n % 997):.4f}", template)
    return re.sub(r"(?m)^MATRIX_LR = \S+", f"MATRIX_LR = {0.005 + 0.0011 * (n // 997):.4f}", text)


def _run(writer: Writer, study: workspace.Study, n: int, k: int, results: int, score: float, text: str) -> float:
    """Its lines, and what stays of its files."""
    seed, folder = study.seed + results, f"{n:04d}-{k}"
    speed = {
        "rate": 100.0,
        "median": 100.0,
        "state": "steady",
        "reason": None,
        "taken": 0.0,
        "helpers": 0.0,
        "clock_mhz": None,
        "wait_seconds": 0,
    }
    writer.append("speed", place="before", **speed)
    writer.append("begin", n=n, k=k, seed=seed, folder=folder, conditions=CONDITIONS, sandbox=2)
    result = RunResult(
        "ok", seed, val_bpb=score, training_seconds=300.0, startup_seconds=0.306, scoring_seconds=0.314, total_seconds=301.6,
        total_tokens=19_625_984, num_steps=368, num_params=512, depth=8, checkpoint="3792989fb1a158eec916ca21eac789ff",
        checkpoint_bytes=2120, bits="821e5d3c8b5a0f89f57cfe2d479e44e9", costs=COSTS, measured={"latency_ms": 0.167},
    )  # fmt: skip
    writer.append("run", n=n, k=k, folder=folder, watched=WATCHED, **result.to_json())
    writer.append("speed", place="after", **speed)
    place = study.runs / folder
    place.mkdir(parents=True)
    (place / "train.py").write_text(text, encoding="utf-8")
    (place / "log.txt").touch()
    (place / "curve.jsonl").write_text('{"seconds": 1.0, "type": "step", "loss": 4.0, "tokens": 65536}\n' * 8, encoding="utf-8")
    return score


# -------------------------------------------------------------------------------------------- parts, each in a process of its own


def fold(study: workspace.Study) -> dict[str, float]:
    """Reading, and folding, the whole ledger."""
    start = time.process_time()
    entries = ledger.read(study.events)
    read = time.process_time()
    state = State.from_events(entries)
    done = time.process_time()
    assert not state.skipped, state.skipped_line
    return {"read": read - start, "fold": done - read, "lines": len(entries), "bytes": study.events.stat().st_size}


def streamed(study: workspace.Study) -> dict[str, float]:
    """The same as every command does it: folded line by line."""
    start = time.process_time()
    answers.state_of(study)
    return {"state": time.process_time() - start}


def opening(study: workspace.Study) -> dict[str, float]:
    """A session: the ledger, every ref, what stays of runs, results.tsv."""
    with _opened(study) as (session, seconds):
        assert session.state.best is not None
        return {"open": seconds}


def steps(study: workspace.Study) -> dict[str, float]:
    """What the loop does beside the training of one experiment, by its parts: the first one, and the median of those after it."""
    with _opened(study) as (session, _):
        proposer = Proposer(session, Agents(Search(session.study.seed)))
        session._listener = Silent()
        rows = [_step(session, proposer) for _ in range(STEPS)]
    found = {f"first {name}": rows[0][name] for name in rows[0]}
    found |= {name: statistics.median(row[name] for row in rows[1:]) for name in rows[0]}
    start = time.process_time()
    session.draw()
    return found | {"picture": time.process_time() - start}


def _step(session: Session, proposer: Proposer) -> dict[str, float]:
    seconds: dict[str, float] = {}

    def timed(name: str, act: Callable[[], object]) -> object:
        start = time.process_time()
        result = act()
        seconds[name] = seconds.get(name, 0.0) + time.process_time() - start
        return result

    proposal = timed("propose", proposer.next)
    state, store = session.state, session.store
    number, parent = len(state.experiments), store.base(state.best.commit)

    def start() -> None:
        message = f"{described(proposal.description)}\n\nexperiment {number}\n"
        commit, blob = session.persist(lambda: store.propose(parent, proposal.train_py, message))
        begin.record_start(session, number, commit, parent, blob, program_key(proposal.train_py), proposal)

    def run() -> None:
        folder, seed = session.run_folder(number, 1), session.state.next_seed()
        folder.mkdir()
        session.record(events.Begin(n=number, k=1, seed=seed, folder=folder.name, conditions=CONDITIONS, sandbox=2))
        result = RunResult(
            "ok", seed, val_bpb=state.best.val_bpb + 0.01, training_seconds=300.0, total_seconds=301.0, num_steps=300
        )
        session.record(events.Run(n=number, k=1, folder=folder.name, **result.to_json()))

    timed("start", start)
    timed("run", run)
    step = timed("decide", lambda: next_step(state, number, session.study.decide, session.setup.constraints))
    assert step.verdict == "discard", step
    timed("verdict", lambda: session.record(events.Verdict(
        n=number, commit=state.experiments[number].commit, verdict=step.verdict, state=step.state, reason=step.reason,
        val_bpb=step.val_bpb, scores=list(step.scores),
    )))  # fmt: skip
    timed("follow", session.follow)
    timed("lessons", lambda: loop.draw_lessons(session, proposer.views))
    timed("screen", lambda: screen.Digest.of(state))
    return seconds


def page(study: workspace.Study) -> dict[str, float]:
    """report.html."""
    state = State.from_events(ledger.read(study.events))
    start = time.process_time()
    path = html.write(study, state, running=False)
    return {"page": time.process_time() - start, "page bytes": path.stat().st_size}


def appends(study: workspace.Study) -> dict[str, float]:
    """Events a second that one writer syncs, and beside them the disk's own syncs of the same bytes, a second."""
    with tempfile.TemporaryDirectory(dir=study.folder) as temporary:
        book, path = ledger.Ledger(Path(temporary) / "events.jsonl"), Path(temporary) / "plain"
        path.touch()
        count, line = 1000, b"x" * 500 + b"\n"

        def rate(act: Callable[[], object]) -> float:
            start = time.perf_counter()
            for _ in range(count):
                act()
            return count / (time.perf_counter() - start)

        own = rate(lambda: book.append("begin", n=1, k=1, seed=1, folder="0001-1", conditions=CONDITIONS, sandbox=2))
        with open(path, "ab", buffering=0) as file:
            disk = rate(lambda: (file.write(line), os.fsync(file.fileno())))
            bare = rate(lambda: file.write(line))
    return {"appends a second": own, "syncs a second": disk, "writes a second": bare}


PARTS: dict[str, Callable[[workspace.Study], dict[str, float]]] = {
    "fold": fold, "state": streamed, "open": opening, "step": steps, "page": page, "append": appends,
}  # fmt: skip


class _opened:
    """A session, and how long it took to open."""

    def __init__(self, study: workspace.Study):
        setup = terms.setup(study, detect.detect("null").backend, None, 0)
        self._start = time.process_time()
        self._session = opened(study, setup, Silent())

    def __enter__(self) -> tuple[Session, float]:
        session = self._session.__enter__()
        return session, time.process_time() - self._start

    def __exit__(self, *error: object) -> None:
        self._session.__exit__(*error)


# ------------------------------------------------------------------------------------------------------------------- measuring


def measured(folder: Path, times: int) -> dict[str, float]:
    """Every figure of one study, in seconds (the least of `times`), bytes and MiB."""
    found: dict[str, float] = {}
    for name, words in COMMANDS.items():
        place = ["--workspace", str(folder)] if name != "studies" else [str(folder)]
        seconds, mib = _least([sys.executable, "-m", "autoresearch", *words, *place], times)
        found |= {name: seconds, f"{name}, MiB": mib}
    for name in PARTS:
        found |= _part(name, folder, times)
    return found


def _least(command: list[str], times: int) -> tuple[float, float]:
    seconds, mib = math.inf, 0.0
    for _ in range(times):
        start = time.process_time()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        _, status, usage = os.wait4(process.pid, 0)
        taken = time.process_time() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}: {process.stderr.read()[-2000:]}")
        seconds, mib = min(seconds, taken), max(mib, usage.ru_maxrss / 1024)
    return seconds, mib


def _part(name: str, folder: Path, times: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--part", name, str(folder)]
    rows = [json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout) for _ in range(times)]
    best = max if name == "append" else min
    return {key: best(row[key] for row in rows) for key in rows[0]}


def exponents(rows: list[dict[str, float]]) -> dict[str, float]:
    """Of the last two sizes: log time over log N; 1 is linear."""
    if len(rows) < 2:
        return {}
    before, after = rows[-2:]
    ratio = math.log(after["experiments"] / before["experiments"])
    return {
        name: round(math.log(after[name] / before[name]) / ratio, 2)
        for name in after
        if before[name] > 0 < after[name] and name != "experiments"
    }


# ------------------------------------------------------------------------------------------------------------------ simulated

WORKERS = (1, 10, 100, 1000, 3000, 10_000)
RUN_SECONDS = 330.0  # a training of 300 s, its start-up and its score (upstream: 325.9)
RUNS = 1.6  # trainings an experiment: README, 11 an hour are 6 to 8 experiments
KEEPS = 1 / KEEP_EVERY
RUN_LINES, OWN_LINES = 4, 2  # of the ledger: two checks of the speed, begin, run; start, verdict
LINE_BYTES, FILE_BYTES = 425, 130_000  # measured: of a line; of what stays of a run, whose curve has 4 lines a second
CHECKPOINTS = {"cpu": (4, 256, 4096, 512), "h100": (8, 512, 8192, 2048)}  # profile: depth, width, vocabulary, rows' length


def simulated(costs: dict[str, float], workers: int, experiments: int = 20_000, seed: int = 1) -> dict[str, float]:
    """A day in which every worker waits for the one process that proposes, writes and decides; first come, first served.

    costs: seconds of that process: `propose` (0: others do it) and `own`, all else of an experiment. Trainings vary by a tenth.
    """
    rng, served = random.Random(seed), costs["propose"] + costs["own"]
    ready = [rng.uniform(0, RUN_SECONDS) for _ in range(workers)]
    heapq.heapify(ready)
    free = waited = 0.0
    for _ in range(experiments):
        asked = heapq.heappop(ready)
        free = max(free, asked) + served
        waited += free - asked
        runs = 1 + (rng.random() < RUNS % 1) + int(RUNS - 1)
        heapq.heappush(ready, free + sum(rng.gauss(RUN_SECONDS, 0.1 * RUN_SECONDS) for _ in range(runs)))
    rate = experiments / free
    return {
        "workers": workers, "experiments a second": rate, "events a second": rate * (OWN_LINES + RUN_LINES * RUNS),
        "writer busy": rate * served, "workers idle": waited / (waited + experiments * RUNS * RUN_SECONDS),
        "days to 1,000,000": 1e6 / rate / 86_400,
    }  # fmt: skip


def forecast(costs: dict[str, float]) -> dict[str, object]:
    """The simulations, and what 1,000,000 experiments leave behind."""
    tables = {}
    for name, (depth, width, vocabulary, length) in CHECKPOINTS.items():
        sizes = model.Sizes(depth, width, 128, 1, 4, "L", 0.5, length, vocabulary, 1, 1)
        tables[name] = 4 * model.num_params(sizes)  # float32
    lone = [simulated(costs | {"propose": 0.0}, workers) for workers in WORKERS]
    most = lone[-1]["experiments a second"]
    return {
        "one process proposes and writes": [simulated(costs, workers) for workers in WORKERS],
        "others propose": lone,
        "ledger bytes": 1e6 * LINE_BYTES * (OWN_LINES + RUN_LINES * RUNS),
        "run folders bytes": 1e6 * RUNS * FILE_BYTES,
        "checkpoint bytes": tables,
        "bytes a second of 10,000 workers, every checkpoint sent": {name: most * RUNS * size for name, size in tables.items()},
        "bytes a second of 10,000 workers, two sent at a keep": {name: most * KEEPS * 2 * size for name, size in tables.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiments", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--simulate", nargs=2, type=float, metavar=("PROPOSE", "OWN"), help="seconds of the one process")
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.part:
        found = PARTS[chosen.part[0]](workspace.load(Path(chosen.part[1])))
        print(json.dumps(found | {f"{chosen.part[0]}, MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
        return
    if chosen.simulate:
        print(json.dumps(forecast(dict(zip(("propose", "own"), chosen.simulate, strict=True))), indent=1))
        return
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for count in chosen.experiments:
            folder = (chosen.folder or Path(temporary)) / str(count)
            if not workspace.is_workspace(folder):
                written(folder, count)
            rows.append({"experiments": count} | {key: round(value, 5) for key, value in measured(folder, chosen.times).items()})
            print(json.dumps(rows[-1]), flush=True)
    table = {"cores": os.cpu_count(), "load_average": round(os.getloadavg()[0], 1), "rows": rows, "exponents": exponents(rows)}
    print(json.dumps(table["exponents"], indent=1))
    if chosen.out:
        chosen.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
