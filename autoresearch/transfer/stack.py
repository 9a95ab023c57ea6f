"""The kept edits of a study, and each of them made on another train.py. Writes nothing but a temporary folder.

An edit is taken apart: constants that it changed are changed there, what is left of it is merged as `git merge` would, on texts
that have the other one's constants. It is made whole or not at all: half of an edit is another one, which nobody has tried.

Constants go over as ratios, or as values. Where both train.py have the same default that is the same, and where the profile has
scaled it a value of the small size would undo that: DEPTH 4 -> 5 is DEPTH 8 -> 10 at twice the depth. Where a ratio means nothing
(0, text, a list, true) the value goes over.
"""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import pygit2

from autoresearch import constants
from autoresearch.constants import Choices, Constant, Range, Value
from autoresearch.errors import UsageError
from autoresearch.propose.proposals import program_key
from autoresearch.report import answers
from autoresearch.study.commits import texts
from autoresearch.study.origin import Constants
from autoresearch.study.state import State
from autoresearch.study.store import merged
from autoresearch.study.workspace import Study
from autoresearch.text import one_line
from autoresearch.transfer.design import Levels


class NotApplied(Exception):
    """Why an edit can't be made on a text, in words."""


@dataclass(frozen=True)
class Edit:
    """A keep of a study."""

    number: int
    commit: str
    description: str
    before: str  # train.py that it was made on
    after: str
    gain: float | None  # over the keep before it


@dataclass(frozen=True)
class LeftOut:
    edit: Edit
    reason: str


def kept(study: Study, state: State, only: Sequence[int] | None = None) -> list[Edit]:
    """Its kept edits, oldest first. only: numbers of those that are wanted. UsageError for one that was not kept, and for none."""
    keeps = [experiment for experiment in state.experiments if experiment.verdict == "keep"]
    numbers = [keep.number for keep in keeps[1:]]
    if not numbers:
        raise UsageError(f"the study {study.tag} has kept no edit yet; `autoresearch results` shows what was tried")
    if unknown := [number for number in only or () if number not in numbers]:
        known = ", ".join(map(str, numbers))
        raise UsageError(f"--edits {unknown[0]}: the study {study.tag} has not kept that experiment; choose from {known}")
    text, edits = texts(study.folder), []
    for before, keep in pairwise(keeps):
        if only is None or keep.number in only:
            scores = before.val_bpb, keep.val_bpb
            gain = None if scores[0] is None or scores[1] is None else scores[0] - scores[1]
            with answers.stored(study, keep):
                was, now = text(keep.parent or before.commit), text(keep.commit)
            edits.append(Edit(keep.number, keep.commit, one_line(keep.description, 100), was, now, gain))
    return edits


class Stack:
    """A study's kept edits on another base. Edits that can't be made without an earlier one are one factor with it."""

    def __init__(self, base: str, edits: Sequence[Edit], how: Constants):
        self.base, self.how = base, how
        self.left_out: list[LeftOut] = []
        self.factors: list[tuple[Edit, ...]] = []
        for edit in edits:
            self._place(edit)
        _, failed = self._made(self.edits)
        for edit, reason in failed:
            self.left_out.append(LeftOut(edit, reason))
            kept = [tuple(one for one in factor if one is not edit) for factor in self.factors]
            self.factors = [factor for factor in kept if factor]
        self.left_out.sort(key=lambda one: one.edit.number)

    @property
    def edits(self) -> list[Edit]:
        return sorted((edit for factor in self.factors for edit in factor), key=lambda edit: edit.number)

    @property
    def text(self) -> str:
        return self._made(self.edits)[0]

    def row(self, levels: Levels) -> tuple[str, list[int]]:
        """(train.py, the edits in it) of a combination of factors. One that can't be made without another is not in it."""
        chosen = {edit.number for factor, level in zip(self.factors, levels, strict=True) if level for edit in factor}
        wanted = [edit for edit in self.edits if edit.number in chosen]
        text, failed = self._made(wanted)
        return text, [edit.number for edit in wanted if edit not in dict(failed)]

    def levels(self, numbers: Iterable[int]) -> Levels:
        """Which factors a row with these edits has: those of which it has all."""
        there = set(numbers)
        return tuple({edit.number for edit in factor} <= there for factor in self.factors)

    def changes(self) -> dict[int, list[str]]:
        """What each edit is at this size, in words: of each constant, and of its code."""
        text, found = self.base, {}
        for edit in self.edits:
            made = apply(edit, text, self.how)
            found[edit.number] = _words(edit, text, made)
            text = made
        return found

    def _made(self, edits: Sequence[Edit]) -> tuple[str, list[tuple[Edit, str]]]:
        text, failed = self.base, []
        for edit in edits:
            try:
                text = apply(edit, text, self.how)
            except NotApplied as why:
                failed.append((edit, str(why)))
        return text, failed

    def _place(self, edit: Edit) -> None:
        try:
            apply(edit, self.base, self.how)
            self.factors.append((edit,))
            return
        except NotApplied as why:
            alone = str(why)
        for k in reversed(range(len(self.factors))):
            if not self._made([*self.factors[k], edit])[1]:
                self.factors[k] += (edit,)
                return
        everything = self.edits
        if everything and edit not in dict(self._made([*everything, edit])[1]):
            self.factors = [(*everything, edit)]
        else:
            self.left_out.append(LeftOut(edit, alone))


@lru_cache(4096)  # rows have the same edits on the same texts
def apply(edit: Edit, onto: str, how: Constants) -> str:
    """The text onto with the edit made. NotApplied with the reason."""
    try:
        before, after, there = (constants.read(text) for text in (edit.before, edit.after, onto))
        moved = _moved(edit, before, after)
        made = _merged(edit.before, _written(edit.after, {name: was for name, (was, _) in moved.items()}), onto, there)
        there = constants.read(made)
        for name, (was, now) in moved.items():
            if name not in there:
                raise NotApplied(f"this train.py has no constant {name}")
            made = constants.write(made, {name: _taken(there[name], was, now, how)})
        if program_key(made) == program_key(onto):
            raise NotApplied("it changes nothing at this size")
    except (UsageError, ValueError) as error:
        raise NotApplied(one_line(str(error), 200)) from None
    return made


def _moved(edit: Edit, before: Mapping[str, Constant], after: Mapping[str, Constant]) -> dict[str, tuple[Value, Value]]:
    """Constants that have another value of the same type: name -> (was, is)."""
    found = {}
    for name, constant in after.items():
        if name in before and (was := before[name].value) != constant.value and _fits(edit.after, name, was):
            found[name] = (was, constant.value)
    return found


def _fits(text: str, name: str, value: Value) -> bool:
    try:
        constants.write(text, {name: value})
    except UsageError:
        return False
    return True


def _written(text: str, values: Mapping[str, Value]) -> str:
    """With those of the values that its constants can have."""
    return constants.write(text, {name: value for name, value in values.items() if _fits(text, name, value)})


def _merged(before: str, after: str, onto: str, there: Mapping[str, Constant]) -> str:
    """The code of an edit, without its changed constants, on another text."""
    if before == after:
        return onto
    names = constants.read(before).keys() & constants.read(after).keys() & there.keys()
    shared = {name: there[name].value for name in names}
    with tempfile.TemporaryDirectory(prefix="autoresearch-") as folder:
        repo = pygit2.init_repository(folder, bare=True)
        made = merged(repo, _written(before, shared), _written(after, shared), onto)
        repo.free()
    if made is None:
        raise NotApplied("its code touches lines that are others in this train.py")
    return made


def _taken(there: Constant, was: Value, now: Value, how: Constants) -> Value:
    """The value at the other size."""
    here = there.value
    if how == "value" or not all(map(constants.is_number, (here, was, now))) or not was or here == was:
        return now
    assert constants.is_number(here) and constants.is_number(was) and constants.is_number(now)
    value = float(f"{here * now / was:.12g}")
    taken = value if isinstance(here, float) else round(value) or (1 if now else 0)
    match there.annotation:
        case Range(low, high) if not low <= taken <= high:
            raise NotApplied(f"{there.name} would be {taken:g}, and its line allows {low:g} to {high:g}")
        case Choices(values) if taken not in values:
            raise NotApplied(f"{there.name} would be {taken:g}, and its line allows {', '.join(map(str, values))}")
    return taken


def _words(edit: Edit, onto: str, made: str) -> list[str]:
    was, now, before, after = (constants.read(text) for text in (onto, made, edit.before, edit.after))
    words = []
    for name in _moved(edit, before, after):
        there, here = f"{before[name].value} -> {after[name].value}", f"{was[name].value} -> {now[name].value}"
        words.append(f"{name} {here}" + (f" ({there} there)" if here != there else ""))
    flat = constants.write(made, {name: was[name].value for name in _moved(edit, before, after)})
    return [*words, *(["code"] if flat != onto else [])]
