"""`autoresearch prepare`: corpus, tokenizer and token files into the cache, with bars on what takes time."""

import json
import time
from typing import TYPE_CHECKING, Any

import click

from autoresearch.commands.options import options

if TYPE_CHECKING:
    from autoresearch.data.prepared import Prepared


@click.command()
@options("corpus", "profile", "backend", "device")
@click.option("--vocab-size", type=int, metavar="N", help="Tokens in the vocabulary, BOS counted. Default: the profile's.")
@click.option("--force", is_flag=True, help="Prepare again, even when it was done before.")
@options("json", "plain")
def command(
    corpus: str, profile: str, backend: str, device: str | None, vocab_size: int | None, force: bool, as_json: bool, plain: bool
) -> None:
    """Corpus, tokenizer and token files, into the cache.

    Done once for each corpus and vocabulary; `autoresearch run` does it by itself. What a run would use by default comes from
    the profile that fits this machine; a machine is only looked at when --corpus or --vocab-size leave something open.
    """
    from autoresearch.commands.bars import bars, looking
    from autoresearch.data.prepare import prepare

    with looking(quiet=as_json, plain=plain):
        corpus, reason, vocab_size = _resolve(corpus, vocab_size, profile, backend, device)
    if not as_json:
        click.echo(f"corpus {corpus}: {reason}")
    started = time.monotonic()
    with bars(quiet=as_json, plain=plain) as on_progress:
        prepared = prepare(corpus, vocab_size, on_progress, force)
    seconds = time.monotonic() - started
    if as_json:
        click.echo(json.dumps(_facts(prepared) | {"corpus_reason": reason, "seconds": round(seconds, 3)}, indent=2))
        return
    for line in _lines(prepared, seconds):
        click.echo(line)


def _resolve(corpus: str, vocab_size: int | None, profile: str, backend: str, device: str | None) -> tuple[str, str, int]:
    """(corpus, why that one, vocabulary size): what was asked for, and the machine's profile for the rest."""
    from autoresearch.data import corpora

    if corpus != "auto" and vocab_size is not None:
        return corpus, "asked for", vocab_size
    from autoresearch.hardware.autotune import tune
    from autoresearch.hardware.planner import plan

    made = plan.make(backend, profile, device)
    tuned = tune.remembered(made) if profile == "auto" else None
    data = (made if tuned is None else tune.applied(made, tuned)).profile.sizes
    return *corpora.choose(corpus, data.corpus), data.vocab_size if vocab_size is None else vocab_size


def _facts(prepared: "Prepared") -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(prepared) | {"folder": str(prepared.folder), "mean_token_bytes": prepared.mean_token_bytes}


def _lines(prepared: "Prepared", seconds: float) -> list[str]:
    def text(name: str, documents: int, size: int, tokens: int) -> str:
        return f"  {name:<11} {documents:>9,} documents {size:>13,} bytes {tokens:>13,} tokens"

    dropped = [
        f"{count:,} {what}"
        for count, what in (
            (prepared.duplicates_of_val, "training documents left out, the same as held-out documents"),
            (prepared.duplicates_in_val, "validation documents left out, the same as earlier ones"),
            (prepared.repaired_documents, "documents with bytes that are not UTF-8 (replaced)"),
        )
        if count
    ]
    return [
        f"ready in {seconds:.1f} s",
        text("training", prepared.train_documents, prepared.train_bytes, prepared.train_tokens),
        text("validation", prepared.val_documents, prepared.val_bytes, prepared.val_tokens),
        text("test", prepared.test_documents, prepared.test_bytes, prepared.test_tokens),
        text("audit slice", prepared.slice_documents, prepared.slice_bytes, prepared.slice_tokens),
        f"  vocabulary  {prepared.vocab_size:,} tokens, {prepared.mean_token_bytes:.2f} bytes a token",
        *(f"  {line}" for line in dropped),
        f"  folder      {prepared.folder}",
    ]
