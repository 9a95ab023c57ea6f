"""`autoresearch mcp`: the study as tools for a coding agent, by the Model Context Protocol over stdin and stdout."""

from pathlib import Path

import click

from autoresearch.commands.options import options


@click.command("mcp")
@options("study", "device", "sandbox", "on_battery")
def command(workspace: Path | None, device: str | None, sandbox: str, on_battery: bool) -> None:
    """Serve the study's tools to a coding agent, over stdin and stdout (MCP).

    Tools: try, results, show, best, status; resources: the report and its picture; a prompt: loop. The coding agent starts this
    command itself: docs/agents.md has the lines for its configuration. It needs the MCP SDK, `pip install "mcp>=2"`.

    Example: `claude mcp add autoresearch -- autoresearch mcp --workspace /path/to/my-study`
    """
    from autoresearch.errors import UsageError
    from autoresearch.study import workspace as workspaces

    try:
        import mcp.server  # noqa: F401, only to see whether it is there
    except ImportError as error:
        raise UsageError("`autoresearch mcp` needs the MCP SDK", 'pip install "mcp>=2"') from error
    from autoresearch.commands import mcp_server

    mcp_server.run(workspaces.find(workspace), sandbox, on_battery, device)
