"""What a transfer study was made of: the [transfer] table of its study.toml, a part of its terms (autoresearch/transfer/)."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from msgspec import Meta

from autoresearch import records

Constants = Literal["ratio", "value"]  # how a changed constant is taken to another size
_Gain = Annotated[float, Meta(ge=-1e300, le=1e300)]


@dataclass(frozen=True)
class Origin:
    """A study whose kept edits are tried at another size, and the gain that is to be held."""

    study: str  # its folder
    tag: str
    created: str
    profile: str
    train_seconds: float
    edits: tuple[Annotated[int, Meta(ge=1, le=10**9)], ...]  # its experiments that the stack is made of
    commits: tuple[str, ...]  # of these
    seeds: Annotated[int, Meta(ge=2, le=1000)]  # runs of base and stack each
    constants: Constants
    gain: _Gain | None = None  # of these edits there; None: not known
    interval: tuple[_Gain, _Gain] | None = None  # of it, 95 %
    test_gain: _Gain | None = None

    def to_dict(self) -> dict[str, Any]:
        """For study.toml, which has no null."""
        table: dict[str, Any] = records.write(self)
        return {name: value for name, value in table.items() if value is not None}
