"""What proposes the next edit. One file an agent, imported when it is asked for.

`choose` says who takes part in a night: the search always, and beside it at most one that thinks (an LLM or a coding agent).
"""

import importlib
import math
import os
from typing import TYPE_CHECKING, Any

from autoresearch.errors import UsageError

if TYPE_CHECKING:
    from autoresearch.agents.base import Agent
    from autoresearch.agents.mix import Agents

KEYS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")
OLLAMA = "http://127.0.0.1:11434"  # where it serves unless it is told otherwise
NIGHT_USD = 5.0  # chosen: of one call of `run` without --max-cost; a night of 30 proposals by the default model takes half of it
NIGHT_ASKS = 60  # chosen: the same for a program that does not tell what it costs
NIGHT_HOURS, TRAIN_SECONDS, OVERHEAD = 8.0, 300.0, 1.1  # of a night whose end is not said, for the expected cost
# Options of `run` that not every agent has: name, and what the user types.
_OF_SLOW = {
    "mix": "--mix", "model": "--model", "max_tokens_per_experiment": "--max-tokens-per-experiment", "max_cost": "--max-cost",
}  # fmt: skip
_OF_LLM = {"context": "--context"}
_OF_OPENAI = {"base_url": "--base-url"}
_OF_COMMAND = {"agent_command": "--command", "command_env": "--command-env", "agent_fence": "--agent-fence"}


def make(name: str, **settings: Any) -> "Agent":
    """The agent of autoresearch/agents/<name>/<name>.py, with the settings of its `make`."""
    agent: Agent = importlib.import_module(f"autoresearch.agents.{name}.{name}").make(**settings)
    return agent


def choose(options: dict[str, Any], seed: int, spent_usd: float = 0.0) -> "tuple[Agents, list[str]]":
    """(mix.Agents, lines that say who proposes and why, what holds it, what it may cost) for the options of `run`: agent, model,
    agent_command, mix, max_cost, ... spent_usd: by the study so far.

    Raises UsageError for options that don't go together.
    """
    from autoresearch.agents.mix import SHARE, Agents

    name, reason = _name(options["agent"], options)
    allowed = {
        "search": {}, "claude": _OF_SLOW | _OF_LLM, "openai": _OF_SLOW | _OF_LLM | _OF_OPENAI, "command": _OF_SLOW | _OF_COMMAND,
    }[name]  # fmt: skip
    for option, typed in (_OF_SLOW | _OF_LLM | _OF_OPENAI | _OF_COMMAND).items():
        if options.get(option) not in (None, ()) and option not in allowed:
            raise UsageError(f"{typed} is not for the agent {name} ({reason}); leave it out, or name another --agent")
    quick = make("search", seed=seed)
    if name == "search":
        return Agents(quick), [f"search: {reason}"]
    share = SHARE if options["mix"] is None else options["mix"]
    words = f"{name}: {reason}; it proposes {share:.0%} of the experiments, the search the others and when it is not ready"
    cap_usd, count = _cap(options["max_cost"], spent_usd), _proposals(options, share)
    slow, lines = _command(options, seed, cap_usd, count) if name == "command" else _llm(name, options, seed, cap_usd, count)
    return Agents(quick, slow, share), [words, *lines]


def _llm(name: str, options: dict[str, Any], seed: int, cap_usd: float | None, count: int) -> "tuple[Agent, list[str]]":
    from autoresearch.agents.llm import prices
    from autoresearch.agents.llm.llm import LLM
    from autoresearch.agents.llm.reply import is_at_home

    own = {option: options[option] for option in _OF_OPENAI if name == "openai"}
    agent = make(
        name, model=options["model"], seed=seed, max_cost_usd=None if options["max_cost"] is None else cap_usd,
        max_tokens_per_experiment=options["max_tokens_per_experiment"], context=options["context"], **own,
    )  # fmt: skip
    assert isinstance(agent, LLM), "that module makes it"
    model = agent.service.model
    expected = prices.cost_usd(model, prices.proposal())
    if expected is None:
        is_free = options["max_cost"] == math.inf or is_at_home(agent.service.host)
        agent.max_asks = None if is_free else NIGHT_ASKS
        limit = "no limit holds" if is_free else f"at most {NIGHT_ASKS} answers whose cost it does not tell, this time"
        return agent, [f"the price of {model} is not known here: what it costs is n/a, and {limit}"]
    agent.max_cost_usd = cap_usd
    return agent, [f"expected {count * expected:.2f} USD for {count} proposals by {model}; {_cap_words(options, cap_usd)}"]


def _command(options: dict[str, Any], seed: int, cap_usd: float | None, count: int) -> "tuple[Agent, list[str]]":
    from autoresearch.agents.command.command import Command
    from autoresearch.agents.command.recipes import recipe
    from autoresearch.sandbox import fence

    is_off = options.get("agent_fence") == "off"
    tokens, command = options["max_tokens_per_experiment"], options["agent_command"] or _installed()[0]
    if (known := recipe(command or "")) and not known.can_sign_in and not is_off:
        problem = f"{known.title} has nothing to sign in with in the fence"
        raise UsageError(problem, f"{known.sign_in}, or start it with your rights: --agent-fence off")
    agent = make(
        "command", command=command, variables=options["command_env"], seed=seed, fenced=not is_off, model=options["model"],
        max_cost_usd=cap_usd, max_tokens=tokens,
    )  # fmt: skip
    assert isinstance(agent, Command), "that module makes it"
    lines, why = [f"fence {agent.level}, {fence.WORDS[agent.level]}"], "--agent-fence off" if is_off else fence.reach()[1]
    if agent.level == 0:
        lines[0] += f" ({why}); {agent.recipe.own or 'no such mode is known of it'}"
    else:
        stronger = f"; no stronger fence: {why}" if why else ""
        lines.append(f"its network is open: it may reach any host, servers on this machine too{stronger}")
    agent.max_asks = None if options["max_cost"] == math.inf else NIGHT_ASKS
    asks = f"at most {NIGHT_ASKS} that do not tell it, this time" if agent.max_asks else "no limit for those that do not tell it"
    if agent.recipe.tells_cost:
        lines.append(
            f"what {count} proposals by {agent.recipe.title} cost is known as they come: {_cap_words(options, cap_usd)}, and {asks}"
        )
    else:
        lines.append(f"what {agent.recipe.title} costs can't be read, so that --max-cost does not hold; of proposals {asks}")
    if tokens and not agent.recipe.usage.tells("output_tokens"):
        lines.append("how many tokens it writes can't be read: --max-tokens-per-experiment does not hold")
    return agent, lines


def _cap(max_cost: float | None, spent_usd: float) -> float | None:
    """Of the whole study. max_cost: --max-cost, where infinity stands for none."""
    return spent_usd + NIGHT_USD if max_cost is None else None if max_cost == math.inf else max_cost


def _cap_words(options: dict[str, Any], cap_usd: float | None) -> str:
    if cap_usd is None:
        return "no limit, as asked for"
    if options["max_cost"] is None:
        return f"at most {NIGHT_USD:g} USD this time, since no --max-cost is given"
    return f"at most {cap_usd:g} USD for the whole study"


def _proposals(options: dict[str, Any], share: float) -> int:
    """How many a call of `run` is likely to ask for."""
    seconds = OVERHEAD * (options.get("train_seconds") or TRAIN_SECONDS)
    likely = 3600 * (options.get("hours") or NIGHT_HOURS) / seconds
    experiments = likely if options.get("experiments") is None else min(likely, options["experiments"])
    return math.ceil(share * experiments)


def _name(agent: str, options: dict[str, Any]) -> tuple[str, str]:
    """(agent, why)."""
    if agent == "command" and not (options["agent_command"] or _installed()[0]):
        problem = f"--agent command needs a program{_installed()[1]}"
        raise UsageError(problem, "name it, as in --command 'claude-code' or --command 'my-agent {prompt}'")
    if agent != "auto":
        return agent, "asked for by name"
    if options["agent_command"]:
        return "command", "--command names it"
    if key := next(filter(os.environ.get, KEYS), None):
        return "claude", f"{key} is set"
    recipe, passed = _installed()
    if recipe:
        return "command", f"{recipe} is installed{passed}; `--agent search` does without"
    offer = f"; Ollama is here: `--agent openai --base-url {OLLAMA}/v1` asks it" if _serves(OLLAMA) else ""
    return "search", f"no {' or '.join(KEYS)}, and no coding agent here that can be asked{passed}{offer}"


def _serves(url: str) -> bool:
    """Whether somebody answers on this machine. It is not taken unasked: a model at home takes its time from the training."""
    from urllib.request import ProxyHandler, build_opener

    try:
        with build_opener(ProxyHandler({})).open(f"{url}/api/version", timeout=0.3) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False


def _installed() -> tuple[str | None, str]:
    """(the name of the recipe of a coding agent that is on this machine, words about those that were passed over)."""
    from autoresearch.agents.command.recipes import find_recipe

    best, passed = find_recipe()
    words = (f"; {recipe.title} is passed over, it has nothing to sign in with: {recipe.sign_in}" for recipe in passed)
    return (best.name if best else None), "".join(words)
