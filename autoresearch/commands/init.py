"""`autoresearch init`: a workspace to look at and edit before the run. `make_study` is also the first half of `run`."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click

from autoresearch.commands.options import CONSTRAINTS, options


@click.command("init")
@click.argument("folder", required=False, type=click.Path(path_type=Path, file_okay=False), metavar="[DIR]")
@options(
    "tag", "profile", "autotune", "backend", "corpus", "train_seconds", "decide", "stop_early", "seed", *CONSTRAINTS, "plain"
)
def command(folder, plain, **chosen):
    """Make a workspace to look at and edit before the run.

    DIR is a new or an empty folder; default: autoresearch-<tag>. It gets train.py with the profile's constants, program.md (the
    instructions), AGENTS.md (for a coding agent that drives the study itself), study.toml (the terms) and a git repository of its
    own. What you change in train.py before the first run becomes the baseline.

    Example: `autoresearch init my-study --profile cpu`, then `autoresearch run --workspace my-study`
    """
    from autoresearch.paths import expanded
    from autoresearch.study import workspace

    folder = expanded(folder or f"autoresearch-{chosen['tag'] or workspace.today()}").resolve()
    study, _ = make_study(folder, chosen, plain, click.echo, sandbox=0)
    click.echo(f"study {study.tag} in {study.folder}: edit train.py or program.md, then")
    click.echo(f"  autoresearch run --workspace {study.folder}")


def make_study(folder: Path, chosen: dict, plain: bool, say: Callable[[str], None], sandbox: int, quiet: bool = False):
    """(Study, Setup): look at the machine, choose, prepare the text, make the workspace; say each choice and its reason.

    chosen: this command's options by name; profile, backend and corpus have to be there. sandbox: the level of the cells.
    """
    from autoresearch.commands.prepare import bars, looking
    from autoresearch.data import corpora
    from autoresearch.data.prepare import prepare
    from autoresearch.hardware.autotune import tune
    from autoresearch.hardware.planner import plan, profiles
    from autoresearch.run.constraints import Constraints
    from autoresearch.sandbox import policy
    from autoresearch.study import terms, workspace

    chosen = dict.fromkeys(one.name for one in command.params) | chosen
    tag = chosen["tag"] or workspace.today()
    terms.check_tag(tag)
    workspace.check_free(folder)
    with looking(quiet, plain):
        planned = plan.make(chosen["backend"], chosen["profile"])
    choice = planned.choice
    # Before the text is fetched: a constant that this train.py has not.
    profiles.check(planned.profile, {choice.backend.name: choice.backend})
    if chosen["train_seconds"] is not None:
        budget = planned.profile.budget | {"train_seconds": chosen["train_seconds"]}
        planned = replace(planned, profile=replace(planned.profile, budget=budget))
    say(f"machine   {choice.facts.device}")
    say(f"backend   {choice.backend.name}: {choice.reason}")
    # Before autotune, which takes a while.
    corpus, reason = corpora.choose(chosen["corpus"], planned.profile.data["corpus"])
    if os.path.exists(corpus):
        policy.check_hidden(sandbox, [Path(corpus)], choice.backend.sandbox)
    if chosen["profile"] == "auto" and chosen["autotune"] != "off":
        answer, seconds = chosen["autotune"], planned.profile.budget["train_seconds"]
        length = tune.default_seconds(chosen.get("hours"), chosen.get("experiments"), seconds)
        with bars(quiet=quiet, plain=plain) as on_progress:
            planned = tune.tuned(
                planned, corpus, lambda vocab_size: prepare(corpus, vocab_size, on_progress), say,
                is_again=answer is not None, seconds=answer if isinstance(answer, float) else length,
            )  # fmt: skip
    profile, choice = planned.profile, planned.choice
    say(f"profile   {profile.name}: {planned.profile_reason}")
    say(f"corpus    {corpus}: {reason}")
    with bars(quiet=quiet, plain=plain) as on_progress:
        prepared = prepare(corpus, profile.data["vocab_size"], on_progress)
    study = workspace.create(
        folder, tag=tag, backend=choice.backend, facts=choice.facts, profile=profile, prepared=prepared, corpus=prepared.corpus,
        seed=workspace.DEFAULT_SEED if chosen["seed"] is None else chosen["seed"], decide=chosen["decide"] or "confirmed",
        stop_early=bool(chosen["stop_early"]),
        constraints=Constraints(**{name: chosen[name] for name in CONSTRAINTS}),
    )  # fmt: skip
    say(f"workspace {folder}")
    return study, terms.setup(study, choice.backend, prepared, sandbox)
