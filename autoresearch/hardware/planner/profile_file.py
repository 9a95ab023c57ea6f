"""A profile's file: what it may hold, checked key by key, and the frozen `Profile` that comes of it.

    title = "RTX with 12 GB"
    backends = ["cuda"]        or ["*"], any: taken by the file's name alone, without what a backend has not
    [match]     memory_gb = [10, 14]   capability = [[8, 0]]   name = ["3060"]   matmul_tflops = [0.5]
    [data]      corpus, vocab_size, seq_len, eval_bytes
    [budget]    train_seconds, startup_limit_seconds
    [train]     values of train.py's UPPER_CASE constants
    [runtime]   dtype, compile, attention, threads: in place of the runtime's own choice (autoresearch/choices.py)

Every range is [from, below), or [from] alone for that and up. Anything else, and any value out of bounds, is refused in
one line that names the file, the key and what is allowed.
"""

import dataclasses
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from autoresearch import choices, records
from autoresearch.errors import UsageError

_MOST = 1e300  # finite
Text = Annotated[str, Meta(pattern=r"\S", description="text")]
Quantity = Annotated[float, Meta(ge=0, le=_MOST)]
Version = tuple[Annotated[int, Meta(ge=0)], Annotated[int, Meta(ge=0)]]
Names = Annotated[tuple[Text, ...], Meta(min_length=1, description='a list of parts of device names, as in ["H100"]')]
# What autoresearch.constants can write into a train.py.
Literals = Annotated[
    bool | int | Annotated[float, Meta(ge=-_MOST, le=_MOST)] | str
    | Annotated[list[int | Annotated[float, Meta(ge=-_MOST, le=_MOST)]], Meta(min_length=1)],
    Meta(description="a number, text, true, false or a list of numbers"),
]  # fmt: skip


@dataclass(frozen=True)
class Match:
    """The conditions under which a profile fits; all that are given must hold, none given fits everything."""

    # GiB, (from, below) or (from,)
    memory_gb: (
        Annotated[
            tuple[Quantity, ...],
            Meta(min_length=1, max_length=2, description="a range in GB, as in [10, 14], or [60] for 60 and up"),
        ]
        | None
    ) = None
    capability: (
        Annotated[
            tuple[Version, ...],
            Meta(
                min_length=1,
                max_length=2,
                description="a range of versions, as in [[7, 0], [8, 0]], or [[8, 0]] for 8.0 and up",
            ),
        ]
        | None
    ) = None
    name: Names = ()  # parts of the device's name, upper and lower case alike; one must be there
    matmul_tflops: (
        Annotated[
            tuple[Quantity, ...],
            Meta(min_length=1, max_length=2, description="a range in TFLOPS, as in [0.1, 0.5], or [0.5] for 0.5 and up"),
        ]
        | None
    ) = None

    def __post_init__(self) -> None:
        hints = records.hints(Match)
        for key in ("memory_gb", "capability", "matmul_tflops"):
            ends = getattr(self, key)
            if ends and len(ends) == 2 and not ends[0] < ends[1]:
                raise ValueError(f"[match] {key} must be {records.described(hints[key])}, not {_as_list(ends)}")

    def to_dict(self) -> dict[str, Any]:
        return {entry.name: value for entry in dataclasses.fields(self) if (value := _as_list(getattr(self, entry.name)))}


@dataclass(frozen=True)
class Data:
    corpus: Annotated[str, Meta(pattern=r"\S", description="the name or the path of a corpus")]
    # 256 bytes and the special token come first; a token id is two or four bytes, and an embedding row a token.
    vocab_size: Annotated[int, Meta(ge=320, le=131_072, description="a whole number from 320 to 131072")]
    seq_len: Annotated[int, Meta(ge=16, le=65_536, description="a whole number from 16 to 65536")]
    # Under 10 kB the score is mostly chance; the upper end is far more than any published run scores (20 MB).
    eval_bytes: Annotated[int, Meta(ge=10_000, le=1_000_000_000, description="a whole number from 10000 to 1000000000")]


@dataclass(frozen=True)
class Budget:
    train_seconds: Annotated[float, Meta(gt=0, le=604_800, description="a number of seconds above 0, up to 604800")]
    startup_limit_seconds: Annotated[float, Meta(gt=0, le=86_400, description="a number of seconds above 0, up to 86400")]


@dataclass(frozen=True)
class Runtime:
    """What may stand in [runtime]. A profile keeps the table: what is absent stays the runtime's own choice."""

    dtype: Annotated[Literal["float32", "bfloat16", "float16"], Meta(description=f"one of {', '.join(choices.DTYPES)}")] = "float32"
    compile: bool = True
    attention: Annotated[
        str, Meta(pattern=r"\S", description="one of the kinds that the backend has, as `autoresearch doctor` names them")
    ] = ""
    threads: Annotated[int, Meta(ge=1, le=1024, description="a whole number from 1 to 1024")] = 1


@dataclass(frozen=True)
class _File:
    title: Text
    backends: Annotated[tuple[Text, ...], Meta(min_length=1, description='a list of backend names, as in ["cuda"]')]
    data: dict[str, Any]
    budget: dict[str, Any]
    match: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    runtime: dict[str, Any] = field(default_factory=dict)


_NO_SIZES = {"corpus": "none", "vocab_size": 320, "seq_len": 16, "eval_bytes": 10_000}  # to be parsed, then forgotten


@dataclass(frozen=True)
class Profile:
    """Sizes for one class of machine."""

    name: str
    title: str
    backends: tuple[str, ...]
    match: Match
    data: Data | None  # None: of a study whose task has sizes of its own
    budget: Budget
    train: dict[str, bool | int | float | str | list[int | float]]  # values of train.py's constants
    source: str  # the file it was read from
    runtime: dict[str, choices.Value] = field(default_factory=dict)  # what is absent stays the runtime's own choice

    def to_dict(self) -> dict[str, Any]:
        """Tables for study.toml; `from_dict` takes them back."""
        return {
            "name": self.name,
            "title": self.title,
            "backends": list(self.backends),
            "match": self.match.to_dict(),
            **({"data": dataclasses.asdict(self.data)} if self.data else {}),
            "budget": dataclasses.asdict(self.budget),
            "train": dict(self.train),
            "runtime": dict(self.runtime),
        }

    @classmethod
    def from_dict(cls, table: dict[str, Any], source: str = "study.toml") -> "Profile":
        table = dict(table)
        has_sizes = "data" in table
        name = str(table.pop("name", ""))
        made = parse(table if has_sizes else table | {"data": _NO_SIZES}, name, source)
        return made if has_sizes else dataclasses.replace(made, data=None)

    @classmethod
    def bare(cls, backend: str) -> "Profile":
        """Of a backend that trains nothing."""
        return cls(backend, "runs commands", (backend,), Match(), None, Budget(300.0, 600.0), {}, "no file", {})

    @property
    def sizes(self) -> Data:
        """Where there are some: of a profile's file, and of a study whose task takes them."""
        assert self.data is not None, f"{self.name} has no [data]"
        return self.data

    def without_sizes(self, train: dict[str, Any]) -> "Profile":
        """For a task that has its own; train: values of its train.py's constants."""
        return dataclasses.replace(self, data=None, train=train)

    def with_train_seconds(self, seconds: float) -> "Profile":
        return dataclasses.replace(self, budget=dataclasses.replace(self.budget, train_seconds=seconds))


def read(path: Path) -> Profile:
    """The profile in a file, named after it. Raises UsageError."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"no profile file {path}; `autoresearch profiles` lists the shipped ones") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: not readable as TOML: {error}") from error
    return parse(table, path.stem, str(path))


def parse(table: dict[str, Any], name: str, source: str) -> Profile:
    """Check a whole profile; source is what errors call it. [match], [train] and [runtime] may be absent. Raises UsageError."""
    try:
        file = records.read_own(_File, table)
        match = records.read_own(Match, file.match, "[match] ")
        data, budget = records.read_own(Data, file.data, "[data] "), records.read_own(Budget, file.budget, "[budget] ")
        records.read_own(Runtime, file.runtime, "[runtime] ")
        for key, value in file.train.items():
            if not re.fullmatch(r"[A-Z][A-Z0-9_]*", key):
                raise ValueError(f"[train] {key}: the name of a constant of train.py is in UPPER_CASE")
            records.value(Literals, value, f"[train] {key}")
    except ValueError as error:
        raise UsageError(f"{source}: {error}") from None
    return Profile(name, file.title, file.backends, match, data, budget, file.train, source, file.runtime)


def _as_list(value: object) -> object:
    return [_as_list(part) for part in value] if isinstance(value, tuple) else value
