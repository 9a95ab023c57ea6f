"""`autoresearch doctor`: the report of checks/checkup.py as text for people, or as JSON."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from autoresearch.commands.options import options
from autoresearch.commands.say import say_table

if TYPE_CHECKING:
    from autoresearch.hardware.devices.facts import Facts


@click.command()
@options("backend", "device", "profile", "corpus", "sandbox")
@click.option("--attack", is_flag=True, help="Instead: try to get out of the sandbox in every known way.")
@options("json", "plain")
@click.pass_context
def command(
    context: click.Context, backend: str, device: str | None, profile: str, corpus: str, sandbox: str, attack: bool, as_json: bool,
    plain: bool,
) -> None:  # fmt: skip
    """What this machine is, what would be chosen, and why.

    Asks every backend at the same time and changes nothing. The text holds no home folder and no user name, so that it can be
    pasted into a bug report. Exit status: 0 when a backend works here and in the sandbox, 1 when none does; with --attack, 1 when
    something is open that this level of the sandbox promises closed.
    """
    if attack:
        context.exit(_attack(sandbox, as_json, plain))
    from autoresearch.checks import checkup
    from autoresearch.commands.bars import looking

    with looking(quiet=as_json, plain=plain):
        report = checkup.examine(backend, profile, corpus, sandbox, device)
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        say_table(lines(report), headings=not plain)
    if report["problem"]:
        context.exit(1)


def lines(report: dict[str, Any]) -> list[str]:
    """The report as text, in lines."""
    from autoresearch.hardware.now import conditions

    cache = report["cache"]
    rows = [
        f"autoresearch {report['autoresearch']}, Python {report['python']}",
        f"  system    {report['system']}",
        f"  memory    {_gigabytes(report['memory_bytes'])}, {_known(report['cores'])} cores",
        f"  cache     {cache['folder']}, {_gigabytes(cache['free_bytes'])} free",
        *([f"  folder    {report['folder']}"] if report["folder"] else []),
        *sandbox_lines(report["sandbox"]),
        f"  agents    fence {report['agent_fence']['level']}, {report['agent_fence']['meaning']}",
        *([f"{'':12}{report['agent_fence']['reason']}"] if report["agent_fence"]["reason"] else []),
        "",
        "backends",
    ]
    for backend in report["backends"]:
        rows += _backend_lines(backend)
    rows += ["", "now", *(f"  {line}" for line in conditions.lines(report["now"])), f"  sleep     {report['sleep']}", ""]
    if report["chosen"] is None:
        return [*rows, f"no backend: {report['problem']}"]
    problem = [f"problem: {report['problem']}; please report it, with this text", ""] if report["problem"] else []
    return rows + problem + _choice_lines(report["chosen"])


def sandbox_lines(reached: dict[str, Any]) -> list[str]:
    untried = "" if reached["tried"] else ", not run on such a system yet"
    return [
        f"  sandbox   level {reached['level']}, {reached['meaning']} ({reached['mechanism']}{untried})",
        *(f"{'':12}{reason}" for reason in reached["reasons"]),
    ]


def _attack(sandbox: str, as_json: bool, plain: bool) -> int:
    """Every attempt of sandbox/attacks; the exit status."""
    from autoresearch.commands.bars import doing
    from autoresearch.errors import UsageError
    from autoresearch.sandbox import levels

    if not levels.has_fence():
        raise UsageError(f"there is nothing to get out of: {levels.reach().reasons[0]}")
    from autoresearch.checks import trial

    level = levels.choose(sandbox, is_shipped=True)
    with doing("trying to get out of the sandbox", quiet=as_json, plain=plain):
        attempts = trial.run(level)
    broken = [attempt for attempt in attempts if attempt.is_broken]
    if as_json:
        about = {"level": level, "known": list(trial.KNOWN), "attempts": [attempt.to_dict() for attempt in attempts]}
        click.echo(json.dumps(about, indent=2))
        return 1 if broken else 0
    is_open = [attempt for attempt in attempts if attempt.is_open]
    click.echo(f"level {level}, {levels.WORDS[level]}: {len(attempts)} attempts to get out, {len(is_open)} got through")
    for attempt in attempts:
        state = "open" if attempt.is_open else "closed" if attempt.is_open is False else "not tried"
        click.echo(f"  {state:<9} {'BROKEN: ' if attempt.is_broken else ''}{attempt.title}: {attempt.how}")
    click.echo("open by their nature, at every level")
    for line in trial.KNOWN:
        click.echo(f"  {line}")
    if broken:
        click.echo(f"{len(broken)} open that level {level} promises closed; please report it: SECURITY.md")
    return 1 if broken else 0


def prediction_lines(prediction: dict[str, Any] | None) -> list[str]:
    """The planner's figures (hardware/planner/plan.py) as text."""
    if prediction is None:
        return ["  predicted n/a: the planner does not know this model"]
    limits, capacity = prediction["limits"], prediction["memory_bytes"]
    flops, bandwidth = _limit(limits["matmul_flops"], 1e12, "TFLOP/s"), _limit(limits["bandwidth"], 1e9, "GB/s")
    of_device = "" if capacity is None else f" of {capacity / 2**20:,.0f}"

    def shown(name: str, form: str, scale: float = 1) -> str:
        return _estimate(prediction[name], lambda value: format(value / scale, form))

    memory = {name: shown(name, ",.0f", 2**20) for name in ("train_memory_bytes", "scoring_memory_bytes")}
    return [
        "  predicted, with the planner's error",
        f"    limits   matrix product {flops}; memory {bandwidth}",
        f"    memory   training {memory['train_memory_bytes']}{of_device} MB, scoring {memory['scoring_memory_bytes']} MB",
        f"    speed    {shown('tokens_per_second', ',.0f')} tokens/s; in the budget {shown('steps', ',.0f')} steps, "
        f"{shown('tokens', ',.1f', 1e6)} M tokens",
        f"    start-up {shown('first_startup_seconds', '.0f')} s the first time, {shown('startup_seconds', '.0f')} s later",
        f"    scoring  {shown('scoring_seconds', '.1f')} s",
        f"    rate     {shown('experiments_per_hour', '.1f')} experiments an hour",
    ]


def _backend_lines(backend: dict[str, Any]) -> list[str]:
    from autoresearch.checks.checkup import describe
    from autoresearch.hardware.devices.facts import Facts

    facts = Facts.from_dict(backend["facts"])
    head = f"  {backend['name']:<9} "
    if not facts.ok:
        cure = [f"{'':12}to do: {facts.cure}"] if facts.cure else []
        return [f"{head}does not work here: {facts.reason}", *cure]
    peak = "n/a" if facts.peak_flops is None else f"{facts.peak_flops / 1e12:g} TFLOPS ({facts.peak_source})"
    versions = ", ".join(f"{name} {version}" for name, version in facts.versions.items())
    details = [
        f"dtype {_because(facts.dtype, facts.dtype_reason)}",
        *_choices(facts),
        f"data-sheet peak {peak}; {versions or 'versions n/a'}",
    ]
    return [f"{head}works: {describe(facts)}", *(f"{'':12}{detail}" for detail in details)]


def _choices(facts: "Facts") -> list[str]:
    """Whether it compiles, which attention, how many threads, each with its reason."""
    compiled = None if facts.compile is None else "on" if facts.compile else "off"
    entries = [
        f"compile {_because(compiled, facts.compile_reason)}",
        f"attention {_because(facts.attention, facts.attention_reason)}",
    ]
    return entries if facts.threads is None else [*entries, f"threads {_because(str(facts.threads), facts.threads_reason)}"]


def _choice_lines(chosen: dict[str, Any]) -> list[str]:
    from autoresearch.hardware.devices.facts import Facts

    profile = chosen["profile"]
    data, budget = profile["data"], profile["budget"]
    constants = ", ".join(f"{name} {value}" for name, value in profile["train"].items())
    return [
        f"backend {chosen['backend']}: {chosen['backend_reason']}",
        *([f"  on        {chosen['device_reason']}"] if chosen["device_reason"] else []),
        *(f"  not {other['name']}: {other['reason']}" for other in chosen["backend_others"]),
        "",
        f"profile {profile['name']}: {chosen['profile_reason']}",
        *(f"  not {other['name']}: {other['reason']}" for other in chosen["profile_others"]),
        *(f"  tried {line}" for line in chosen["autotune"] or ()),
        "",
        "`autoresearch run` would use",
        f"  corpus    {chosen['corpus']}: {chosen['corpus_reason']}",
        f"  data      vocab_size {data['vocab_size']}, seq_len {data['seq_len']}, scored on {data['eval_bytes']:,} bytes",
        f"  budget    {budget['train_seconds']:g} s of training an experiment, at most "
        f"{budget['startup_limit_seconds']:g} s to start up",
        f"  train.py  {constants or 'as shipped'}",
        *(f"  runtime   {line}" for line in _choices(Facts.from_dict(chosen["facts"]))),
        *prediction_lines(chosen["prediction"]),
    ]


def _estimate(estimate: dict[str, Any] | None, form: Callable[[float], str]) -> str:
    """A predicted value with its relative error."""
    if estimate is None:
        return "n/a"
    error = "n/a" if estimate["error"] is None else f"{100 * estimate['error']:.0f}%"
    return f"{form(estimate['value'])} ±{error}"


def _limit(limit: dict[str, Any] | None, scale: float, unit: str) -> str:
    return "n/a" if limit is None else f"{limit['value'] / scale:.3g} {unit} ({limit['reason']})"


def _because(value: str | None, reason: str | None) -> str:
    return f"{_known(value)}: {reason}" if reason else _known(value)


def _gigabytes(size_bytes: int | None) -> str:
    return "n/a" if size_bytes is None else f"{size_bytes / 2**30:.1f} GB"


def _known(value: object) -> str:
    return "n/a" if value is None else str(value)
