"""A new study: look at the machine, choose, prepare the text, make the workspace. The first half of `run`, and all of `init`."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from autoresearch.data import corpora, sight
from autoresearch.data.prepare import prepare
from autoresearch.data.prepared import Prepared
from autoresearch.data.progress import OnProgress
from autoresearch.hardware.autotune import tune
from autoresearch.hardware.devices import detect
from autoresearch.hardware.planner import plan, profiles
from autoresearch.run.constraints import Constraints
from autoresearch.run.setup import Setup
from autoresearch.sandbox import policy
from autoresearch.study import terms, workspace
from autoresearch.study.workspace import Study

CONSTRAINTS = tuple(Constraints.__dataclass_fields__)


def summary(prepared: Prepared) -> str:
    """How much text there is of each kind, and what of it was mended or left out."""
    held_out = [(prepared.val_bytes, "validation"), (prepared.test_bytes, "test"), (prepared.slice_bytes, "the audit slice")]
    parts = [f"{size / 1e6:,.1f} MB for {name}" for size, name in ((prepared.train_bytes, "training"), *held_out) if size]
    repeated = prepared.duplicates_of_val + prepared.duplicates_in_val
    mended = [
        (prepared.repaired_documents, "documents not in UTF-8: converted"),
        (repeated, "documents left out, the same as held-out ones"),
    ]
    return "; ".join([", ".join(parts), *(f"{count:,} {what}" for count, what in mended if count)])


def make(
    folder: Path,
    chosen: Mapping[str, Any],
    say: Callable[[str], None],
    bars: Callable[[], AbstractContextManager[OnProgress | None]],
    sandbox: int,
) -> tuple[Study, Setup]:
    """The study and what its runs are made with; each choice is said with its reason.

    chosen: the options of `run` by name; profile, backend and corpus have to be there. bars: shows how far a long step is.
    sandbox: the level of the cells. Raises UsageError and EnvironmentFailure before anything is stored.
    """
    tag = workspace.today() if chosen.get("tag") is None else chosen["tag"]
    terms.check_tag(tag)
    workspace.check_free(folder)
    with bars() as on_progress:
        if on_progress:
            on_progress(detect.LOOKING, 0, None)
        planned = plan.make(chosen["backend"], chosen["profile"], chosen.get("device"))
    backend = planned.choice.backend
    # Before the text is fetched: a constant that this train.py has not, a limit that nothing here can tell of.
    profiles.check(planned.profile, {backend.name: backend})
    constraints = Constraints.asked({name: chosen.get(name) for name in CONSTRAINTS})
    constraints.check_known(backend)
    if chosen.get("train_seconds") is not None:
        planned = replace(planned, profile=planned.profile.with_train_seconds(chosen["train_seconds"]))
    say(f"machine   {planned.choice.facts.device}")
    say(f"backend   {backend.name}: {planned.choice.reason}")
    if backend.card_reason:
        say(f"device    {backend.card_reason}")
    # Before autotune, which takes a while.
    corpus, reason = corpora.choose(chosen["corpus"], planned.profile.data.corpus)
    if place := sight.place(corpora.resolved(corpus)):
        policy.check_hidden(sandbox, [place], backend.sandbox)
    if chosen["profile"] == "auto" and chosen.get("autotune") != "off":
        answer, seconds = chosen.get("autotune"), planned.profile.budget.train_seconds
        length = tune.default_seconds(chosen.get("hours"), chosen.get("experiments"), seconds)
        with bars() as on_progress:
            planned = tune.tuned(
                planned, corpus, lambda vocab_size: prepare(corpus, vocab_size, on_progress), say,
                is_again=answer is not None, seconds=answer if isinstance(answer, float) else length,
            )  # fmt: skip
    profile, choice = planned.profile, planned.choice
    say(f"profile   {profile.name}: {planned.profile_reason}")
    say(f"corpus    {corpus}: {reason}")
    with bars() as on_progress:
        prepared = prepare(corpus, profile.data.vocab_size, on_progress)
    say(f"text      {summary(prepared)}")
    study = workspace.create(
        folder, tag=tag, backend=choice.backend, facts=choice.facts, profile=profile, prepared=prepared, corpus=prepared.corpus,
        seed=workspace.DEFAULT_SEED if chosen.get("seed") is None else chosen["seed"], decide=chosen.get("decide") or "confirmed",
        stop_early=bool(chosen.get("stop_early")), constraints=constraints,
    )  # fmt: skip
    say(f"workspace {folder}")
    return study, terms.setup(study, choice.backend, prepared, sandbox)
