"""The options that several commands share: the same name, meaning and help everywhere."""

import functools
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from autoresearch.text import harmless

if TYPE_CHECKING:
    from autoresearch.task.table import Option

Function = TypeVar("Function", bound=Callable[..., Any])


class _Amount(click.FloatRange):
    """A number above 0, or from least, up to high. NaN is none, which click's comparisons let through."""

    def __init__(self, high: float, least: float = 0.0):
        super().__init__(min=least, min_open=least == 0.0, max=high)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        return self.fail(f"{value!r} is not a valid number", param, ctx) if math.isnan(number) else number


class _Limit(_Amount):
    """A number, or "none" (infinity), which lifts a limit that was set before."""

    or_else = ", or none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return math.inf if value in ("none", math.inf) else super().convert(value, param, ctx)


class _Autotune(_Amount):
    """Seconds, "off" or "again"."""

    name = "autotune"
    or_else = " (seconds), or off or again"

    def __init__(self) -> None:
        super().__init__(high=86_400)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value in ("off", "again") else super().convert(value, param, ctx)


class _Workers(click.ParamType[Any]):
    """A number, "auto" or "ray"."""

    name = "workers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, int) or value in ("auto", "ray"):
            return value
        if not str(value).isdecimal() or not int(value):
            return self.fail(f"{value!r} is no number from 1 up, and neither auto nor ray", param, ctx)
        return int(value)


class Text(click.ParamType[str]):
    """Words that can be seen: an empty one, or of blanks alone, is a variable of a shell that was not set."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        left_out = "" if param is None or param.required else ", or leave it out"
        return text if harmless(text).strip() else self.fail(f"is empty: give it a value{left_out}", param, ctx)


class Measured(Text):
    """A limit on what is measured; its name is looked at where it is known what is."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from autoresearch.run.constraints import parse

        text = super().convert(value, param, ctx)
        parse(text)
        return text


class Folder(click.Path):
    """A folder, there or not; an empty name would be the current one."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, file_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(value, param, ctx) if str(value) else self.fail("'' is not a valid folder", param, ctx)


MOST_SEED = 2**53  # every framework and JSON reader takes it
LEAST_TRAIN_SECONDS = 0.05  # chosen: less than a step of the smallest model
CONSTRAINTS = ("max_params", "max_memory_gb", "min_tok_s", "limit")  # of a study, enforced by run/constraints.py

_OPTIONS = {
    "workspace": click.option(
        "--workspace",
        type=Folder(),
        metavar="DIR",
        help="The study's folder. Default: the current folder when it is one, else a new autoresearch-<tag>.",
    ),
    "study": click.option(
        "--workspace",
        type=Folder(),
        metavar="DIR",
        help="The study's folder. Default: the current folder when it is one, else the newest autoresearch-<tag> in it.",
    ),
    "task": click.option(
        "--task",
        type=Text(),
        metavar="NAME|FOLDER",
        help="What is measured; `autoresearch tasks` lists them. Default: pretrain, a small GPT on text.",
    ),
    "profile": click.option(
        "--profile",
        type=Text(),
        default="auto",
        show_default=True,
        metavar="NAME|FILE.toml|auto",
        help="Sizes for a class of machine; `autoresearch profiles` lists them.",
    ),
    "backend": click.option(
        "--backend",
        type=Text(),
        default="auto",
        show_default=True,
        metavar="NAME|auto",
        help="What the training runs on; `autoresearch backends` lists them.",
    ),
    "device": click.option(
        "--device",
        type=Text(),
        metavar="N|NAME",
        help="Which of several cards, by its number or a part of its name. Default: the study's own, or one that is free.",
    ),
    "workers": click.option(
        "--workers",
        type=_Workers(),
        metavar="N|auto|ray",
        help="How many experiments train at once. auto: one on each device of the study's kind, or on shares of the cores where a "
        "computer gains by it; ray: on the machines of a Ray cluster. Default: 1.",
    ),
    "address": click.option(
        "--address",
        type=Text(),
        metavar="HOST:PORT",
        help="The Ray cluster of --workers ray. Default: RAY_ADDRESS, else a Ray of its own on this computer.",
    ),
    "autotune": click.option(
        "--autotune",
        type=_Autotune(),
        metavar="SECONDS|off|again",
        help="With --profile auto: how long to try sizes, each in a short training; off takes the profile that fits as it is; "
        "again forgets what was found before for this text on this machine. Default: a twentieth of the study, 2 to 15 minutes.",
    ),
    "corpus": click.option(
        "--corpus",
        type=Text(),
        default="auto",
        show_default=True,
        metavar="NAME|PATH|auto",
        help="climbmix, tinystories, stdlib, a dataset of the hub (hf://OWNER/NAME), or a file or folder of .txt .md .py .jsonl "
        ".csv .tsv .parquet, also .gz and .zst. "
        "PATH#NAME names the field or column that holds a row's text (else text, messages, or the only one).",
    ),
    "agent": click.option(
        "--agent",
        default="auto",
        show_default=True,
        type=click.Choice(["auto", "search", "claude", "openai", "command"]),
        help="What proposes the edits. auto: claude with ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN (ANTHROPIC_BASE_URL names "
        "a server of your own), else a coding agent that is installed and signed in, else the search. "
        "openai: any server that speaks OpenAI's protocol.",
    ),
    "base_url": click.option(
        "--base-url",
        type=Text(),
        metavar="URL",
        help="The server of --agent openai, such as http://127.0.0.1:11434/v1 (Ollama). Default: OPENAI_BASE_URL, or OpenAI.",
    ),
    "command": click.option(
        "--command",
        "agent_command",
        type=Text(),
        metavar="COMMAND",
        help="The program of --agent command: a recipe's name (`autoresearch agents` lists them) or a command line.",
    ),
    "command_env": click.option(
        "--command-env",
        type=Text(),
        multiple=True,
        metavar="NAME",
        help="A secret of your environment that --command may see, such as OPENAI_API_KEY. May be given again. Default: those that "
        "its recipe names.",
    ),
    "agent_fence": click.option(
        "--agent-fence",
        type=click.Choice(["auto", "off"]),
        help="What --command runs in. auto (default): the strongest fence of this system; off: with your rights.",
    ),
    "mix": click.option(
        "--mix",
        type=click.FloatRange(0, 1, min_open=True),
        metavar="SHARE",
        help="The LLM's share of the experiments; the search tunes numbers in the others. Default: 0.3.",
    ),
    "model": click.option(
        "--model",
        type=Text(),
        metavar="NAME",
        help="The model that the agent asks. Default: a strong one of Anthropic's, the only one of --base-url, a program's own.",
    ),
    "max_cost": click.option(
        "--max-cost",
        type=_Limit(1_000_000),
        metavar="USD|none",
        help="What the study's requests may cost in all; then the search goes on alone. Default: 5 USD more in each call, and of a "
        "program that does not tell its cost 60 proposals.",
    ),
    "context": click.option(
        "--context",
        type=click.IntRange(min=8000),
        metavar="TOKENS",
        help="What the model's server takes in one request, answer included; the history is cut to it. Default: what it says.",
    ),
    "max_tokens_per_experiment": click.option(
        "--max-tokens-per-experiment",
        type=click.IntRange(min=1000),
        metavar="N",
        help="The most output tokens that the LLM may use for one proposal.",
    ),
    "max_params": click.option(
        "--max-params",
        type=_Limit(1e15),
        metavar="N|none",
        help="Refuse a model of more parameters. Default: no limit, or the study's; none lifts it.",
    ),
    "max_memory_gb": click.option(
        "--max-memory-gb",
        type=_Limit(1e6),
        metavar="GIB|none",
        help="Refuse what takes more memory in training. Default: no limit, or the study's; none lifts it.",
    ),
    "min_tok_s": click.option(
        "--min-tok-s",
        type=_Limit(1e12),
        metavar="N|none",
        help="Refuse what trains fewer tokens a second. Default: no limit, or the study's; none lifts it.",
    ),
    "limit": click.option(
        "--limit",
        type=Measured(),
        multiple=True,
        metavar="'QUANTITY<=N'",
        help="Refuse what goes beyond it in what is measured of each run, as in 'latency_ms<=5' or 'answers_per_second>=100'; "
        "'latency_ms=none' lifts it. May be given again. docs/limits.md has the quantities.",
    ),
    "notify": click.option(
        "--notify",
        type=Text(),
        metavar="COMMAND",
        help="A command of yours that is told of each keep, stop and failure: JSON on its input, the sentence in "
        "AUTORESEARCH_MESSAGE. No shell unless you name one: \"sh -c '...'\". docs/notify.md has one for phone, Slack, mail.",
    ),
    "tag": click.option(
        "--tag", type=Text(), metavar="TAG", help="The study's name, and its branch autoresearch/TAG. Default: today's date."
    ),
    "experiments": click.option(
        "--experiments",
        type=click.IntRange(min=0),
        metavar="N",
        help="Stop after N experiments of this call. Default: never.",
    ),
    "hours": click.option(
        "--hours",
        type=_Amount(100_000),
        metavar="H",
        help="Stop after H hours. Default: never.",
    ),
    "train_seconds": click.option(
        "--train-seconds",
        type=_Amount(7 * 24 * 3600, least=LEAST_TRAIN_SECONDS),
        metavar="S",
        help="The training time of every experiment. Default: the profile's (300).",
    ),
    "decide": click.option(
        "--decide",
        type=click.Choice(["confirmed", "strict"]),
        default=None,
        help="When to keep: confirmed (default: other seeds must agree, beyond this machine's noise) or strict (any lower number).",
    ),
    "stop_early": click.option(
        "--stop-early",
        is_flag=True,
        default=None,
        help="End a training early, as a discard, when its loss is hopelessly behind the baseline's. Default: train to the end.",
    ),
    "seed": click.option("--seed", type=click.IntRange(0, MOST_SEED), metavar="N", help="First random seed. Default: 1337."),
    "training_seed": click.option(
        "--seed", type=click.IntRange(0, MOST_SEED), metavar="N", help="The training's random seed. Default: the study's first."
    ),
    "sandbox": click.option(
        "--sandbox",
        default="auto",
        show_default=True,
        type=click.Choice(["auto", "none"]),
        help="What agent code runs in. auto: the strongest sandbox of this system; none: with your rights.",
    ),
    "on_battery": click.option("--on-battery", is_flag=True, help="Train on battery too; without it that is refused."),
    "json": click.option("--json", "as_json", is_flag=True, help="For programs: JSON instead of text."),
    "plain": click.option("--plain", is_flag=True, help="Plain lines, no live panel."),
}


class TaskCommand(click.Command):
    """A command that also takes the options that the tasks' task.toml declare."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_TASK] = self.named([word for one in args for word in one.split("=", 1)])
        return super().parse_args(ctx, args)

    def named(self, words: list[str]) -> str | None:
        """The task that a call's words name."""
        return next((after for word, after in pairwise(words) if word == "--task"), None)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *_of_tasks(ctx.meta.get(_TASK))]


_TASK = "autoresearch.task"  # in a call's context: what --task names


@functools.cache
def _of_tasks(named: str | None) -> list[click.Parameter]:
    """One for each name; where two tasks have one of the same name, they share it. named: a task, whose folder may be anywhere."""
    from autoresearch.task import table as tables

    found: dict[str, list[tuple[str, tables.Option]]] = {}
    own = [tables.read(Path(named).resolve())] if named and (Path(named) / "task.toml").is_file() else []
    for table in [*tables.scan().values(), *own]:
        for key, option in tables.options(table).items() if table.problem is None else ():
            found.setdefault(key, []).append((table.name, option))
    return [_of_task(key, owners) for key, owners in found.items()]


def _of_task(key: str, owners: "list[tuple[str, Option]]") -> click.Option:
    first = owners[0][1]
    texts = dict.fromkeys(option.help for _, option in owners)
    kinds: dict[str, Any] = {"text": Text(), "number": click.FLOAT, "path": Text(), "flag": click.BOOL}
    is_flag = first.type == "flag"
    return click.Option(
        [f"--{key}"], type=kinds[first.type], is_flag=is_flag, multiple=first.multiple, default=None,
        metavar=None if is_flag else first.metavar or ("|".join(first.choices) or None),
        help=f"--task {' or '.join(name for name, _ in owners)}: {' '.join(texts)}",
    )  # fmt: skip


def options(*names: str) -> Callable[[Function], Function]:
    """Decorate a command with shared options, in the order given."""

    def decorate(function: Function) -> Function:
        for name in reversed(names):
            function = _OPTIONS[name](function)
        return function

    return decorate
