"""Which backends there are: every folder that holds a backend.toml.

Looked for in the shipped `backends` folder and among the entry points of the group `autoresearch.backends`, by which
an installed package brings its own. Nothing of a backend is imported here, and no backend is named here. A backend.toml
that is wrong is that backend's `problem`; the others are not touched by it. The same holds for the profiles that a backend
brings in its folder.
"""

import dataclasses
import importlib.metadata
import importlib.util
import os
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from autoresearch import records
from autoresearch.errors import UsageError
from autoresearch.hardware.planner import profile_file
from autoresearch.paths import shipped
from autoresearch.processes import is_secret
from autoresearch.sandbox.policy import NO_NEEDS, Needs

ENTRY_POINT_GROUP = "autoresearch.backends"


@dataclass(frozen=True)
class Selector:
    """The table [devices] of a backend.toml: how one of several devices is taken."""

    variable: str  # of the environment; its value is the device's index in what devices.py lists
    fixed: dict[str, str] = field(default_factory=dict)  # set beside it, so that an index means the same to all
    also: tuple[str, ...] = ()  # others by which a person takes devices by hand
    ray: str | None = None  # what Ray calls such a device: it sets the variable for whom it gives one


@dataclass(frozen=True)
class Card:
    """One of a backend's devices, as its devices.py lists it. None: not known."""

    index: Annotated[int, Meta(ge=0)]
    id: str  # stays the same while the device is in this computer
    name: str
    memory_bytes: Annotated[int, Meta(ge=0)] | None = None
    free_bytes: Annotated[int, Meta(ge=0)] | None = None
    busy: Annotated[float, Meta(ge=0, le=1)] | None = None  # the share of the last moment in which it computed
    display: bool | None = None  # whether it draws a desktop


@dataclass(frozen=True)
class _File:
    """backend.toml."""

    title: str
    rank: int
    auto: bool
    train: str | None = None
    requires: Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(description="a list of names to import")] = ()
    install: str = ""
    simulated: bool = False
    processors: bool | None = None
    peak_memory: bool = True
    test_packages: tuple[str, ...] = ()  # read by .ci/run
    devices: dict[str, Any] | None = None
    sandbox: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Backend:
    """The code that runs on one family of hardware, as its backend.toml describes it."""

    name: str  # the folder's name, or the entry point's
    title: str
    folder: Path  # holds backend.toml and runtime.py
    train_py: Path  # there is none where it does not train
    rank: int = 0  # the highest that works is chosen
    auto: bool = False  # False: only when asked for by name
    requires: tuple[str, ...] = ()  # names to import
    install: str = ""  # the line to type when one of them is missing
    simulated: bool = False  # it computes no real model: the conformance suite skips what is about one
    # It computes on the computer's own processors: others' load slows it. None: it does where its probe names its threads.
    processors: bool | None = None
    peak_memory: bool = True  # its runtime knows how much memory a training took at most
    sandbox: Needs = NO_NEEDS  # what its device needs beyond the system and Python
    problem: str | None = None  # why it cannot be used at all
    selector: Selector | None = None  # None: it has one device
    card: Card | None = None  # the device that cards.pick has taken
    card_reason: str | None = None
    trains: bool = True  # False: for tasks that run commands
    selected: dict[str, str] = field(default_factory=dict)  # the variables that take it; none where there is nothing to choose
    own_train_py: Path | None = None  # where train_py is a task's: the backend's, whose folder's modules it may import

    def with_train_py(self, path: Path) -> "Backend":
        """For a task that brings its own."""
        return dataclasses.replace(self, train_py=path, own_train_py=self.own_train_py or self.train_py)

    @property
    def variables(self) -> dict[str, str]:
        """Those of its variables that the user has set, and those that take its device: each of its processes gets them."""
        return {name: os.environ[name] for name in self.sandbox.variables if name in os.environ} | self.selected

    @property
    def profiles(self) -> list[Path]:
        """The profiles that came with it: profiles/*.toml in its folder."""
        return sorted((self.folder / "profiles").glob("*.toml")) if self.problem is None else []

    @property
    def python_path(self) -> list[Path]:
        """What a worker puts on sys.path: its own folder, then its train.py's, then a task's train.py's."""
        return list(dict.fromkeys([self.folder, (self.own_train_py or self.train_py).parent, self.train_py.parent]))

    @property
    def export_files(self) -> list[Path]:
        """What goes with exported weights, so that they can be used without us: the files of `export` in its own folder, then in
        its train.py's, and what they import from beside these. An empty list: nobody wrote any.
        """
        found: dict[str, Path] = {}
        for folder in self.python_path:
            found = {path.name: path for path in sorted((folder / "export").glob("*.py"))} | found
        for path in list(found.values()):
            for name in re.findall(r"^ *(?:import|from) (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE):
                beside = [folder / f"{name}.py" for folder in self.python_path]
                found |= {one.name: one for one in beside if one.is_file() and one.name not in found}
        return list(found.values())


def scan(root: Path | None = None) -> dict[str, Backend]:
    """Every backend by name, highest rank first: those in `root` alone, or (default) all shipped and installed ones."""
    folder = shipped("backends") if root is None else root
    backends = [read(path.parent.name, path.parent) for path in sorted(folder.glob("*/backend.toml"))]
    if root is None:
        names = {backend.name for backend in backends}
        taken = {path.stem: path for path in shipped("profiles").glob("*.toml")}
        taken |= {path.stem: path for backend in backends for path in backend.profiles}
        for backend in _installed():
            if backend.name in names:
                problem = f"the name {backend.name} is taken by another backend: the entry point needs another one"
                backend = _broken(f"{backend.name} ({backend.folder})", backend.folder, problem)
            for path in backend.profiles:
                if path.stem in taken:
                    problem = f"the name of its profile {path} is taken by {taken[path.stem]}: rename that file"
                    backend = _broken(backend.name, backend.folder, problem)
                    break
            names.add(backend.name)
            taken |= {path.stem: path for path in backend.profiles}
            backends.append(backend)
    return {backend.name: backend for backend in sorted(backends, key=lambda backend: (-backend.rank, backend.name))}


def read(name: str, folder: Path) -> Backend:
    """The backend in a folder; what is wrong with its backend.toml becomes its `problem`."""
    try:
        table = tomllib.loads((folder / "backend.toml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        return _broken(name, folder, f"backend.toml cannot be read: {error}")
    try:
        file = records.read_own(_File, table)
        needs = records.read_own(Needs, file.sandbox, "[sandbox] ")
        selector = None if file.devices is None else records.read_own(Selector, file.devices, "[devices] ")
        if selector and (unseen := {selector.variable, *selector.also} - set(needs.variables)):
            raise ValueError(f"[devices]: {min(unseen)} is not in [sandbox] variables, and a cell would not see it")
        if secret := next(filter(is_secret, needs.variables), None):
            raise ValueError(f"[sandbox] variables: {secret} looks like a key, and agent code would see it")
        if file.requires and not file.install:
            raise ValueError("the key 'install' is missing: the line to type when a requirement is not there")
    except ValueError as fault:
        return _broken(name, folder, f"backend.toml: {fault}")
    train_py = (folder / (file.train or "train.py")).resolve()
    needed = [folder / "runtime.py", *([train_py] if file.train else [])]
    missing = [path for path in needed if not path.is_file()]
    problem = f"there is no {missing[0].name} in {missing[0].parent}" if missing else _fault_of_profiles(name, folder)
    if problem is not None:
        return _broken(name, folder, problem)
    return Backend(
        name, file.title, folder, train_py, file.rank, file.auto, file.requires, file.install, file.simulated, file.processors,
        file.peak_memory, needs, selector=selector, trains=file.train is not None,
    )  # fmt: skip


def _fault_of_profiles(name: str, folder: Path) -> str | None:
    """The first thing wrong with the profiles in a backend's folder. They may be for that backend only."""
    for path in sorted((folder / "profiles").glob("*.toml")):
        try:
            profile = profile_file.read(path)
        except UsageError as fault:
            return str(fault)
        if profile.backends != (name,):
            return f'{path}: backends must be ["{name}"]: a profile in a backend\'s folder is for that backend only'
    return None


def _broken(name: str, folder: Path, problem: str) -> Backend:
    return Backend(name, title=name, folder=folder, train_py=folder / "train.py", problem=problem)


def _installed() -> list[Backend]:
    backends = []
    points = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
    for point in sorted(points, key=lambda point: (point.name, point.value)):
        folder, problem = _entry_point_folder(point)
        backends.append(read(point.name, folder) if problem is None else _broken(point.name, folder, problem))
    return backends


def _entry_point_folder(point: importlib.metadata.EntryPoint) -> tuple[Path, str | None]:
    """(folder, problem). `package.sub` is found without an import; `package:attribute` is loaded and must be a path."""
    if point.attr:
        try:
            return Path(point.load()), None
        except Exception as error:  # another project's code: whatever it raises is that backend's problem
            return Path(point.module), f"entry point {point.value!r} does not load: {type(error).__name__}: {error}"
    top, *rest = point.module.split(".")
    spec = importlib.util.find_spec(top)
    for location in (spec.submodule_search_locations or []) if spec else []:
        if (Path(location, *rest) / "backend.toml").is_file():
            return Path(location, *rest), None
    return Path(point.module), f"entry point {point.value!r}: no folder of that package holds a backend.toml"
