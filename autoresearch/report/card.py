"""README.md of exported weights: a model card with Hugging Face's header. Pure.

Texts that others wrote stand in code spans, where neither Markdown nor HTML means anything.
"""

import json
import os
from pathlib import PurePath

from autoresearch import __version__
from autoresearch.data import sight
from autoresearch.data.tokenizer import BOS
from autoresearch.noise import student_t
from autoresearch.report.summary import summarise
from autoresearch.report.weights import Weights
from autoresearch.study.state import State
from autoresearch.study.workspace import Study
from autoresearch.text import one_line

USE = """
```python
from load import load    # needs {needs}
model = load()
logits = model(ids)      # ids [B, T], T <= {seq_len}; logits float32 [B, T, {vocab_size}]
```

`load.py` says what else it takes. On one device, for the same rows in one call and with the same versions ({versions}), these are
the logits that the score was computed from, bit for bit. It runs `train.py`, which an agent may have edited, with your rights: read
that first.
"""
NO_USE = """
This folder has no `load.py`: the backend `{backend}` brings none. `train.py` and the weights are what was scored.
"""
TOKENS = """
```python
from tokenizers import Tokenizer                    # pip install tokenizers
tokenizer = Tokenizer.from_file("tokenizer.json")   # puts {bos} before a text; .encode_special_tokens: not in one

import base64, json, pathlib, tiktoken              # or: pip install tiktoken
lines = pathlib.Path("tokenizer.tiktoken").read_text().splitlines()
ranks = {{base64.b64decode(line.split()[0]): rank for rank, line in enumerate(lines)}}
more = json.loads(pathlib.Path("config.json").read_text())["tiktoken"]
encoding = tiktoken.Encoding("autoresearch", mergeable_ranks=ranks, **more)
```

Both give the ids that the model was trained with; each document began with `{bos}`, {bos_id}.
"""


def text(study: Study, state: State, weights: Weights, needs: tuple[str, ...] | None) -> str:
    """needs: the packages that load.py imports; None: there is no load.py."""
    result, subject, facts = weights.result, weights.experiment, study.facts
    title = f"{study.tag}, experiment {subject.number}"
    named = {"seq_len": study.profile.sizes.seq_len, "vocab_size": study.profile.sizes.vocab_size, "backend": study.backend}
    named |= {"versions": ", ".join(f"{name} {version}" for name, version in facts.versions.items()) or "n/a"}
    bos_id = study.profile.sizes.vocab_size - 1
    parts = [
        _header(study, title, weights),
        f"# {title}",
        f"A small GPT that `autoresearch` {__version__} trained in a fixed time. What was tried: {_code(subject.description)}.",
        _table(_figures(state, weights)),
        summarise(state).belief,
        "## The terms that it was scored under",
        _table(_terms(study)),
        "## Use",
        (USE if needs else NO_USE).format(**named, needs=" and ".join(needs or ())).strip(),
        "## Tokens",
        TOKENS.format(bos=BOS, bos_id=bos_id).strip(),
        "## Limits",
        _limits(study, result.total_tokens),
    ]
    return "\n\n".join(parts) + "\n"


def _header(study: Study, title: str, weights: Weights) -> str:
    """YAML, whose inner tables are JSON, which is YAML too."""
    metric = study.metric
    scores = {metric.name: weights.result.val_bpb, metric.test_name: weights.test_bpb}
    results = {
        "task": {"type": "text-generation"},
        "dataset": {"name": _corpus(study), "type": "text"},
        "metrics": [{"type": name, "value": round(metric.shown(score), 6)} for name, score in scores.items() if score is not None],
    }
    index = json.dumps([{"name": title, "results": [results]}], ensure_ascii=False)
    return f"---\npipeline_tag: text-generation\ntags: [autoresearch]\nmodel-index: {index}\n---"


def _figures(state: State, weights: Weights) -> dict[str, str]:
    result, subject, baseline = weights.result, weights.experiment, state.experiments[0]
    metric = state.metric
    of_these = "of these weights, a replay's" if weights.is_replay else "of these weights"
    fair = len(subject.fair)
    rows = {
        f"{metric.name} {of_these}": f"{metric.text(result.val_bpb)} (seed {result.seed})",
        f"{metric.name} of the experiment": f"{metric.text(subject.val_bpb)}, the mean of {fair} run{'s' * (fair > 1)}",
        f"{metric.name} of the baseline": metric.text(baseline.val_bpb),
        f"{metric.test_name} of these weights": f"{metric.text(weights.test_bpb)}, on {metric.data} that no decision saw",
    }
    if state.best is None or subject.number != state.best.number:
        rows["verdict"] = f"{subject.verdict} ({subject.state}), and not the best of the study"
    elif state.gain:
        rows["gain over the baseline"] = f"{state.gain.text(state.metric)} {state.metric.unit}"
    return rows | {
        "noise": _noise(state),
        "parameters": "n/a" if result.num_params is None else f"{result.num_params:,}",
        "training tokens": "n/a" if result.total_tokens is None else f"{result.total_tokens:,} in {result.num_steps:,} steps",
        "training time": "n/a" if result.training_seconds is None else f"{result.training_seconds:.1f} s",
    }


def _terms(study: Study) -> dict[str, str]:
    data = study.profile.sizes
    return {
        "machine": f"{study.facts.device or 'n/a'}, backend {study.backend}",
        "computed in": study.facts.dtype or "n/a",
        "corpus": f"{_corpus(study)}, checksum `{study.checksums['corpus']}`",
        "sizes": f"vocabulary {data.vocab_size:,}, rows of {data.seq_len:,} tokens, {data.eval_bytes:,} bytes scored",
        "profile": f"{study.profile.name}, {study.profile.budget.train_seconds:g} s of training",
        "kept by": f"the rule {study.decide}",
        "begun": study.created,
        "versions": ", ".join(f"{name} {version}" for name, version in study.versions.items()),
    }


def _noise(state: State) -> str:
    noise, metric = state.noise, state.metric
    if noise is None:
        return f"n/a: how far the seed alone moves {metric.name} was not measured"
    wide = student_t(1.96, noise.dof) * noise.sigma
    sigma, reach = metric.amount(noise.sigma), metric.amount(wide)
    return f"the seed alone moves {metric.name} by {sigma}; 19 of 20 trainings lie within {reach} of their mean"


def _limits(study: Study, tokens: int | None) -> str:
    seen = "few tokens" if tokens is None else f"{tokens:,} tokens"
    lines = [
        f"It saw {seen} of one corpus: it continues text of that kind, knows few facts, follows no instructions and was not made"
        " safe. What it was trained on, it may repeat.",
        f"A row holds {study.profile.sizes.seq_len:,} tokens; it was trained and scored on no longer one.",
        f"{study.metric.name} chose it among the experiments, so it is a little too good; {study.metric.test_name} chose nothing.",
        "Bits per byte compare on the same text alone.",
    ]
    if warning := study.warning:
        lines.append(warning)
    return "\n".join(f"- {line}" for line in lines)


def _corpus(study: Study) -> str:
    """A path's last part: where it lay is nobody's business."""
    return PurePath(sight.split(study.corpus)[0]).name if os.path.isabs(study.corpus) else study.corpus


def _table(rows: dict[str, str]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {_cell(value)} |" for name, value in rows.items())])


def _cell(value: str) -> str:
    return one_line(value, 500).replace("|", "\\|").replace("<", "&lt;")


def _code(value: str) -> str:
    return f"`{one_line(value).replace('`', chr(39))}`"
