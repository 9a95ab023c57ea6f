"""The command line: a click group that imports a command only when it is called, so that `--help` is instant."""

import importlib
import io
import os
import sys
from typing import Any

import click

from autoresearch import __version__
from autoresearch.commands.say import say, say_error
from autoresearch.errors import AutoresearchError, UsageError

# command: (module in autoresearch.commands, one line for --help)
COMMANDS = {
    "run": ("run", "The whole job: detect, prepare, baseline, then experiments all night. Also resumes."),
    "demo": ("demo", "A whole study at tiny sizes, in two to three minutes: see it work first."),
    "init": ("init", "Make a workspace to look at and edit before the run."),
    "doctor": ("doctor", "What this machine is, what would be chosen, and why."),
    "prepare": ("prepare", "Corpus, tokenizer and token files, into the cache."),
    "train": ("train", "One training of the workspace's train.py, scored, with its summary."),
    "try": ("try_", "One ratchet step on the work tree's own edit of train.py."),
    "tell": ("tell", "Add a sentence to program.md while the study runs; agents are shown it."),
    "pause": ("pause", "Finish the running experiment, then begin nothing until resume."),
    "resume": ("resume", "End a pause."),
    "skip": ("skip", "End the experiment that trains now."),
    "propose": ("propose", "Have a train.py of your own tried next."),
    "status": ("status", "Where the study stands."),
    "watch": ("watch", "Look on at a study while it runs, from another terminal."),
    "results": ("results", "Every experiment, one line each."),
    "studies": ("studies", "The studies in a folder, one line each."),
    "compare": ("compare", "Two studies, or two experiments, side by side, and whether they differ."),
    "transfer": ("transfer", "Do a study's kept edits hold at another size? And which of them carry it."),
    "show": ("show", "One experiment: its diff, its numbers, the end of its log."),
    "best": ("best", "The best train.py so far and what it gained."),
    "pareto": ("pareto", "The score against latency, memory or size: the front, as a table and a picture."),
    "export": ("export", "Take the best away: a folder with code, weights, tokenizer and a model card."),
    "sample": ("sample", "Have the best write text."),
    "replay": ("replay", "Train an experiment again: reproduced or not, within the noise."),
    "finalize": ("finalize", "The kept edits as one clean branch, or as patches with the text of a pull request."),
    "noise": ("noise", "Measure the noise: how far the seed alone moves the score here."),
    "repair": ("repair", "Go back to the last good line of a damaged ledger."),
    "mcp": ("mcp", "Serve the study's tools to a coding agent (MCP)."),
    "report": ("report", "Draw progress.png and write report.html."),
    "serve": ("serve", "The report as a live page in the browser, on this machine alone."),
    "bench": ("bench", "How fast this machine is for the job: a table, or a run card to compare."),
    "report-hardware": ("report_hardware", "Try all that only this machine can show; one file to send us."),
    "cache": ("cache", "What lies in the cache, and how to make room."),
    "profiles": ("profiles", "List, show and check profiles."),
    "backends": ("backends", "List and check backends."),
    "tasks": ("tasks", "List and check tasks; begin one of your own."),
    "agents": ("agents", "List and check coding agents, and the fence that they run in."),
}


class LazyGroup(click.Group):
    """Names and one-line helps come from COMMANDS; the module is imported when its command runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"autoresearch.commands.{COMMANDS[name][0]}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0] if args else ""
        if name and not name.startswith("-") and name not in COMMANDS:
            from autoresearch.errors import nearest

            raise UsageError(f"no command {name!r}{nearest(name, COMMANDS)}; `autoresearch --help` lists them")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            if error.ctx is None and (command := self.get_command(ctx, ctx.invoked_subcommand or "")):
                error.ctx = click.Context(command, parent=ctx, info_name=ctx.invoked_subcommand)  # click's parser leaves it out
            raise
        except BrokenPipeError:  # the reader went away (`autoresearch results | head`): nothing left to say, and no failure
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python's own last flush fails
            return 0


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.version_option(__version__, prog_name="autoresearch")
@click.pass_context
def cli(context: click.Context) -> None:
    """An overnight research lab for one computer.

    `autoresearch run` trains a small GPT for five minutes, again and again, each time with another edit of train.py;
    what lowers val_bpb (validation bits per byte) is committed, the rest is rolled back.

    Exit status: 0 done, 1 the work failed, 2 the call or its input was wrong, 3 stored state is damaged,
    130 interrupted. With --json an error is an object on the standard output, {"event": "error", "message", "exit_status"}.
    The cache is $AUTORESEARCH_CACHE_DIR, else the system's user cache.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main() -> None:
    """The console script. A user's error is one line and an exit status, never a traceback."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller, as in `autoresearch status >&-`
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, for as long as the process lives
        if isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a description may hold what a narrow code page lacks
    try:
        status, message = cli.main(prog_name="autoresearch", standalone_mode=False), None
    except (click.exceptions.Abort, KeyboardInterrupt):
        status, message = 130, "interrupted" if _for_a_program() else None
    except click.ClickException as error:
        from autoresearch.commands.refusal import told as refused

        status, message = error.exit_code, refused(error)
    except AutoresearchError as error:
        status, message = error.exit_status, str(error)
    except OSError as error:
        # The edge: a folder or a file of the user's that the system refuses. What is ours to handle was handled below.
        what = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else error
        status, message = 1, f"{what}; mend that (a path, permissions, space) and run again"
    except Exception as error:
        from autoresearch.unexpected import told

        status, message = 1, told(error)
    if message is not None:
        _complain(message, status)
    sys.exit(status if isinstance(status, int) else 0)


def _complain(message: str, status: int) -> None:
    """An error: a line for people, and for a program an object where it reads the answer or the events."""
    if _for_a_program():
        say_error(message, status)
    else:
        say(f"error: {message}", err=True)


def _for_a_program() -> bool:
    """Whether the call has --json; asked of what was typed, since a call that is refused was not parsed."""
    words = sys.argv[1:]
    return "--json" in words[: words.index("--")] if "--" in words else "--json" in words


if __name__ == "__main__":
    main()
