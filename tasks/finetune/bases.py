"""What a fine-tuning starts from: the best of another study or a Hugging Face folder, as a folder of the cache that cells may read.

`<cache>/data/base-<key>/`, the key made of all that is read of the base:

    base.json            what Base holds; written last
    weights.safetensors  a study's checkpoint as it was scored, or a Hugging Face model's with the names of torch/models.py
    base_model.py        of a study: its train.py, with the build_model of these weights. An agent's: only cells import it
    ranks.tiktoken       of a study: its tokenizer; a Hugging Face model has its tokenizer.json here
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from autoresearch import paths
from autoresearch.border import files
from autoresearch.data import made, tokenizer
from autoresearch.data.corpora import Corpus
from autoresearch.data.prepared import checksum_of, describe
from autoresearch.data.progress import OnProgress
from autoresearch.errors import StoredStateError, UsageError
from autoresearch.report import weights as stored
from autoresearch.run import scoring
from autoresearch.study import terms, workspace

from . import hugging_face

WEIGHTS, CODE, ABOUT = "weights.safetensors", "base_model.py", "base.json"
SEQ_LEN = 512  # tokens in a row, of a Hugging Face model; chosen: what the profiles for a plain CPU and for small cards have
BYTES_OF_PARAMETER = 8  # of the computer's memory: float32 weights, once more while they are saved; training takes more
FRAMEWORK = "torch"  # whose build_model torch/train.py can call


@dataclass(frozen=True)
class Base:
    folder: Path
    title: str  # for a person
    vocab_size: int
    bos: int  # before each document and each question
    end: int  # after an answer
    seq_len: int  # the longest row
    architecture: dict[str, Any]  # build_model's spec
    files: dict[str, str]  # checksums of what lies in the folder
    study: str | None = None  # the study's folder; its validation text shows what is forgotten
    eval_bytes: int | None = None  # of that text

    @property
    def code(self) -> Path:
        """The module with build_model."""
        own = self.folder / CODE
        return own if own.exists() else Path(__file__).parent / FRAMEWORK / "models.py"

    @property
    def weights(self) -> Path:
        return self.folder / WEIGHTS

    @property
    def dtype(self) -> str:
        """Of token files."""
        return tokenizer.token_dtype(self.vocab_size)

    def encoder(self) -> Callable[[list[bytes]], list[np.ndarray]]:
        """Documents (UTF-8) -> of each BOS and its tokens, in `dtype`."""
        if self.study is None:
            return self.faithful().encode
        encoding = tokenizer.encoding(tokenizer.load_ranks(self.folder / "ranks.tiktoken"))
        return lambda documents: tokenizer.encode(encoding, documents)

    def faithful(self) -> hugging_face.Tokenizer:
        return hugging_face.Tokenizer(self.folder / "tokenizer.json", self.vocab_size, self.bos)

    def given_back(self, corpus: Corpus) -> Corpus | hugging_face.Faithful:
        """The corpus without what the tokenizer would change; a study's own changes nothing."""
        return corpus if self.study else hugging_face.Faithful(corpus, self.faithful())

    def verify(self) -> None:
        """StoredStateError when a file is not what was written."""
        for name, checksum in self.files.items():
            path = self.folder / name
            if not path.is_file() or describe(path)["blake2b"] != checksum:
                cure = "remove that folder, and the next run makes it again"
                raise StoredStateError(f"{path} is not what was written (checksum); {cure}")


def load(key: str) -> Base:
    """From the cache; StoredStateError when it is gone."""
    folder = paths.cache_dir() / "data" / key
    try:
        return Base(folder, **json.loads((folder / ABOUT).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise StoredStateError(f"the base {folder} can't be read ({error}); the next run makes it again from --base") from None


def find(named: str, on_progress: OnProgress) -> Base:
    """What --base names, copied into the cache. UsageError in one line for what can't be one."""
    folder = paths.expanded(named).resolve()
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}; name a study or a Hugging Face model's folder with --base")
    return _of_study(folder, on_progress) if workspace.is_workspace(folder) else _of_folder(folder, on_progress)


def _made(key: str, about: dict[str, Any], write: Callable[[Path], None], on_progress: OnProgress) -> Base:
    try:
        known = load(key)
        known.verify()
        return known
    except StoredStateError:
        pass
    with made.alone(on_progress) as root:

        def fill(work: Path) -> None:
            write(work)
            sums = {path.name: str(describe(path)["blake2b"]) for path in sorted(work.iterdir())}
            (work / ABOUT).write_text(json.dumps(about | {"files": sums}), encoding="utf-8")

        made.build(root / key, fill)
        return load(key)


def _of_study(folder: Path, on_progress: OnProgress) -> Base:
    study = workspace.load(folder)
    if not study.task.sizes:
        problem = f"{folder} is a study of the task {study.task.name}, and a base was trained on text from scratch"
        raise UsageError(problem, "name a study of --task pretrain")
    found = stored.find(study)
    checkpoint = found.folder / "checkpoint"
    if not files.is_safetensors(checkpoint):
        problem = f"the weights of {folder} are no safetensors: its train.py saves them in a way of its own"
        raise UsageError(problem, "name another study")
    backend = terms.tasks.backends(study.task).get(study.backend)
    framework = backend.train_py.parent.name if backend else "none that is here"
    if framework != FRAMEWORK:
        problem = f"{folder} was trained by {framework} ({study.backend}), and fine-tuning takes weights of {FRAMEWORK}"
        raise UsageError(problem, "name another study")
    prepared = terms.prepared_again(study, on_progress)
    sizes = study.profile.sizes
    ranks = prepared.folder / "ranks.tiktoken"
    about = {
        "title": f"experiment {found.experiment.number} of {folder.name} ({found.result.val_bpb:.4f} bpb on {study.corpus})",
        "vocab_size": sizes.vocab_size,
        "bos": sizes.vocab_size - 1,
        "end": sizes.vocab_size - 1,  # a document's end is the next one's beginning
        "seq_len": sizes.seq_len,
        "architecture": {"vocab_size": sizes.vocab_size, "seq_len": sizes.seq_len},
        "study": str(folder),
        "eval_bytes": sizes.eval_bytes,
    }

    def write(work: Path) -> None:
        shutil.copyfile(checkpoint, work / WEIGHTS)
        if scoring.digest(work / WEIGHTS) != found.result.checkpoint:
            raise UsageError(f"the weights of {folder} were taken away just now; run this again")
        (work / CODE).write_text(found.train_py, encoding="utf-8", newline="")
        shutil.copyfile(ranks, work / ranks.name)

    identity = [found.result.checkpoint, found.train_py, about, describe(ranks)["blake2b"]]
    _check_memory(folder, files.parameters(checkpoint))
    return _made(f"base-{checksum_of(identity)}", about, write, on_progress)


def _of_folder(folder: Path, on_progress: OnProgress) -> Base:
    table = hugging_face.config(folder)
    shape = hugging_face.architecture(folder, table, SEQ_LEN)
    found = hugging_face.weights(folder, shape["kind"], shape["tied"])
    if shape["layers"] > len(found):  # building them could take all of the memory
        problem = f"{folder / 'config.json'} names {shape['layers']:,} layers, and the weights are {len(found):,} tensors"
        raise UsageError(problem, "download it again")
    _check_memory(folder, hugging_face.parameters(found))
    ends = [one for name in ("eos_token_id", "bos_token_id") for one in _ids(table.get(name)) if one < shape["vocab_size"]]
    if not ends:
        problem = f"{folder / 'config.json'} names no eos_token_id and no bos_token_id of the vocabulary"
        raise UsageError(problem, "write the one that ends a text into it")
    bos = next(iter(_ids(table.get("bos_token_id"))), ends[0])
    hugging_face.Tokenizer(folder / "tokenizer.json", shape["vocab_size"], bos)
    about = {
        "title": f"{folder.name} ({table['model_type']}, {hugging_face.parameters(found) / 1e6:.1f} M parameters)",
        "vocab_size": shape["vocab_size"], "bos": bos if bos < shape["vocab_size"] else ends[0], "end": ends[0],
        "seq_len": shape["seq_len"], "architecture": shape,
    }  # fmt: skip

    def write(work: Path) -> None:
        hugging_face.write_weights(found, work / WEIGHTS, on_progress)
        shutil.copyfile(folder / "tokenizer.json", work / "tokenizer.json")

    return _made(f"base-{checksum_of([hugging_face.identity(folder), about])}", about, write, on_progress)


def _ids(value: object) -> list[int]:
    """config.json has none, one, or several."""
    return [one for one in (value if isinstance(value, list) else [value]) if type(one) is int and one >= 0]


def _check_memory(folder: Path, parameters: int) -> None:
    needed, there = BYTES_OF_PARAMETER * parameters, psutil.virtual_memory().total
    if needed > there:
        raise UsageError(
            f"{folder} has {parameters / 1e9:.1f} G parameters, which take {needed / 2**30:.0f} GiB and more in training, and this"
            f" computer has {there / 2**30:.0f}; take a smaller model"
        )
