"""What proposes the next edit. One file an agent, imported when it is asked for.

`choose` says who takes part in a night: the search always, and beside it at most one that thinks (an LLM or a coding agent).
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

from autoresearch.errors import UsageError

if TYPE_CHECKING:
    from autoresearch.agents.base import Agent
    from autoresearch.agents.mix import Agents

KEYS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")
# Options of `run` that only one agent has: name, and what the user types.
_OF_LLM = {
    "model": "--model", "max_tokens_per_experiment": "--max-tokens-per-experiment", "max_cost": "--max-cost",
    "context": "--context",
}  # fmt: skip
_OF_COMMAND = {"agent_command": "--command", "command_env": "--command-env"}
_OF_OPENAI = {"base_url": "--base-url"}
_OF_SLOW = {"mix": "--mix"}
OLLAMA = "http://127.0.0.1:11434"  # where it serves unless it is told otherwise


def make(name: str, **settings: Any) -> "Agent":
    """The agent of autoresearch/agents/<name>/<name>.py, with the settings of its `make`."""
    agent: Agent = importlib.import_module(f"autoresearch.agents.{name}.{name}").make(**settings)
    return agent


def choose(options: dict[str, Any], seed: int) -> "tuple[Agents, str]":
    """(mix.Agents, the reason in one line) for the options of `run`: agent, model, agent_command, mix, max_cost, ...

    Raises UsageError for options that don't go together.
    """
    from autoresearch.agents.mix import SHARE, Agents

    name, reason = _name(options["agent"], options)
    own = {"search": {}, "claude": _OF_LLM, "openai": _OF_LLM | _OF_OPENAI, "command": _OF_COMMAND}[name]
    allowed = own | (_OF_SLOW if own else {})
    for option, typed in (_OF_LLM | _OF_OPENAI | _OF_COMMAND | _OF_SLOW).items():
        if options[option] not in (None, ()) and option not in allowed:
            raise UsageError(f"{typed} is not for the agent {name} ({reason}); leave it out, or name another --agent")
    quick = make("search", seed=seed)
    if name == "search":
        return Agents(quick), f"search: {reason}"
    share = SHARE if options["mix"] is None else options["mix"]
    if own is not _OF_COMMAND:
        asked = {argument: options[argument] for argument in own if argument != "max_cost"}
        slow = make(name, max_cost_usd=options["max_cost"], seed=seed, **asked)
    else:
        command = options["agent_command"] or _installed()
        slow = make("command", command=command, variables=options["command_env"], seed=seed)
    words = f"{name}: {reason}; it proposes {share:.0%} of the experiments, the search the others and when it is not ready"
    return Agents(quick, slow, share), words


def _name(asked: str, options: dict[str, Any]) -> tuple[str, str]:
    """(agent, why)."""
    if asked == "command" and not (options["agent_command"] or _installed()):
        raise UsageError("--agent command needs a program; name it, as in --command 'claude-code' or --command 'my-agent {prompt}'")
    if asked != "auto":
        return asked, "asked for by name"
    if options["agent_command"]:
        return "command", "--command names it"
    if key := next(filter(os.environ.get, KEYS), None):
        return "claude", f"{key} is set"
    if found := _installed():
        return "command", f"{found} is installed; `--agent search` does without"
    offer = f"; Ollama is here: `--agent openai --base-url {OLLAMA}/v1` asks it" if _serves(OLLAMA) else ""
    return "search", f"no {KEYS[0]} and no coding agent here{offer}"


def _serves(url: str) -> bool:
    """Whether somebody answers on this machine. It is not taken unasked: a model at home takes its time from the training."""
    from urllib.request import ProxyHandler, build_opener

    try:
        with build_opener(ProxyHandler({})).open(f"{url}/api/version", timeout=0.3) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False


def _installed() -> str | None:
    """The name of the recipe of a coding agent that is on this machine."""
    from autoresearch.agents.command.command import find_recipe

    recipe = find_recipe()
    return recipe.name if recipe else None
