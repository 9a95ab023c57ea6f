"""How the known coding agents are called: one file each, in recipes/ here and in `agents` of the configuration folder.

A file of one's own goes before ours of the same name. What a key means stands at its field.
"""

import functools
import os
import re
import shutil
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoresearch import records
from autoresearch.errors import UsageError

FOLDER = Path(__file__).with_name("recipes")


@dataclass(frozen=True)
class Usage:
    """Where the program's output says what it used: the JSON lines that hold all of `when`; values by path ("part.cost")."""

    when: dict[str, Any] = field(default_factory=dict)
    sums: bool = False  # whether such lines add up; otherwise the largest number counts
    cost_usd: str = ""
    input_tokens: str = ""
    cache_read_tokens: str = ""
    cache_write_tokens: str = ""
    output_tokens: str = ""
    cached_is_input: bool = False  # whether input_tokens hold those read from a cache
    pattern: str = ""  # instead of JSON: a regular expression with groups of these names; bound what it repeats

    def tells(self, name: str) -> bool:
        """name: of one of the numbers above."""
        return bool(getattr(self, name)) or f"<{name}>" in self.pattern


@dataclass(frozen=True)
class Wire:
    """How `agents check` points the program at a model server of its own."""

    protocol: str = ""  # anthropic, openai-chat, openai-responses, gemini
    variables: dict[str, str] = field(default_factory=dict)  # {url} becomes the server's address, here and below
    arguments: tuple[str, ...] = ()  # added to the command line
    files: dict[str, str] = field(default_factory=dict)  # `~/...`: what is written there in its home folder


@dataclass(frozen=True)
class Recipe:
    """One program: how it is called, what it needs of the computer, what it says of itself."""

    name: str
    title: str = ""
    executable: str = ""  # looked for on PATH
    # {task_file}: the task's path; split without a shell. A sentence about the file keeps the line short (Windows)
    command: str = ""
    unfenced: str = ""  # the command where there is no fence of ours, if it is another: the program's strictest own mode
    own: str = ""  # that mode, in words
    version: str = ""  # that it was run with, or "not tried"
    source: str = ""  # where its options are described
    install: str = ""  # the line to type
    rank: int = 0  # for `--agent auto`: the highest that is installed; 0: only by name
    variables: tuple[str, ...] = ()  # that look like secrets, passed on when set: it signs in with them, or is set up by them
    environment: dict[str, str] = field(default_factory=dict)  # that is set
    config: tuple[str, ...] = ()  # files and folders of the home folder of which it gets a copy
    kept: tuple[str, ...] = ()  # of these: sign-ins that it renews; the newer of its copy and the user's own counts the next time
    moved: dict[str, str] = field(default_factory=dict)  # a variable by which the user has a path elsewhere, and the path
    files: dict[str, str] = field(default_factory=dict)  # what is written into its home folder besides: `~/...` and the text
    needs: tuple[str, ...] = ()  # variables and files (`~/... with WORD`: that hold it) of which it wants one to sign in with
    reads: tuple[str, ...] = ()  # what it reads beside its own folder
    model: tuple[str, ...] = ()  # arguments for --model, with {model}
    budget: tuple[str, ...] = ()  # arguments that tell it how much money it may spend, with {usd}
    usage: Usage = Usage()
    wire: Wire = Wire()

    @property
    def tells_cost(self) -> bool:
        return self.usage.tells("cost_usd")

    @property
    def can_sign_in(self) -> bool:
        """As far as its needs tell."""
        return not self.needs or any(os.environ.get(need) or (need[0] == "~" and self._holds(need)) for need in self.needs)

    @property
    def sign_in(self) -> str:
        """What to do where it can't."""
        return f"sign in with {self.executable}, or give it one of {', '.join(self.needs)}"

    def _holds(self, need: str) -> bool:
        path, _, word = need.partition(" with ")
        try:
            return word in origin(path, self.moved).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False


OWN = Recipe("own", "a command of your own")  # no file: what is not told by one can't be read


def own_folder() -> Path:
    """Where a person's own recipes lie: `agents` in $AUTORESEARCH_CONFIG_DIR or the system's configuration folder."""
    import platformdirs

    chosen = os.environ.get("AUTORESEARCH_CONFIG_DIR")
    return Path(chosen or platformdirs.user_config_dir("autoresearch", appauthor=False)) / "agents"


def recipes() -> dict[str, Recipe]:
    """Every recipe by its name, best first. Raises UsageError for a file with a fault."""
    files = {path.stem: path for folder in (FOLDER, own_folder()) for path in sorted(folder.glob("*.toml"))}
    return {known.name: known for known in sorted((read(path) for path in files.values()), key=lambda known: -known.rank)}


def read(path: Path) -> Recipe:
    """Raises UsageError."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        loaded: Recipe = records.read_own(Recipe, {**table, "name": path.stem})
        missing = [key for key in ("title", "executable", "command") if not getattr(loaded, key)]
        if missing:
            raise ValueError(f"the key {missing[0]!r} is missing")
        re.compile(loaded.usage.pattern)
    except (OSError, ValueError, re.error) as error:
        raise UsageError(f"the recipe {path} can't be read ({error}); mend it, or move it away") from error
    return loaded


def recipe(name: str) -> Recipe | None:
    """The recipe of that exact name."""
    return recipes().get(name)


def find_recipe() -> tuple[Recipe | None, list[Recipe]]:
    """For `--agent auto`: (the best recipe whose program is on PATH, better ones that have nothing to sign in with)."""
    here = [known for known in recipes().values() if known.rank and shutil.which(known.executable)]
    best = next((known for known in here if known.can_sign_in), None)
    return best, here[: here.index(best)] if best else here


def origin(path: str, moved: dict[str, str]) -> Path:
    """Where the user has what a recipe calls `~/...`."""
    standard = {"XDG_CONFIG_HOME": "~/.config", "XDG_DATA_HOME": "~/.local/share", "XDG_STATE_HOME": "~/.local/state"}
    for variable, place in {**standard, **moved}.items():
        if os.environ.get(variable) and (path == place or path.startswith(place + "/")):
            return Path(os.environ[variable] + path[len(place) :])
    return Path(os.path.expanduser(path))


# What a program needs of the disk to start

MANAGERS = (
    ".volta", ".asdf", ".local/share/mise", ".proto", ".nodenv", ".pyenv", ".fnm", ".local/share/fnm", ".cargo/bin", ".bun/bin",
)  # fmt: skip
LINKS_AT_MOST = 40


def folders(program: str) -> list[str]:
    """What the program was installed with (a node_modules, an environment of Python), its interpreter too; never a home folder."""
    paths: list[str] = []
    _add(program, paths, 3)
    return list(dict.fromkeys(paths))


def _add(program: str, paths: list[str], depth: int) -> None:
    path = Path(os.path.abspath(program))
    for _ in range(LINKS_AT_MOST):
        paths += _around(path)
        if not path.is_symlink():
            break
        path = Path(os.path.normpath(path.parent / os.readlink(path)))
    real = Path(os.path.realpath(path))
    paths += _around(real)
    if depth and (interpreter := _interpreter(real)):
        _add(interpreter, paths, depth - 1)


def _around(path: Path) -> list[str]:
    """The file, and the folder that it was installed with, where that is one of its own."""
    home = Path.home()
    for manager in MANAGERS:
        if path.is_relative_to(home / manager):
            return [str(home / manager)]
    if "node_modules" in path.parts:
        return [str(Path(*path.parts[: path.parts.index("node_modules") + 1]))]
    prefix = path.parent.parent
    if path.parent.name == "bin" and prefix != Path("/") and not home.is_relative_to(prefix):
        if (prefix / "pyvenv.cfg").exists():
            return [str(prefix)]
        libraries = (prefix / "lib").glob("python3.*" if prefix == home / ".local" else "*")
        return [str(path), *map(str, libraries)]
    return [str(path)]


@functools.cache
def _interpreter(script: Path) -> str | None:
    """The program of a script's first line."""
    try:
        with open(script, "rb") as file:
            line = file.read(512).split(b"\n")[0].decode("utf-8", "replace")
    except OSError:
        return None
    words = line[2:].split() if line.startswith("#!") else []
    if words and Path(words[0]).name == "env":
        words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    return shutil.which(words[0]) if words else None
