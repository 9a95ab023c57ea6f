"""Pretraining: rows of tokens in, a distribution over the next token out; the score is bits per byte of held-out text."""

import functools
from typing import Any

import numpy as np

from autoresearch import paths, task
from autoresearch.data import corpora, prepare, sight
from autoresearch.data.prepared import Prepared
from autoresearch.hardware.planner.profile_file import Data
from autoresearch.measure.batches import TokenFeed
from autoresearch.measure.bpb import ValidationText, rows_bits


class Task(task.Task):
    prepared: Prepared
    sizes: Data

    @classmethod
    def source(cls, table, corpus, options, sizes):
        return task.Source(*corpora.choose(corpus, sizes.corpus))

    @classmethod
    def prepared_from(cls, table, source, options, sizes, on_progress):
        return prepare.prepare(source.name, sizes.vocab_size, on_progress)

    @classmethod
    def prepared_again(cls, key):
        return Prepared.load(paths.cache_dir() / "data" / key)

    def spec(self) -> dict[str, Any]:
        return {"vocab_size": self.prepared.vocab_size, "seq_len": self.sizes.seq_len}

    @property
    def answer(self) -> tuple[int, ...]:
        return self.sizes.seq_len, self.prepared.vocab_size

    @property
    def row(self) -> np.dtype:
        """Of a token: a row has seq_len + 1."""
        return np.dtype(self.prepared.dtype)

    def feed(self, seed: int) -> TokenFeed:
        return TokenFeed(self.prepared.train_folder / "tokens.bin", self.prepared.dtype, seed, self.sizes.seq_len)

    @functools.lru_cache(maxsize=2)  # noqa: B019, a study has one task
    def text(self, split: str) -> ValidationText:
        """Of the study's length."""
        token_bytes = np.load(self.prepared.folder / "token_bytes.npy")
        return ValidationText.load(self.prepared.folder / split, token_bytes, self.prepared.dtype, self.sizes.eval_bytes)

    def questions(self, split: str) -> task.Questions | None:
        if not getattr(self.prepared, f"{split}_documents"):
            return None
        return task.Questions(*self.text(split).rows(self.sizes.seq_len))

    def losses(self, answers: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return rows_bits(answers, targets)

    def units(self, split: str, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Documents: their bits, their bytes."""
        text = self.text(split)
        return text.document_bits(losses.reshape(-1)[: len(text.tokens) - 1].astype(np.float64)), text.document_bytes

    def hidden(self):
        """Python's own source can't be hidden."""
        place = sight.place(self.prepared.corpus)
        return [self.prepared.folder, *([place] if place else [])]

    def summary(self) -> str:
        """How much text there is of each kind, and what of it was mended or left out."""
        it = self.prepared
        held_out = [(it.val_bytes, "validation"), (it.test_bytes, "test"), (it.slice_bytes, "the audit slice")]
        parts = [f"{size / 1e6:,.1f} MB for {name}" for size, name in ((it.train_bytes, "training"), *held_out) if size]
        mended = [
            (it.repaired_documents, "documents not in UTF-8: converted"),
            (it.duplicates_of_val + it.duplicates_in_val, "documents left out, the same as held-out ones"),
        ]
        return "; ".join([", ".join(parts), *(f"{count:,} {what}" for count, what in mended if count)])
