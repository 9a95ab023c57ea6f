"""How the known coding agents are called: recipes.toml, by name or by what is installed."""

import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("recipes.toml")


@dataclass(frozen=True)
class Recipe:
    name: str
    title: str
    executable: str
    command: str
    variables: tuple[str, ...]  # secrets that the program signs in with
    source: str


def recipes() -> dict[str, Recipe]:
    """Every recipe by its name, best first."""
    table = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return {name: Recipe(name, **{**fields, "variables": tuple(fields["variables"])}) for name, fields in table.items()}


def recipe(name: str) -> Recipe | None:
    """The recipe of that exact name."""
    return recipes().get(name)


def find_recipe() -> Recipe | None:
    """The first recipe whose program is on PATH, for `--agent auto`."""
    return next((known for known in recipes().values() if shutil.which(known.executable)), None)
