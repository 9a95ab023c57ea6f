"""What proposes the next edit. One file an agent; `make` imports the one that is asked for."""

import importlib

from autoresearch.errors import UsageError, nearest

# name: module in autoresearch.agents, which has make(**settings) -> Agent
_MODULES = {"search": "search", "scripted": "scripted"}


def make(name: str = "auto", **settings):
    """The agent called name, with its module's `make` settings; `auto` is search, which needs no key."""
    chosen = "search" if name == "auto" else name
    if chosen not in _MODULES:
        raise UsageError(f"no agent {name!r}{nearest(name, _MODULES)} choose one of: auto, {', '.join(_MODULES)}")
    return importlib.import_module(f"autoresearch.agents.{_MODULES[chosen]}").make(**settings)
