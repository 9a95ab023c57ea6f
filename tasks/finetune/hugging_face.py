"""A small causal model in a folder as Hugging Face's `transformers` stores it: config.json, safetensors, tokenizer.json.

Which models: MODEL_TYPES, whose forward pass torch/models.py has. No weights are read as anything but numbers: a pickle (.bin) is
refused. The tokenizer is taken as it is; it has to give a text back.
"""

import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from autoresearch.border.files import is_safetensors
from autoresearch.data.corpora import Corpus, Document
from autoresearch.data.prepared import checksum_of, describe
from autoresearch.data.progress import OnProgress
from autoresearch.data.split import digest
from autoresearch.data.tokenizer import VOCAB_SIZE_MAX, token_dtype
from autoresearch.errors import UsageError

MODEL_TYPES = {"llama": "llama", "mistral": "llama", "qwen2": "llama", "qwen3": "llama", "gpt2": "gpt2"}
ROPES = ("default", "linear", "llama3")
FLOATS = {"F32": 4, "F16": 2, "BF16": 2}  # bytes of a number; other types are of quantised weights
PREFIXES = {"llama": "model.", "gpt2": "transformer."}  # of the names of weights; some gpt2's have none
NO_WEIGHTS = (".attn.bias", ".attn.masked_bias", "rotary_emb.inv_freq")  # how names of what is computed end, in old files
LOST_SHARE_MAX = 0.01  # of a text's bytes, in documents that the tokenizer does not give back
BATCH_DOCUMENTS = 256  # of a look at the tokenizer


class Weight(NamedTuple):
    name: str  # of torch/models.py
    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int  # in the file
    size: int  # bytes


def config(folder: Path) -> dict[str, Any]:
    """UsageError for what is no such folder, or of another kind of model."""
    try:
        table = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind = str(table["model_type"])
    except FileNotFoundError:
        problem = f"{folder} holds no study and no config.json"
        raise UsageError(problem, "name a study, or the folder of a Hugging Face model") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        if _is_export(folder):
            raise UsageError(f"{folder} is an export of a study; name the study itself: `--base STUDY`") from None
        problem = f"{folder / 'config.json'} describes no model ({type(error).__name__}: {error})"
        raise UsageError(problem, "download it again") from error
    if kind not in MODEL_TYPES:
        raise UsageError(f"{folder} is a model of the kind {kind!r}; fine-tuning knows {', '.join(MODEL_TYPES)}; take one of those")
    return table


def _is_export(folder: Path) -> bool:
    return (folder / "tokenizer.tiktoken").exists() and (folder / "train.py").exists()


def architecture(folder: Path, table: dict[str, Any], seq_len: int) -> dict[str, Any]:
    """What torch/models.py's build_model is told."""
    try:
        read = _llama if MODEL_TYPES[table["model_type"]] == "llama" else _gpt2
        numbers = read(table) | {"seq_len": min(seq_len, context(table))}
        for name, value in numbers.items():
            if not (isinstance(value, str | bool) or 0 < value < math.inf):
                raise ValueError(f"its {name} is {value}")
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        missing = f"has no {error}" if isinstance(error, KeyError) else str(error)
        raise UsageError(f"{folder / 'config.json'}: {missing}; fine-tuning can't use this model, take another one") from error
    if numbers["vocab_size"] > VOCAB_SIZE_MAX:
        raise UsageError(f"{folder}: a vocabulary of {numbers['vocab_size']:,} is more than {VOCAB_SIZE_MAX:,}; take another model")
    return numbers | {"kind": MODEL_TYPES[table["model_type"]]}


def context(table: dict[str, Any]) -> int:
    """The longest row of tokens that the model is meant for; a window that slides is not built, so a row may not be longer."""
    longest = int(table.get("max_position_embeddings") or table.get("n_positions") or 1024)
    is_sliding = table.get("sliding_window") and table.get("use_sliding_window", True)
    return min(longest, int(table["sliding_window"])) if is_sliding else longest


def _llama(table: dict[str, Any]) -> dict[str, Any]:
    kind, width, heads = table["model_type"], int(table["hidden_size"]), int(table["num_attention_heads"])
    rope = table.get("rope_parameters") or table.get("rope_scaling") or {}
    rope_kind = rope.get("rope_type") or rope.get("type") or "default"
    if rope_kind not in ROPES:
        raise ValueError(f"rotary embedding of the kind {rope_kind!r} ({', '.join(ROPES)} are known)")
    if table.get("hidden_act", "silu") != "silu":
        raise ValueError(f"the activation {table['hidden_act']!r} (silu is known)")
    has_bias = bool(table.get("attention_bias", False))
    return {
        "vocab_size": int(table["vocab_size"]),
        "width": width,
        "layers": int(table["num_hidden_layers"]),
        "heads": heads,
        "groups": int(table.get("num_key_value_heads") or heads),
        "head_width": int(table.get("head_dim") or width // heads),
        "mlp_width": int(table["intermediate_size"]),
        "eps": float(table.get("rms_norm_eps", 1e-6)),
        "bias_in": kind == "qwen2" or has_bias,
        "bias_out": has_bias,
        "bias_mlp": bool(table.get("mlp_bias", False)),
        "norm_heads": kind == "qwen3",
        "tied": bool(table.get("tie_word_embeddings", False)),
        "rope_kind": rope_kind,
        "rope_base": float(rope.get("rope_theta") or table.get("rope_theta") or 10_000.0),
        "rope_factor": float(rope.get("factor", 1.0)),
        "rope_low": float(rope.get("low_freq_factor", 1.0)),
        "rope_high": float(rope.get("high_freq_factor", 4.0)),
        "rope_original": float(rope.get("original_max_position_embeddings", 8192)),
    }


def _gpt2(table: dict[str, Any]) -> dict[str, Any]:
    activation = table.get("activation_function", "gelu_new")
    if activation not in ("gelu_new", "gelu_pytorch_tanh"):
        raise ValueError(f"the activation {activation!r} (gelu_new is known)")
    if not table.get("scale_attn_weights", True) or table.get("scale_attn_by_inverse_layer_idx", False):
        raise ValueError("attention that is scaled in another way than GPT-2's")
    width = int(table["n_embd"])
    return {
        "vocab_size": int(table["vocab_size"]),
        "width": width,
        "layers": int(table["n_layer"]),
        "heads": int(table["n_head"]),
        "mlp_width": int(table.get("n_inner") or 4 * width),
        "eps": float(table.get("layer_norm_epsilon", 1e-5)),
        "positions": int(table.get("n_positions", 1024)),
        "tied": bool(table.get("tie_word_embeddings", True)),
    }


# ---------------------------------------------------------------------------------------------------------------------
# Weights


def weights(folder: Path, kind: str, tied: bool) -> list[Weight]:
    """Where each lies. UsageError where there are none, or of another kind than floating-point numbers."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickles = "only pickled ones, which can run any code" if any(folder.glob("*.bin")) else "none"
        raise UsageError(f"{folder} holds no weights in safetensors ({pickles}); save it as safetensors, or take another model")
    found: dict[str, Weight] = {}
    for file in files:
        for name, dtype, shape, start, size in _header(file):
            name = name.removeprefix(PREFIXES[kind])
            if name.endswith(NO_WEIGHTS) or (tied and name == "lm_head.weight"):
                continue
            if dtype not in FLOATS:
                problem = f"{file}: {name} is of the type {dtype}, as quantised weights are"
                raise UsageError(problem, "take the model in float16, bfloat16 or float32")
            found[name] = Weight(name, file, dtype, shape, start, size)
    return list(found.values())


def _header(file: Path) -> Iterator[tuple[str, str, tuple[int, ...], int, int]]:
    """(name, type, shape, start, bytes) of each tensor of a safetensors file."""
    if not (file.is_file() and is_safetensors(file)):
        raise UsageError(f"{file} is no whole safetensors file; download it again")
    with open(file, "rb") as opened:
        length = struct.unpack("<Q", opened.read(8))[0]
        table = json.loads(opened.read(length))
    table.pop("__metadata__", None)
    for name, entry in table.items():
        start, end = entry["data_offsets"]
        yield name, entry["dtype"], tuple(entry["shape"]), 8 + length + start, end - start


def write_weights(found: list[Weight], path: Path, on_progress: OnProgress) -> None:
    """One safetensors file with torch/models.py's names; nothing is converted, and no more than a tensor is in memory."""
    header, place = {}, 0
    for one in found:
        header[one.name] = {"dtype": one.dtype, "shape": list(one.shape), "data_offsets": [place, place + one.size]}
        place += one.size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for one in found:
            with open(one.file, "rb") as file:
                file.seek(one.start)
                out.write(file.read(one.size))
            on_progress("copying the base's weights", out.tell(), place)


def parameters(found: list[Weight]) -> int:
    return sum(math.prod(one.shape) for one in found)


def identity(folder: Path) -> str:
    """Of all that is read of it."""
    names = ["config.json", "tokenizer.json", *(path.name for path in sorted(folder.glob("*.safetensors")))]
    return checksum_of([[name, describe(folder / name)["blake2b"]] for name in names if (folder / name).is_file()])


# ---------------------------------------------------------------------------------------------------------------------
# Tokenizer


class Tokenizer:
    """tokenizer.json, for text alone: what spells a special token is text, and nothing is added, cut or filled up."""

    def __init__(self, path: Path, vocab_size: int, bos: int):
        try:
            import tokenizers
        except ImportError:
            problem = "a Hugging Face base needs the package tokenizers"
            raise UsageError(problem, "`pip install 'tokenizers>=0.20'`") from None
        if not path.is_file():
            raise UsageError(f"{path.parent} holds no tokenizer.json; save it with the fast tokenizer, or take another model")
        try:
            self._own = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises Exception itself
            raise UsageError(f"{path} can't be read ({str(error)[:200]}); download it again") from None
        self._own.no_truncation()
        self._own.no_padding()
        self._own.encode_special_tokens = True
        self.bos, self.vocab_size, self.dtype = bos, vocab_size, token_dtype(vocab_size)
        if (most := max(self._own.get_vocab(with_added_tokens=False).values(), default=0)) >= vocab_size:
            problem = f"{path} has a token {most:,}, and the model only {vocab_size:,} tokens: they don't belong together"
            raise UsageError(problem, "take both from one place")

    def ids(self, texts: list[str]) -> list[list[int]]:
        return [one.ids for one in self._own.encode_batch(texts, add_special_tokens=False)]

    def texts(self, ids: list[list[int]]) -> list[str]:
        return self._own.decode_batch(ids, skip_special_tokens=False)

    def encode(self, documents: list[bytes]) -> list[np.ndarray]:
        """For each document BOS and its tokens."""
        return [np.array([self.bos, *ids], self.dtype) for ids in self.ids([document.decode() for document in documents])]

    def gives_back(self, documents: list[bytes]) -> list[bool]:
        texts = [document.decode() for document in documents]
        return [text == back for text, back in zip(texts, self.texts(self.ids(texts)), strict=True)]


class Faithful:
    """A corpus without the documents that a tokenizer does not give back: bits are divided by a text's own bytes."""

    def __init__(self, corpus: Corpus, tokenizer: Tokenizer):
        self.name, self._corpus, self._tokenizer = corpus.name, corpus, tokenizer
        self._lost: set[int] | None = None
        self.lost_documents = 0

    def fetch(self, on_progress: OnProgress) -> None:
        self._corpus.fetch(on_progress)

    def documents(self) -> Iterator[Document]:
        if self._lost is None:
            self._lost = self._look()
        return (document for document in self._corpus.documents() if digest(document.text) not in self._lost)

    def _look(self) -> set[int]:
        lost, lost_bytes, all_bytes, waiting = set(), 0, 0, []

        def settle() -> int:
            bad = [text for text, same in zip(waiting, self._tokenizer.gives_back(waiting), strict=True) if not same]
            lost.update(map(digest, bad))
            self.lost_documents += len(bad)
            waiting.clear()
            return sum(map(len, bad))

        for document in self._corpus.documents():
            waiting.append(document.text)
            all_bytes += len(document.text)
            if len(waiting) == BATCH_DOCUMENTS:
                lost_bytes += settle()
        lost_bytes += settle()
        if lost_bytes > LOST_SHARE_MAX * all_bytes:
            raise UsageError(
                f"the base's tokenizer does not give back {self.lost_documents:,} documents of {self.name} as they were "
                f"({100 * lost_bytes / all_bytes:.0f} % of its bytes): it changes text; take a base with a byte-level tokenizer"
            )
        return lost
