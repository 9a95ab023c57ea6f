"""`autoresearch agents`: the coding agents that are known, which of them are here, and what each would be started with."""

import json
from typing import Any

import click

from autoresearch.commands.options import Text, options
from autoresearch.commands.say import say_table
from autoresearch.text import harmless

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/etc", "/proc", "/sys", "/dev", "/run", "/nix", "/System", "/Library")


@click.group(invoke_without_command=True)
@options("json")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """List the coding agents that `run --agent command --command NAME` knows, best first, and which of them are on this machine.

    Each is one file, a recipe. One of your own goes into the folder that is named at the end. --agent auto takes the first that is
    found, but for those that are taken by name only. Nothing is started.
    """
    if context.invoked_subcommand is not None:
        return
    from autoresearch.agents.command.recipes import FOLDER, own_folder
    from autoresearch.checks import agent_check
    from autoresearch.sandbox import fence

    rows, level = agent_check.listed(), fence.reach()[0]
    if as_json:
        click.echo(json.dumps({"agents": rows, "fence": fence.told(level), "folder": str(own_folder())}, indent=2))
        return
    say_table(line for row in rows for line in _row_lines(row))
    say_table([f"fence {level}, {fence.WORDS[level]}" + (f" ({fence.reach()[1]})" if fence.reach()[1] else "")])
    if level == 0:
        say_table(["without one each is held by its own strictest mode; `autoresearch agents check NAME` says which"])
    click.echo(f"your own recipes: {own_folder()}/NAME.toml, in the form of {FOLDER}/*.toml")


def _row_lines(row: dict[str, Any]) -> list[str]:
    by_name = "" if row["rank"] else " (only by name)"
    missing = f"not found: no {row['executable']} on PATH; to do: {row['install'] or 'install it'}"
    cost = "what it costs is read from its output" if row["tells_cost"] else "what it costs can't be read"
    return [
        f"{row['name']:<12} {row['title']}{by_name}",
        f"{'':12} {'found: ' + row['program'] if row['program'] else missing}",
        *([f"{'':12} not signed in; to do: {row['sign_in']}"] if row["program"] and row["sign_in"] else []),
        f"{'':12} {tried(row['version'])}; {cost}",
    ]


@command.command()
@click.argument("agent", type=Text(), metavar="NAME|COMMAND")
@options("agent_fence")
@click.option("--attack", is_flag=True, help="Also try to get out of the fence in every known way; about a minute.")
@options("json")
@click.pass_context
def check(context: click.Context, agent: str, agent_fence: str | None, attack: bool, as_json: bool) -> None:
    """What a coding agent would be started with here, and whether it works in its fence.

    Prints its command line, fence, folders, variables and what can be read of its cost, starts it with --version, and, where it can
    be pointed at one, has it make one edit for a model server on this machine: no key is used and nothing is paid. Exit status 1
    when something does not work, or got out.

    Example: `autoresearch agents check claude-code --attack`
    """
    from autoresearch.checks import agent_check
    from autoresearch.commands.bars import doing
    from autoresearch.errors import UsageError

    report, tried = agent_check.examine(agent, fenced=agent_fence != "off"), []
    if attack:
        if not report["fence"]["level"]:
            raise UsageError(
                "there is no fence to get out of", "leave --attack out; `autoresearch doctor` says what this system has"
            )
        from autoresearch.checks import fence_trial

        with doing("trying to get out of the fence", quiet=as_json, plain=False):
            tried = fence_trial.run(report["fence"]["level"])
    broken = [attempt for attempt in tried if attempt.is_broken or (attempt.is_open is None and report["fence"]["level"] >= 2)]
    exchange = report["exchange"]
    is_ok = report["version_status"] == 0 and not broken and (exchange is None or exchange["is_ok"])
    if as_json:
        click.echo(json.dumps(report | {"attempts": [attempt.to_dict() for attempt in tried], "ok": is_ok}, indent=2))
    else:
        say_table(lines(report))
        if attack:
            click.echo(
                f"attack     {len(tried)} attempts to get out, {sum(bool(attempt.is_open) for attempt in tried)} got through"
            )
        for attempt in tried:
            if attempt.is_open or attempt in broken:
                click.echo(f"           {'BROKEN: ' if attempt in broken else 'open: '}{attempt.title}: {attempt.how}")
        if broken:
            click.echo("please report it: SECURITY.md")
    context.exit(0 if is_ok else 1)


def tried(version: str) -> str:
    """What the recipe says of the version that it was tried with."""
    return f"its recipe was tried with version {version}" if version[:1].isdigit() else "its recipe has not been tried"


def _variables(is_set_by_name: dict[str, bool]) -> str:
    if not is_set_by_name:
        return "it gets no secret of yours"
    is_set = [name for name, is_there in is_set_by_name.items() if is_there]
    others = ", ".join(name for name in is_set_by_name if name not in is_set)
    return f"it gets {', '.join(is_set) or 'none'}" + (f"; it would get {others}, which you have not set" if others else "")


def _said(report: dict[str, Any]) -> str:
    """Of its --version."""
    if report["version_status"] == 0:
        return harmless(report["says_version"] or "it says none")
    said = f": {harmless(report['says_version'])}" if report["says_version"] else " and said nothing"
    return f"--version ended with status {report['version_status']}{said}"


def lines(report: dict[str, Any]) -> list[str]:
    """The facts as text."""
    held = report["fence"]
    there = [path for path, is_there in report["config"].items() if is_there]
    own = [path for path in report["reads"] if not path.startswith(SYSTEM)]
    told = [f"agent      {report['title']}, {report['program']}", f"command    {' '.join(report['command'])}"]
    told += [f"fence      {held['level']}, {held['meaning']}" + (f" ({held['reason']})" if held["reason"] else "")]
    if held["level"]:
        told += [
            f"writes     {', '.join(report['writes'])}",
            f"reads      the system's programs and settings, and {', '.join(own)}",
            f"copies     {', '.join(there) or 'none'} (of the home folder, which it does not see)",
        ]
    else:
        told.append(f"held by    {report['own'] or 'nothing that is known'}")
    told += [
        f"variables  {_variables(report['variables'])}",
        f"sets       {', '.join(report['environment']) or 'nothing'}",
        "cost       "
        + ("read from its output" if report["tells_cost"] else "not told: --max-cost does not hold, a number of proposals does"),
        f"version    {_said(report)}; {tried(report['version'])}",
        *([f"sign-in    nothing found; to do: {report['sign_in']}"] if report["sign_in"] else []),
    ]
    exchange = report["exchange"]
    if exchange is None:
        return [*told, "exchange   not tried: it can't be pointed at a server of ours, or there is no fence"]
    outside = "IT WROTE OUTSIDE OF ITS FOLDER" if exchange["wrote_outside"] else "nothing was written outside"
    size = "n/a" if exchange["largest_request_bytes"] is None else f"{exchange['largest_request_bytes'] / 1000:.0f} kB"
    return [
        *told,
        f"exchange   {harmless(exchange['outcome'])}; {outside}",
        f"           {exchange['requests']} requests in {exchange['seconds']:.0f} s, the largest {size}; "
        f"{'a shell is offered' if exchange['offers_a_shell'] else 'no shell'}; tools: {', '.join(exchange['tools']) or 'none'}",
    ]
