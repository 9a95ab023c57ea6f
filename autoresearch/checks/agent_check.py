"""What a coding agent would be started with, and whether it works there: `autoresearch agents check NAME`.

The exchange uses no key and no settings of the user's: the program is pointed at a model server on loopback (model_server.py),
which has it write train.py, and then a file two folders up.
"""

import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from autoresearch.agents.base import Ask, Unavailable, View
from autoresearch.agents.command import command
from autoresearch.agents.command.command import Command
from autoresearch.agents.command.recipes import Recipe, origin, recipes
from autoresearch.border import files
from autoresearch.checks.model_server import SHELLS, ModelServer
from autoresearch.sandbox import fence

VERSION_SECONDS, EXCHANGE_SECONDS = 30.0, 120.0
BEFORE, AFTER = "DEPTH = 4\n", "DEPTH = 5\n"
OUTSIDE = "autoresearch-check-outside"  # beside the scratch folder


def listed() -> list[dict[str, Any]]:
    """Every recipe: what it is, and where its program is."""
    return [_facts(recipe) | {"program": shutil.which(recipe.executable)} for recipe in recipes().values()]


def _facts(recipe: Recipe) -> dict[str, Any]:
    keys = ("name", "title", "executable", "version", "rank", "own", "install", "source")
    to_do = None if recipe.can_sign_in else recipe.sign_in
    return {key: getattr(recipe, key) for key in keys} | {"tells_cost": recipe.tells_cost, "sign_in": to_do}


def examine(name: str, fenced: bool = True) -> dict[str, Any]:
    """Raises UsageError as command.make does."""
    made = command.make(name, fenced=fenced)
    folder = command.made()
    try:
        cell, recipe = made.cell(folder), made.recipe
        report = _facts(recipe) | {
            "program": made.arguments[0], "command": made.arguments, "fence": fence.told(made.level),
            "reads": list(cell.reads), "writes": list(cell.writes),
            "config": {path: origin(path, recipe.moved).exists() for path in recipe.config},
            "variables": {variable: variable in os.environ for variable in made.variables}, "environment": recipe.environment,
        }  # fmt: skip
        process = made.start([*made.files, "--version"], folder)
        lines = fence.output(process, VERSION_SECONDS).strip().splitlines()
        report["says_version"] = lines[-1][:200] if lines else None
        report["version_status"] = process.returncode
    finally:
        files.remove(folder)
    return report | {"exchange": exchange(made) if made.level and recipe.wire.protocol else None}


def exchange(made: Command) -> dict[str, Any]:
    """One proposal of the program's, for a model that asks it to write train.py, and then outside of its folder."""
    asks: list[Ask] = []
    outside = Path(tempfile.gettempdir()).resolve() / OUTSIDE
    with (
        tempfile.TemporaryDirectory(prefix="autoresearch-check-") as folder,
        ModelServer([("train.py", BEFORE, AFTER), (f"../../{OUTSIDE}", "", "outside\n")]) as server,
    ):
        wire = made.recipe.wire
        variables, texts = (
            {name: value.replace("{url}", server.url) for name, value in table.items()} for table in (wire.variables, wire.files)
        )
        known = replace(made.recipe, config=(), kept=(), environment=made.recipe.environment | variables, files=texts)
        arguments = [*made.arguments, *(argument.replace("{url}", server.url) for argument in wire.arguments)]
        tried = Command(arguments, EXCHANGE_SECONDS, (), known, made.level)
        view = View("Lower val_bpb.\n", BEFORE, 1.0, (), folder=Path(folder), on_ask=asks.append)
        try:
            outcome = "it wrote what it was told to" if tried.propose(view).train_py == AFTER else "it wrote something else"
        except Unavailable as failure:
            outcome = str(failure)
        got_out = outside.exists()
        outside.unlink(missing_ok=True)
    tools = list(dict.fromkeys(tool for request in server.requests for tool in request.tools))
    sizes = [len(request.body) for request in server.requests if request.body]
    return {
        "outcome": outcome, "is_ok": outcome == "it wrote what it was told to" and not got_out, "wrote_outside": got_out,
        "seconds": asks[0].seconds, "requests": len(sizes), "largest_request_bytes": max(sizes, default=None), "tools": tools,
        "offers_a_shell": any(tool in SHELLS for tool in tools), "output_tokens": asks[0].output_tokens,
        "cost_usd": asks[0].cost_usd,
    }  # fmt: skip
