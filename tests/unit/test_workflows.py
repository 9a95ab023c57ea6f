"""The workflows, pre-commit's hooks and the forms call what exists, and the workflows hold no right that they don't need.

What GitHub alone can show, whether a job passes there, is not shown here.
"""

import importlib.util
import re
import shlex
from pathlib import Path

import check
import click
import pytest
import yaml

from autoresearch import cli

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = {path.name: yaml.safe_load(path.read_text(encoding="utf-8")) for path in ROOT.glob(".github/workflows/*.yml")}
JOBS = {f"{file} {name}": job for file, workflow in WORKFLOWS.items() for name, job in workflow["jobs"].items()}
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
FORMS = {path.name: yaml.safe_load(path.read_text(encoding="utf-8")) for path in ROOT.glob(".github/ISSUE_TEMPLATE/*.yml")}
MARKERS = re.compile(r"^    \"(\w+):", re.MULTILINE)


def commands(script: str) -> list[list[str]]:
    """The words of each command of a shell's script, without what it is piped to."""
    return [shlex.split(part.split(" | ")[0], comments=True) for line in script.splitlines() for part in line.split(" && ")]


def assert_exists(words: list[str], installed: set[str]) -> None:
    """What the words of a command name is there; installed: the packages that were named to pip before."""
    program, *rest = words
    if program == "autoresearch":
        assert_taken(rest)
    elif program == "python" and rest[0] == "-m":
        assert rest[1] in installed or importlib.util.find_spec(rest[1]), words
        if rest[1] == "tests.check":
            assert {word for word in rest[2:] if word != "--fix"} <= {*check.CHECKS}, words
    elif program in ("python", ".ci/run"):
        assert (ROOT / (rest[0] if rest else program)).is_file(), words
    elif program == "pytest":
        markers = MARKERS.findall((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        assert {*re.findall(r"\w+", rest[rest.index("-m") + 1])} <= {*markers, "not", "and"}, words
    else:
        assert program in ("pip", "sudo", "test", "mkdir", "log"), f"say here how {program} is seen to exist"


def assert_taken(words: list[str]) -> None:
    """The command line takes these words: it parses them, and runs nothing."""
    command: click.Command | None = cli.cli
    while isinstance(command, click.Group):
        name, *words = words
        command = command.get_command(click.Context(command), name)
        assert command is not None, name
    try:
        command.make_context("autoresearch", words)
    except click.ClickException as error:
        raise AssertionError(f"{command.name} {words}: {error.format_message()}") from error


@pytest.mark.parametrize("job", JOBS)
def test_every_command_of_a_job_exists(job, monkeypatch):
    variables = {
        "BACKEND": "null",
        "PROFILE": "null",
        "RUNNER_TEMP": "temp",
        "KIND": "whl",
        "GITHUB_REF_NAME": "v1",
        "SANDBOX": "none",
    }
    installed = set()
    for step in JOBS[job]["steps"]:
        script = re.sub(r"\$\{?(\w+)[^\s\"}]*\}?", lambda found: variables[found[1]], step.get("run", ""))
        for words in commands(script):
            assert_exists(words, installed)
            if "install" in words:
                installed |= {*words[words.index("install") + 1 :]}


@pytest.mark.parametrize("job", JOBS)
def test_a_job_ends_runs_actions_of_one_commit_and_leaves_no_key_behind(job):
    assert JOBS[job]["timeout-minutes"] <= 120
    for step in JOBS[job]["steps"]:
        if action := step.get("uses"):
            assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action)
            assert "checkout" not in action or step["with"]["persist-credentials"] is False
        assert "${{" not in step.get("run", ""), "an expression in a script is code that others may write: give it as a variable"


def test_only_publishing_has_a_right_beyond_reading():
    assert all(workflow["permissions"] == {"contents": "read"} for workflow in WORKFLOWS.values())
    rights = {name: job["permissions"] for name, job in JOBS.items() if "permissions" in job}
    assert rights == {"release.yml publish": {"id-token": "write"}}
    assert JOBS["release.yml publish"]["environment"] and JOBS["release.yml publish"]["needs"] == "try"


def test_each_system_has_the_checks_and_a_study():
    matrix = WORKFLOWS["checks.yml"]["jobs"]["study"]["strategy"]["matrix"]["include"]
    systems = ["ubuntu-latest", "${{ inputs.mac || 'macos-15' }}", "windows-latest"]
    assert WORKFLOWS["checks.yml"]["jobs"]["quick"]["strategy"]["matrix"]["os"] == systems
    assert {row["os"] for row in matrix} == {*systems}
    for row in matrix:
        assert (ROOT / "backends" / row["backend"] / "backend.toml").is_file()
        assert (ROOT / "profiles" / f"{row['profile']}.toml").is_file()


@pytest.mark.parametrize("job", [name for name, job in JOBS.items() if "windows" in str(job.get("strategy"))])
def test_where_there_is_no_sandbox_a_study_is_told_to_do_without(job):
    runs = [words for step in JOBS[job]["steps"] for words in commands(step.get("run", "")) if words[:2] == ["autoresearch", "run"]]
    assert all(words[words.index("--sandbox") + 1] == "$SANDBOX" for words in runs)
    assert not runs or JOBS[job]["env"]["SANDBOX"].startswith("${{ matrix.os == 'windows-latest' && 'none' ||")


def test_what_pre_commit_runs_exists():
    assert {hook["language"] for hook in HOOKS} == {"system"}, "nothing to download, and CI's versions"
    for hook in HOOKS:
        assert_exists(shlex.split(hook["entry"]), set())


@pytest.mark.parametrize("form", FORMS)
def test_each_answer_of_a_form_has_a_name_of_its_own(form):
    asked = [part["id"] for part in FORMS[form]["body"] if part["type"] != "markdown"]
    assert asked and len({*asked}) == len(asked)


def test_what_forms_and_the_template_tell_one_to_type_exists():
    files = [*ROOT.glob(".github/ISSUE_TEMPLATE/*.yml"), ROOT / ".github" / "pull_request_template.md"]
    texts = [file.read_text(encoding="utf-8") for file in files]
    typed = [said for text in texts for said in re.findall(r"`(autoresearch [^`]+|python -m [^`]+)`", text)]
    assert len(typed) > len(files)
    for command in typed:
        assert_exists(command.split(), set())
