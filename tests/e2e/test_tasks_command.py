"""`autoresearch tasks`: the list, a beginning, and the check's statuses. What the check finds: tests/conformance/test_tasks.py."""

import json

import pytest

from autoresearch.task import table


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package that brings a task whose task.toml is no good."""
    folder = tmp_path / "site" / "guessing" / "guess"
    folder.mkdir(parents=True)
    (folder / "task.toml").write_text('title = "Guess"\nwings = 2\n[metric]\nname = "luck"\n', encoding="utf-8")
    (folder.parent / "__init__.py").touch()
    about = tmp_path / "site" / "guessing-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Name: guessing\nVersion: 1\n", encoding="utf-8")
    (about / "entry_points.txt").write_text(f"[{table.ENTRY_POINT_GROUP}]\nguess = guessing.guess\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))


def test_each_task_is_listed_with_its_metric_and_a_broken_one_with_its_problem(installed, typed):
    status, out, _ = typed("tasks")
    assert status == 0
    assert "val_bpb (bits per byte), lower is better; scored by answers, audit: causal" in out
    assert "to do: task.toml: unknown key 'wings'" in out
    status, out, _ = typed("tasks", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert rows["guess"]["problem"] and rows["pretrain"]["problem"] is None
    assert rows["pretrain"]["metric"] == {"name": "val_bpb", "unit": "bits per byte", "direction": "min"}


def test_a_broken_task_toml_is_status_1_and_nothing_else_is_tried(installed, typed):
    status, out, _ = typed("tasks", "check", "guess", "--json")
    assert status == 1
    first, *others = json.loads(out)
    assert first["result"] == "fail" and "'wings'" in first["detail"]
    assert {row["result"] for row in others} == {"n/a"}


def test_a_new_task_is_a_folder_that_is_named_and_never_written_over(tmp_path, typed, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, _ = typed("tasks", "new", "mine")
    assert status == 0 and f"autoresearch tasks check {tmp_path / 'mine'}" in out
    assert {path.name for path in (tmp_path / "mine").iterdir()} >= {"task.toml", "task.py", "torch", "program.md", "moves.toml"}
    (tmp_path / "mine" / "task.toml").write_text("mine", encoding="utf-8")
    status, _, complaint = typed("tasks", "new", "mine")
    assert status == 2 and "is there already; take another name" in complaint
    assert (tmp_path / "mine" / "task.toml").read_text(encoding="utf-8") == "mine"
    status, _, complaint = typed("tasks", "new", "My Task")
    assert status == 2 and "lower-case letters" in complaint


def test_an_unknown_name_is_status_2_and_names_the_nearest(typed):
    status, _, complaint = typed("tasks", "check", "pretrian")
    assert status == 2 and "did you mean pretrain?" in complaint


def test_a_folders_own_options_are_taken_and_asked_for(tmp_path, typed):
    typed("tasks", "new", "mine", "--folder", str(tmp_path))
    with (tmp_path / "mine" / "task.toml").open("a", encoding="utf-8") as manifest:
        manifest.write('[options.tilt]\nhelp = "Degrees."\nrequired = true\nchoices = ["23"]\n')
    status, _, complaint = typed("tasks", "check", str(tmp_path / "mine"))
    assert status == 2 and "needs --tilt: Degrees" in complaint
    status, _, complaint = typed("tasks", "check", str(tmp_path / "mine"), "--tilt", "5")
    assert status == 2 and "is none of 23" in complaint


def test_no_task_of_ours_is_broken(typed):
    _, out, _ = typed("tasks", "--json")
    assert [row["problem"] for row in json.loads(out) if row["problem"]] == []
