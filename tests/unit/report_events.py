"""Ledger events of made-up studies, for the tests of what a person sees."""

import dataclasses
import random
from datetime import UTC, datetime, timedelta


def study(outcomes, description="MATRIX_LR 0.04 -> 0.06", baseline=(0.801, 0.800, 0.799), metric=None):
    """Events of a baseline and then one experiment for each of outcomes: a score as it is stored, or None for a crash."""
    events, now, best = [], datetime(2026, 1, 2, 20, tzinfo=UTC), sum(baseline) / len(baseline)

    def add(event, **fields):
        nonlocal now
        now += timedelta(seconds=100)
        events.append({"seq": len(events) + 1, "time": now.isoformat(), "event": event, **fields})

    add("study", tag="jan02", seed=1, decide="confirmed", **({"metric": dataclasses.asdict(metric)} if metric else {}))
    for number, scores in enumerate([list(baseline), *([] if score is None else [score] for score in outcomes)]):
        commit = {"commit": f"c{number}", "parent": None, "blob": f"b{number}", "key": f"k{number}"}
        words = {"description": description if number else "baseline", "reasoning": "", "agent": "a", "cost_usd": 0.0}
        add("start", n=number, **commit, **words)
        for run, score in enumerate(scores or [None], 1):
            add("begin", n=number, k=run, seed=run, folder=f"{number}-{run}")
            failed = {"status": "crash", "reason": "no [red]memory[/red]"} if score is None else {"status": "ok", "reason": None}
            add("run", n=number, k=run, seed=run, folder=f"{number}-{run}", val_bpb=score, **failed)
        mean = sum(scores) / len(scores) if scores else None
        verdict = "crash" if mean is None else "keep" if number == 0 or mean < best else "discard"
        best = mean if verdict == "keep" else best
        decided = {"verdict": verdict, "state": verdict, "reason": "the numbers say so", "val_bpb": mean, "scores": scores}
        add("verdict", n=number, commit=f"c{number}", **decided)
    return events


def night(experiments, seed=0):
    """Scores as a real night has them: many small improvements, most ideas a little worse, a few far worse, a few crashes."""
    rng, best, scores = random.Random(seed), 0.8, []
    for number in range(experiments):
        kind = rng.random()
        if kind < 0.2 / (1 + number / 200):
            best -= rng.random() * 0.01 / (1 + number / 20)
            scores.append(best)
        else:
            scores.append(None if kind > 0.97 else best + rng.expovariate(100) * (30 if kind > 0.92 else 1))
    return scores
