"""Fine-tuning: start from weights that are there, and make them better on a text, or at answering questions word for word.

Rows of tokens in, a distribution over the next token out, as in pretraining; the tokenizer is the base's. Of text the score is bits
per byte. Of questions (pairs.py) it is the share of which every token of the answer is the likeliest: losses are then float32
[n, 2 T], the bits of each token (which an audit compares) and whether it was not the likeliest (which the score is made of).

What the base can do is measured in a cell when the data is prepared: its score before any training, and its bits per byte of the
text that it should not forget, which every run's are compared with (`forgot_bpb`).
"""

import functools
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autoresearch import paths, task
from autoresearch.data import corpora, sight
from autoresearch.data.prepare import write_encoded
from autoresearch.data.prepared import checksum_of
from autoresearch.errors import RunFailed, UsageError
from autoresearch.hardware.devices import detect
from autoresearch.measure.batches import TokenFeed
from autoresearch.measure.bpb import ValidationText, rows_bits
from autoresearch.metric import Metric
from autoresearch.run import scoring
from autoresearch.run.setup import Setup
from autoresearch.sandbox import levels
from autoresearch.study import terms, workspace
from autoresearch.task import prepared, registry

from . import bases, hugging_face, pairs

EXACT = Metric(
    "exact_match", "share of questions", "max", data="questions", pieces="questions", resolution=1e-9, above=-1.1, below=0.1
)
GUARD_BYTES = 100_000  # of a --guard-text
GUARD, FORGOT = "base", "forgot_bpb"  # the split that shows what was forgotten, and the quantity
PARTS = {"train": "training", "val": "validation", "test": "test", "slice": "the audit slice"}


@dataclass(frozen=True)
class Prepared(prepared.Arrays):
    """With the base that it is for."""

    @property
    def base(self) -> bases.Base:
        return bases.load(self.facts["base"])

    def verify(self, on_progress=lambda *_: None) -> None:
        super().verify(on_progress)
        self.base.verify()


class Task(task.Task):
    prepared: Prepared

    @classmethod
    def source(cls, table, corpus, options, sizes):
        if corpus == "auto":
            raise UsageError("fine-tuning needs your text, or your questions and answers; name it with `--corpus PATH`")
        if options["score"] == "exact":
            return task.Source(str(pairs.file(corpus)), "asked for")
        if pairs.is_pairs(paths.expanded(corpus)):
            raise UsageError(f"{corpus} holds questions and answers; add `--score exact`, or `--corpus {corpus}#answer` for text")
        return task.Source(*corpora.choose(corpus, corpus))

    @classmethod
    def prepared_from(cls, table, source, options, sizes, on_progress):
        base = bases.find(options["base"], on_progress)
        texts = [source.name, *([options["guard-text"]] if "guard-text" in options else [])]
        identity = checksum_of([base.folder.name, *(corpora.find(text).identity(on_progress) for text in texts)])
        return cls._of(prepared.made(cls, table, source, options, on_progress, identity))

    @classmethod
    def prepare(cls, source, options, folder, on_progress):
        base = bases.find(options["base"], on_progress)
        warnings = []
        if options["score"] == "exact":
            counts = pairs.write(Path(source.name), base, folder, on_progress)
            if counts["left_out"]:
                warnings.append(
                    f"{counts['left_out']:,} pairs are left out: longer than the {base.seq_len} tokens that the base takes"
                )
        else:
            counts, lost = _write_text(corpora.find(source.name), base, folder, on_progress)
            if lost:
                warnings.append(f"{lost:,} documents are left out: the base's tokenizer does not give them back as they are")
        guard_bytes = _write_guard(base, options.get("guard-text"), folder, on_progress)
        if guard_bytes is None:
            warnings.append("nothing shows what the model forgets of what it knows; `--guard-text PATH` names a text that does")
        facts = {
            "base": base.folder.name, "seq_len": counts.pop("seq_len", base.seq_len), "counts": counts,
            "guard_bytes": guard_bytes, "warnings": warnings,
        }  # fmt: skip
        asked = cls(registry.read(Path(__file__).parent), Prepared(folder, source.name, folder.name, {}, facts), options)
        return facts | {"before": _before(asked, on_progress)}

    @classmethod
    def prepared_again(cls, key):
        return cls._of(prepared.load(key))

    @staticmethod
    def _of(arrays: prepared.Arrays) -> Prepared:
        return Prepared(**vars(arrays))

    @classmethod
    def guards(cls, options):
        """A Hugging Face folder says nothing of the text that its model was trained on."""
        is_known = "guard-text" in options or not (paths.expanded(options["base"]) / "config.json").is_file()
        return {FORGOT: GUARD} if is_known else {}

    @property
    def is_exact(self) -> bool:
        return self.options["score"] == "exact"

    @property
    def metric(self) -> Metric:
        return EXACT if self.is_exact else self.table.metric

    @functools.cached_property
    def base(self) -> bases.Base:
        return self.prepared.base

    @property
    def seq_len(self) -> int:
        return self.facts["seq_len"]

    def spec(self) -> dict[str, Any]:
        """base_code, base_weights: files; base_spec: what the build_model in base_code is told."""
        base = self.base
        return {
            "vocab_size": base.vocab_size, "seq_len": self.seq_len, "base_code": str(base.code), "base_weights": str(base.weights),
            "base_spec": base.architecture,
        }  # fmt: skip

    @property
    def answer(self) -> tuple[int, ...]:
        return self.seq_len, self.base.vocab_size

    @property
    def row(self) -> np.dtype:
        return self.array("train").dtype if self.is_exact else np.dtype(self.base.dtype)

    @property
    def most(self) -> dict[str, int]:
        return dict.fromkeys(self.row.names or (), self.base.vocab_size)

    def feed(self, seed: int):
        if self.is_exact:
            return super().feed(seed)
        return TokenFeed(self.prepared.folder / "train" / "tokens.bin", self.base.dtype, seed, self.seq_len)

    @functools.lru_cache(maxsize=3)  # noqa: B019, a study has one task
    def text(self, split: str) -> ValidationText:
        """The shortest run of documents, from the first, that holds the study's number of bytes."""
        folder = self.prepared.folder / split
        starts, sizes = np.load(folder / "starts.npy"), np.load(folder / "bytes.npy")
        every_token = np.memmap(folder / "tokens.bin", dtype=self.base.dtype, mode="r")
        wanted_bytes = self.facts["guard_bytes"] if split == GUARD else int(self.options["eval-bytes"])
        count = min(int(np.searchsorted(np.cumsum(sizes), wanted_bytes)) + 1, len(sizes))
        ends = np.append(starts[1:], len(every_token))[:count]
        tokens = np.array(every_token[: ends[-1]])
        document = np.repeat(np.arange(count, dtype=np.int32), ends - starts[:count])
        carries_bytes = np.ones(len(tokens), bool)
        carries_bytes[starts[:count]] = False  # BOS; the same token may stand in a document, too
        return ValidationText(tokens, document, carries_bytes, sizes[:count].astype(np.int64))

    def _is_text(self, split: str) -> bool:
        return split == GUARD or not self.is_exact

    def questions(self, split: str) -> task.Questions | None:
        if self._is_text(split):
            return task.Questions(*self.text(split).rows(self.seq_len)) if (self.prepared.folder / split).is_dir() else None
        rows = self.array(split)
        return task.Questions(np.ascontiguousarray(rows["inputs"]), np.ascontiguousarray(rows["targets"])) if len(rows) else None

    def losses(self, answers: np.ndarray, targets: np.ndarray) -> np.ndarray:
        bits = rows_bits(answers, targets)
        if not self.is_exact:
            return bits
        missed, scored = np.zeros_like(bits), targets >= 0
        missed[scored] = answers[scored].argmax(axis=-1) != targets[scored]
        return np.concatenate([bits, missed], axis=1)

    def units(self, split: str, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Documents: their bits and bytes; of the guard's the bits beyond the base's. Pairs: -1 for one that is exact, and 1."""
        if not self._is_text(split):
            missed = losses[:, self.seq_len :].any(axis=1)
            return np.where(missed, 0.0, -1.0), np.ones(len(losses), np.int64)
        text = self.text(split)
        bits = losses[:, : self.seq_len].reshape(-1)[: len(text.tokens) - 1].astype(np.float64)
        before = self.facts.get("before", {}).get(FORGOT, 0.0) if split == GUARD else 0.0
        return text.document_bits(bits) - before * text.document_bytes, text.document_bytes

    def reads(self) -> list[Path]:
        return [self.base.folder]

    def scoring_reads(self) -> list[Path]:
        return [self.base.code]

    def hidden(self) -> list[Path]:
        guard = self.options.get("guard-text")
        places = [sight.place(self.prepared.corpus), sight.place(str(paths.expanded(guard).resolve())) if guard else None]
        return [self.prepared.folder, *(place for place in places if place)]

    def summary(self) -> str:
        counts, before = self.facts["counts"], self.facts["before"]
        if self.is_exact:
            parts = [f"{counts[part]:,} pairs for {words}" for part, words in PARTS.items()]
        else:
            parts = [f"{size / 1e6:,.2f} MB for {words}" for part, words in PARTS.items() if (size := counts[f"{part}_bytes"])]
        start = f"{self.metric.name} {self.metric.text(before['val'], 4)} before training"
        return f"{', '.join(parts)}; from {self.base.title}: {start}"


def _write_text(corpus: corpora.Corpus, base: bases.Base, folder: Path, on_progress) -> tuple[dict[str, int], int]:
    """(counts of what was written, documents left out)"""
    corpus.fetch(on_progress)
    texts = base.given_back(corpus)
    counts = write_encoded(texts, base.encoder(), base.dtype, folder, on_progress)
    return counts, texts.lost_documents if isinstance(texts, hugging_face.Faithful) else 0


def _write_guard(base: bases.Base, named: str | None, folder: Path, on_progress) -> int | None:
    """The text that shows what is forgotten; how many bytes of it are scored, None where there is none."""
    if named is not None:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}-guard-") as place:
            _write_text(corpora.find(named), base, Path(place), on_progress)
            os.rename(Path(place) / "val", folder / GUARD)
        return GUARD_BYTES
    if base.study is None:
        return None
    study = workspace.load(Path(base.study))
    shutil.copytree(terms.prepared_again(study, on_progress).folder / "val", folder / GUARD)
    return base.eval_bytes


def _before(asked: Task, on_progress) -> dict[str, float]:
    """The base's own score, and its bits per byte of the guard's text. In a cell: a study's train.py may be an agent's."""
    backend = detect.detect(backends=registry.backends(asked.table)).backend
    with tempfile.TemporaryDirectory(dir=paths.cache_dir(), prefix="before-") as place:
        folder = Path(place)
        shutil.copyfile(backend.train_py, folder / "train.py")
        shutil.copyfile(asked.base.weights, folder / "checkpoint")
        setup = Setup(backend, asked, 60.0, 600.0, levels.choose("auto", is_shipped=True), variables=backend.variables)

        def told(_now) -> None:
            on_progress("asking the base", 0, None)

        try:
            found = scoring.evaluate(setup, folder, told)
        except RunFailed as failure:
            raise UsageError(f"the base can't be asked ({failure.reason}); take another one") from None
    return {name: round(value, 4) for name, value in {"val": found.value, **found.measured}.items() if name in ("val", FORGOT)}
