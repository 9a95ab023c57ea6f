"""What the suites share: contracts that are tried one after the other, and what came of each.

A contract is a function from the subject to its figure; it raises Fault when it is broken and NotApplicable when it says nothing
here. One that needs another that did not pass is not run: so a fault is reported once, where it belongs.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar

from autoresearch.child import RunFailed

PASS, FAIL, NOT_APPLICABLE = "pass", "fail", "n/a"

Subject = TypeVar("Subject")


@dataclass(frozen=True)
class Contract(Generic[Subject]):
    name: str
    function: Callable[[Subject], str]
    needs: tuple[str, ...] = ()  # the contracts that must have passed for it to say anything


class Fault(Exception):
    """A contract is broken. One line that ends in what to do."""

    def __init__(self, detail: str, figure: str | None = None):
        super().__init__(detail)
        self.detail, self.figure = detail, figure


class NotApplicable(Exception):
    """A contract says nothing here; why."""


@dataclass(frozen=True)
class Checked:
    contract: str
    result: str  # pass, fail, n/a
    figure: str | None = None  # what was measured
    detail: str | None = None  # when it failed, what to do; when n/a, why

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def tried(
    contracts: tuple[Contract[Subject], ...],
    subject: Subject,
    mend: str,
    excuse: Callable[[], str | None] = lambda: None,
) -> Iterator[Checked]:
    """Every contract's outcome, in their order, as it becomes known.

    mend: where what ends a run is mended. excuse: why what needs another contract says nothing here, in place of that one's name.
    """
    passed: set[str] = set()
    for contract in contracts:
        outcome = _outcome(contract, subject, mend, excuse, [name for name in contract.needs if name not in passed])
        if outcome.result == PASS:
            passed.add(contract.name)
        yield outcome


def _outcome(
    contract: Contract[Subject], subject: Subject, mend: str, excuse: Callable[[], str | None], lacking: list[str]
) -> Checked:
    if lacking:
        return Checked(contract.name, NOT_APPLICABLE, detail=excuse() or f"needs: {lacking[0]}")
    try:
        return Checked(contract.name, PASS, contract.function(subject))
    except NotApplicable as reason:
        return Checked(contract.name, NOT_APPLICABLE, detail=str(reason))
    except Fault as fault:
        return Checked(contract.name, FAIL, fault.figure, fault.detail)
    except RunFailed as failure:
        return Checked(contract.name, FAIL, failure.kind, f"{failure.reason}; mend that in {mend}")
