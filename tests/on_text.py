"""Pretraining's task at any sizes, for tests that make no study."""

from dataclasses import replace

from autoresearch.data.prepared import Prepared
from autoresearch.hardware.planner.profile_file import Data
from autoresearch.task import registry
from autoresearch.task.contract import Task


def without_slice(task: Task) -> Task:
    """Of a text that spares none."""
    return registry.on_text(replace(task.prepared, slice_documents=0), task.sizes)


def on_text(prepared: Prepared, seq_len: int, eval_bytes: int) -> Task:
    return registry.on_text(prepared, Data(prepared.corpus, prepared.vocab_size, seq_len, eval_bytes))
