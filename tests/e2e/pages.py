"""Studies of any length, written and not trained: a true ledger, true commits, run folders with losses and logs."""

import json
import math
import random
from dataclasses import asdict, replace
from pathlib import Path

import pygit2
import studies

from autoresearch import constants, durable
from autoresearch.measure.summary import RunResult
from autoresearch.metric import VAL_BPB, Metric
from autoresearch.study import workspace
from autoresearch.study.ledger import Ledger
from autoresearch.study.store import Store

IDEAS = (
    ("DEPTH", 12, "a shallower model makes more steps"), ("ROPE_BASE", 20_000.0, "longer wavelengths for the positions"),
    ("ASPECT_RATIO", 64, "narrower layers"), ("GATE_CHANNELS", 24, "more channels in the gates"),
)  # fmt: skip
HOSTILE = (
    "</script><script>window.owned = 1</script>", "<img src=x onerror='window.owned = 1'>", "javascript:window.owned = 1",
    "\u202eevil\u2066\u200b", "\x1b[31mred\x1b]0;title\x07", "</textarea></style>&lt;b&gt;{{script}}\u2028\u2029", "x" * 100_000,
)  # fmt: skip


def made(folder: Path, corpus: Path, experiments: int, hostile: bool = False, curve_lines: int = 40, metric: Metric = VAL_BPB):
    """A Study of that many experiments, besides the baseline. metric: one whose scores are stored between -1.7 and 0."""
    study, _ = studies.make(folder, corpus, decide="confirmed")
    study = replace(study, metric=metric)
    grow(study, experiments + 1, hostile, curve_lines)
    return study


def grow(study: workspace.Study, experiments: int, hostile: bool = False, curve_lines: int = 40) -> None:
    """Write so many more."""
    sync, durable.sync_file = durable.sync_file, lambda descriptor: None  # it is the reading that is tested
    try:
        store, ledger = Store(study.folder, study.tag), Ledger(study.events)
        pygit2.settings.enable_fsync_gitdir(False)
        _Night(study, store, ledger, curve_lines).play(experiments, hostile)
    finally:
        durable.sync_file = sync
        pygit2.settings.enable_fsync_gitdir(True)


class _Night:
    def __init__(self, study, store: Store, ledger: Ledger, curve_lines: int):
        self.study, self.store, self.ledger, self.curve_lines = study, store, ledger, curve_lines
        self.results = sum(entry["event"] == "run" for entry in ledger.events)
        self.number = sum(entry["event"] == "verdict" for entry in ledger.events)
        keeps = [entry for entry in ledger.events if entry["event"] == "verdict" and entry["verdict"] == "keep"]
        first = 1.6 if study.metric == VAL_BPB else -0.5
        self.best, self.level = (keeps[-1]["commit"], keeps[-1]["val_bpb"]) if keeps else (store.tip, first)
        self.random = random.Random(self.number)

    def play(self, experiments: int, hostile: bool) -> None:
        if not self.ledger.events:
            terms = (self.study.folder / "study.toml").read_text("utf-8")
            metric = {} if self.study.metric == VAL_BPB else {"metric": asdict(self.study.metric)}
            self.ledger.append("study", tag=self.study.tag, seed=self.study.seed, decide=self.study.decide, terms=terms, **metric)
        for _ in range(experiments):
            self.experiment(hostile)
        self.ledger.append("stop", reason=f"{experiments} experiments done")

    def experiment(self, hostile: bool) -> None:
        n, rng = self.number, self.random
        name, value, why = IDEAS[n % len(IDEAS)]
        bad = HOSTILE[n % len(HOSTILE)] if hostile else ""
        commit, blob = self.commit(n, name, value + n, bad)
        agent, usd = ("claude", 0.013) if n % 3 == 2 else ("search", 0.0)
        if usd:
            self.ledger.append("asked", agent=agent, model="m", outcome="answered", seconds=20.0, cost_usd=usd)
        self.ledger.append(
            "start", n=n, commit=commit, parent=self.best, blob=blob, key=commit, description=bad or f"{name} = {value + n}: {why}",
            reasoning=f"{bad}\nBecause {why}.", agent=agent, cost_usd=usd,
        )  # fmt: skip
        gains = n == 1 or n % 9 == 3
        crashes = n % 11 == 7 and not gains
        verdict = "crash" if crashes else "keep" if gains or n == 0 else "discard"
        aim = self.level - 0.04 * math.exp(-n / 60) * (0.4 + rng.random()) if gains else self.level + (n > 0) * rng.expovariate(40)
        seeds = 3 if n == 0 else 5 if gains else 1
        scores = [self.run(n, k, None if crashes else rng.gauss(aim, 0.0012), bad) for k in range(1, seeds + 1)]
        score = None if crashes else sum(scores) / len(scores)
        state = "baseline" if n == 0 else "oom" if crashes else verdict
        self.ledger.append(
            "verdict", n=n, commit=commit, verdict=verdict, state=state, reason=f"measured {bad}", val_bpb=score,
            scores=[] if crashes else scores,
        )  # fmt: skip
        if verdict == "keep":
            self.best, self.level = commit, score
            self.ledger.append("tested", n=n, k=1, test_bpb=score + 0.05)
        self.number += 1

    def commit(self, n: int, name: str, value: float, bad: str) -> tuple[str, str]:
        if n == 0:
            return self.store.tip, self.store.blob(self.store.tip)
        edited = constants.write(self.store.text(self.best), {name: value})
        if n % 5 == 4:  # a change of code
            helper = f"\ndef helper_{n}(x):\n" + "".join(f"    x = x + {n} * {k}\n" for k in range(30)) + "    return x\n\n"
            edited = edited.replace(
                "\ndef ",
                helper + "\ndef ",
                1,
            )
        return self.store.propose(self.best, f"{edited}# {bad}\n" if bad else edited, f"experiment {n}")

    def run(self, n: int, k: int, score: float | None, bad: str) -> float | None:
        seed, folder = self.study.seed + self.results, f"{n:04d}-{k}"
        self.ledger.append("begin", n=n, k=k, seed=seed, folder=folder, conditions={}, sandbox=2)
        place = self.study.runs / folder
        place.mkdir(parents=True)
        (place / "log.txt").write_text(
            f"{bad}\n" + "step 1, a line of a log that is as long as such lines often are\n" * 20 + bad, encoding="utf-8"
        )
        if k == 1:
            total, steps = self.study.profile.budget.train_seconds, self.curve_lines
            losses = (1.2 + (score or 2.0) / 2 + 5 * math.exp(-8 * i / steps) + self.random.gauss(0, 0.05) for i in range(steps))
            rows = ({"seconds": round(total * i / steps, 4), "type": "step", "loss": loss} for i, loss in enumerate(losses))
            (place / "curve.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        result = RunResult("oom", seed, reason="no room") if score is None else RunResult(
            "ok", seed, val_bpb=score, training_seconds=300.0, total_seconds=330.0, startup_seconds=12.0, num_steps=1000,
            num_params=9_200_000, total_tokens=2_000_000, peak_memory_bytes=2**30,
        )  # fmt: skip
        self.ledger.append("run", n=n, k=k, folder=folder, **result.to_json())
        self.results += 1
        return score
