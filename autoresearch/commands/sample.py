"""`autoresearch sample`: text from a study's weights, as it is made."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from autoresearch.commands.options import MOST_SEED, options
from autoresearch.commands.say import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np

    from autoresearch.report.weights import Weights
    from autoresearch.run.setup import Setup


@click.command("sample")
@options("study")
@click.option("--prompt", metavar="TEXT", default="", help="What the text begins with. Default: nothing, a document's beginning.")
@click.option(
    "--max-tokens", type=click.IntRange(1, 1_000_000), default=200, show_default=True, metavar="N", help="How many to write."
)
@click.option(
    "--temperature", type=click.FloatRange(0, 100), default=0.8, show_default=True, metavar="T",
    help="0: always the likeliest token; 1: by the model's own chances; more: wilder.",
)  # fmt: skip
@click.option("--top-k", type=click.IntRange(min=1), metavar="K", help="Only the K likeliest tokens. Default: all.")
@click.option("--seed", type=click.IntRange(0, MOST_SEED), metavar="N", help="Of the chances. Default: another one each time.")
@click.option("--experiment", "number", type=click.IntRange(min=0), metavar="N", help="Whose weights. Default: the best's.")
@options("device", "sandbox", "json", "plain")
def command(
    workspace: Path | None, prompt: str, max_tokens: int, temperature: float, top_k: int | None, seed: int | None,
    number: int | None, device: str | None, sandbox: str, as_json: bool, plain: bool,
) -> None:  # fmt: skip
    """Have the best write text, which appears as it is made.

    The model runs in the sandbox, as in scoring. It ends where a document would, after --max-tokens, or with Ctrl-C. Weights are
    kept of the best; `autoresearch replay N` makes those of another experiment.

    Example: `autoresearch sample --prompt "def main(" --temperature 0.5`
    """
    import secrets

    import numpy as np

    from autoresearch.commands.bars import bars
    from autoresearch.errors import UsageError
    from autoresearch.report import weights
    from autoresearch.run import sampling
    from autoresearch.sandbox import levels
    from autoresearch.study import lock, terms
    from autoresearch.study.workspace import find
    from autoresearch.text import harmless

    if temperature != temperature:
        raise click.BadParameter("nan is not a temperature", param_hint="--temperature")

    def warn(changes: list[str]) -> None:
        say(f"warning: not as the study began: {'; '.join(changes)}", err=True)

    study = find(workspace)
    if not study.task.sizes:
        raise UsageError(f"a study of the task {study.task.name} has no model that writes text; name another with --workspace")
    found = weights.find(study, number)
    level = levels.choose(sandbox)
    lock.check(study.lock)
    with bars(quiet=as_json, plain=plain) as on_progress:
        setup = terms.ready(study, level, on_progress, device, on_changes=warn)
    seed = secrets.randbelow(1 << 32) if seed is None else seed
    rng = np.random.default_rng(seed)
    if not as_json:
        of = f"experiment {found.experiment.number}, {study.metric.name} {study.metric.text(found.result.val_bpb)}, seed {seed}"
        say(f"{of}: the model starts; Ctrl-C ends it", err=True)
    parts: list[str] = []

    def show(part: str) -> None:
        parts.append(part)
        if not as_json:
            click.echo(part, nl=False)

    show(harmless(prompt))
    try:
        made = _write(setup, found, prompt, max_tokens, lambda logits: sampling.draw(logits, temperature, top_k, rng), show)
    finally:
        if not as_json:
            click.echo()
    if as_json:
        facts = {"experiment": found.experiment.number, "seed": seed, "temperature": temperature, "top_k": top_k}
        click.echo(json.dumps(facts | {"prompt": parts[0], "text": "".join(parts[1:]), "tokens": made}, indent=2))


def _write(
    setup: "Setup", found: "Weights", prompt: str, count: int, pick: "Callable[[np.ndarray], int]", show: "Callable[[str], None]"
) -> list[int]:
    """Show the text piece by piece; returns its tokens."""
    from autoresearch.data import tokenizer
    from autoresearch.data.prepared import Prepared
    from autoresearch.errors import AutoresearchError, RunFailed
    from autoresearch.report import weights
    from autoresearch.run import sampling, scoring

    prepared, seq_len = setup.task.prepared, setup.task.answer[0]
    assert isinstance(prepared, Prepared), "`command` refuses others"
    ranks = tokenizer.load_ranks(prepared.folder / "ranks.tiktoken")
    start = tokenizer.encode(tokenizer.encoding(ranks), [prompt.encode("utf-8", "replace")])[0].tolist()
    made: list[int] = []

    def pieces() -> "Iterator[bytes]":
        for token in sampling.tokens(asking.answer, start, seq_len, count, prepared.bos_id, pick):
            made.append(token)
            yield ranks[token]

    number = found.experiment.number
    try:
        with weights.borrowed(found) as folder, scoring.answering(setup, folder) as asking:
            for part in sampling.text(pieces()):
                show(part)
    except RunFailed as failure:
        problem = f"the model of experiment {number} gave no text ({failure.kind}): {failure}"
        raise AutoresearchError(f"{problem}; `autoresearch show {number}` says what it is") from failure
    return made
