"""Every Markdown file of the project: its links lead somewhere, and what it tells one to type is taken by the command line.

Read as Markdown, not run: a call goes through click's own parser, with the options' types: unknown ones and wrong values fail.
"""

import functools
import importlib.util
import itertools
import re
import shlex
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import click
import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from autoresearch.cli import COMMANDS, cli

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / ".github").rglob("*.md")),
    ROOT / "tests" / "facts" / "README.md", ROOT / "autoresearch" / "study" / "AGENTS.template.md",
    ROOT / "tasks" / "command" / "AGENTS.template.md",
]  # fmt: skip
NAMES = [path.relative_to(ROOT).as_posix() for path in PAGES]
PROGRAMS = {"autoresearch", ".venv/bin/autoresearch"}
ENDS = {"&&", "||", "|", ">", "2>&1", "&", ";"}  # of a call, in a shell
OTHERS = {"--enable-auto-tool-choice", "--max-budget-usd", "--cli"}  # of vLLM, Claude Code, the MCP Inspector
PLACEHOLDER = re.compile(r"[A-Z]+([|,.][A-Za-z]+)*|\.\.\.")  # N, NAME, SECONDS|off|again, FILE.toml
NO_TYPING = {"json", "toml", "python", "markdown", "text"}  # languages of fences without anything to type


@functools.cache
def tokens(page: Path) -> list[Token]:
    markdown = MarkdownIt("commonmark").enable("table")
    return [part for token in markdown.parse(page.read_text(encoding="utf-8")) for part in (token, *(token.children or []))]


@functools.cache
def anchors(page: Path) -> set[str]:
    """Those that GitHub gives to headings."""
    found: list[str] = []
    for token, text in itertools.pairwise(tokens(page)):
        if token.type == "heading_open":
            words = "".join(part.content for part in text.children or [])
            slug = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
            found.append(slug + (f"-{found.count(slug)}" if slug in found else ""))
    return set(found)


def links(page: Path) -> list[str]:
    found = [str(token.attrs[name]) for token in tokens(page) for name in ("href", "src") if name in token.attrs]
    html = "\n".join(token.content for token in tokens(page) if token.type in ("html_inline", "html_block"))
    return found + re.findall(r'(?:href|src)="([^"]*)"', html)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_link_leads_somewhere(page):
    astray = []
    for link in links(page):
        url = urlsplit(link)
        if url.scheme:
            fine = url.scheme == "https" and "." in url.netloc
        else:
            target = (page.parent / url.path).resolve() if url.path else page
            fine = target.is_file() and target.is_relative_to(ROOT) and (not url.fragment or url.fragment in anchors(target))
        if not fine:
            astray.append(link)
    assert astray == []


def calls(page: Path) -> list[tuple[str, list[str]]]:
    """What a page tells one to type: (as written, the words after `autoresearch`)."""
    found = []
    for token in tokens(page):
        if token.type == "code_inline":
            lines = [token.content] if token.content.split()[:1] and token.content.split()[0] in PROGRAMS else []
        elif token.type == "fence" and token.info.strip() not in NO_TYPING:
            lines = token.content.replace("\\\n", " ").splitlines()
        else:
            continue
        for line in lines:
            if not re.search(r"(^|[\s;/])autoresearch ", line):
                continue
            words = shlex.split(line.replace(";", " ; "), comments=True)
            for place, word in enumerate(words):
                if word in PROGRAMS and words[place - 1 : place] not in (["add"], ["cd"]):
                    rest = words[place + 1 :]
                    end = next((n for n, w in enumerate(rest) if w in ENDS), len(rest))
                    found.append((line.strip(), rest[:end]))
    return found


def refused(words: list[str]) -> str | None:
    """What the command line says against these words, or None. Nothing is run."""
    command: click.Command = cli
    context = click.Context(cli, info_name="autoresearch", **cli.context_settings)
    while isinstance(command, click.Group) and words and not words[0].startswith("-") and words[0] != "...":
        name, *words = words
        below = command.get_command(context, name)
        if below is None:
            return f"no command {name}"
        command, context = below, click.Context(below, context, name)
    if not words:
        return None  # it is named, and no more
    words = [word.strip("[]") for word in words if word not in ("--help", "-h")]
    try:
        command.make_context(context.info_name, words, context.parent)
    except click.MissingParameter:
        return None  # "`autoresearch run --hours`" tells of an option
    except click.ClickException as error:
        return error.format_message()
    return None


@pytest.fixture
def lenient(monkeypatch):
    """A placeholder stands for any value, and a file in an example need not be there."""
    ask = click.ParamType.__call__

    def call(self, value, param=None, ctx=None):
        return value if isinstance(value, str) and PLACEHOLDER.fullmatch(value) else ask(self, value, param, ctx)

    monkeypatch.setattr(click.ParamType, "__call__", call)
    monkeypatch.setattr(click.Path, "convert", lambda self, value, param, ctx: Path(value))


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_what_a_page_tells_one_to_type_is_taken(lenient, page):
    assert [(line, why) for line, words in calls(page) if (why := refused(words))] == []


def options(command: click.Command, context: click.Context) -> set[str]:
    found = {name for parameter in command.get_params(context) for name in parameter.opts}
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            if below := command.get_command(context, name):
                found |= options(below, click.Context(below, context, name))
    return found


def test_every_option_that_is_named_by_itself_is_one_of_ours():
    named = {
        word.split("=")[0]
        for page in PAGES
        if page.parent == ROOT / "docs" or page.name == "README.md"
        for token in tokens(page)
        if token.type == "code_inline" and token.content.startswith("--")
        for word in token.content.split()
        if word.startswith("--")
    }
    assert named - options(cli, click.Context(cli, info_name="autoresearch", **cli.context_settings)) == OTHERS


@pytest.mark.parametrize("words", ["rnu", "run --hour 3", "run --hours x", "run --agent gpt", "profiles chek x", "show --jsn"])
def test_a_call_that_is_wrong_would_be_found(lenient, words):
    assert refused(words.split())


def test_the_readme_is_two_screens_and_names_the_cost_cap_where_it_names_a_key():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 110 and max(map(len, lines)) <= 120
    assert [line for line in lines if "API_KEY=" in line and "--max-cost" not in line] == []


def test_the_command_reference_is_what_the_commands_say(monkeypatch):
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    monkeypatch.setattr(sys, "argv", ["reference.py", "--check"])
    reference.main()  # ends with what to do when it is not
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"\n## autoresearch {name}\n" not in page] == []


@pytest.mark.slow
@pytest.mark.thorough
def test_the_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("sphinx", reason="pip install -e '.[docs]'")
    command = [sys.executable, "-m", "sphinx", "-W", "-n", "-q", "-d", tmp_path / "doctrees", ROOT / "docs", tmp_path / "site"]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (built.returncode, built.stderr) == (0, "")
    pages = [page.read_text(encoding="utf-8") for page in (tmp_path / "site").rglob("*.html")]
    loaded = [link for page in pages for link in re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)', page)]
    assert len(pages) > 20 and loaded == []  # a reader without a network sees all of it
