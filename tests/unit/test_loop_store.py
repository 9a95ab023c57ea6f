"""The study's repository, with real git: what moves, what stays, and what is never lost."""

import os
import shutil
import subprocess

import pytest

from autoresearch.study import store as store_module
from autoresearch.study.store import Store
from autoresearch.study.work_tree import work_tree_text

FILES = {"train.py": b"X = 1\n", "program.md": b"Improve.\n"}


def git(folder, *arguments):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    identity = ["-c", "user.name=U", "-c", "user.email=u@example.org", "-c", "safe.directory=*"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.rstrip("\n")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A workspace inside another repository, on a machine without a git identity, called from inside a git hook."""
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other.git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "other.index"))
    folder = tmp_path / "study"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def store(folder):
    return Store.create(folder, "t", FILES)


def propose(store, text, number=None):
    commit, blob = store.propose(store.tip, text, f"try {text!r}")
    if number is not None:
        store.name(number, commit)
    return commit, {store.blob(store.tip), blob}


def test_a_new_study_is_one_commit_on_its_own_branch(folder, store):
    assert git(folder, "status", "--porcelain", "--branch") == "## autoresearch/t"
    assert git(folder, "log", "--format=%an %s") == "autoresearch Start of the study"
    assert git(folder, "fsck", "--strict") == ""
    assert store.text(store.tip) == work_tree_text(folder) == "X = 1\n"
    assert len([path for path in (folder / ".git" / "objects").iterdir() if len(path.name) == 2]) == 256
    assert not (folder.parent / "other.git").exists()


def test_a_proposal_touches_neither_branch_nor_index_nor_work_tree(folder, store):
    before = store.tip
    commit, _ = propose(store, "X = 2\n", 1)
    assert store.tip == before and git(folder, "status", "--porcelain") == ""
    assert git(folder, "rev-parse", "refs/autoresearch/t/1") == commit
    assert git(folder, "diff", "--stat", before, commit).endswith("1 insertion(+), 1 deletion(-)")


def test_a_keep_moves_branch_index_and_work_tree(folder, store):
    commit, blobs = propose(store, "X = 2\n", 1)
    assert store.update(commit, blobs) == []
    assert git(folder, "status", "--porcelain", "--branch") == "## autoresearch/t"
    assert git(folder, "rev-parse", "HEAD") == commit
    assert (folder / "train.py").read_bytes() == b"X = 2\n"
    assert (folder / "program.md").read_bytes() == FILES["program.md"]


def test_the_users_edit_of_train_py_is_left_alone(folder, store):
    commit, blobs = propose(store, "X = 2\n", 1)
    (folder / "train.py").write_bytes(b"X = 'mine'\n")
    assert store.update(commit, blobs) == [] and store.is_users_edit(blobs)
    assert (folder / "train.py").read_bytes() == b"X = 'mine'\n"
    assert git(folder, "status", "--porcelain") == " M train.py"


def test_what_the_user_staged_stays_staged(folder, store):
    commit, blobs = propose(store, "X = 2\n", 1)
    (folder / "notes.md").write_text("mine", encoding="utf-8")
    git(folder, "add", "notes.md")
    store.update(commit, blobs)
    assert git(folder, "status", "--porcelain") == "A  notes.md"


def test_a_commit_of_the_users_that_changes_train_py_keeps_a_ref(folder, store):
    commit, blobs = propose(store, "X = 2\n", 1)
    (folder / "train.py").write_bytes(b"X = 'mine'\n")
    git(folder, "commit", "-qam", "mine")
    mine = git(folder, "rev-parse", "HEAD")
    notes = store.update(commit, blobs)
    assert store.tip == commit
    assert git(folder, "rev-parse", f"refs/autoresearch/t/yours-{mine[:10]}") == mine and mine[:10] in notes[0]
    assert (folder / "train.py").read_bytes() == b"X = 'mine'\n"


def test_a_commit_of_the_users_beside_train_py_becomes_the_base(folder, store):
    best, blobs = store.tip, {store.blob(store.tip)}
    (folder / "program.md").write_text("Improve more.\n", encoding="utf-8")
    git(folder, "commit", "-qam", "instructions")
    assert store.update(best, blobs) == []
    assert store.base(best) == store.tip == git(folder, "rev-parse", "HEAD") != best
    commit, blobs = propose(store, "X = 2\n", 1)
    store.update(commit, blobs)
    assert (folder / "program.md").read_text(encoding="utf-8") == "Improve more.\n"
    assert git(folder, "status", "--porcelain") == ""


def test_another_branch_that_is_checked_out_is_left_alone(folder, store):
    commit, blobs = propose(store, "X = 2\n", 1)
    git(folder, "switch", "-qc", "elsewhere")
    notes = store.update(commit, blobs)
    assert "git switch autoresearch/t" in notes[0]
    assert store.tip == commit and git(folder, "symbolic-ref", "HEAD") == "refs/heads/elsewhere"
    assert (folder / "train.py").read_bytes() == b"X = 1\n" and git(folder, "status", "--porcelain") == ""


def test_refs_branch_and_work_tree_are_made_again(folder, store):
    commit, blobs = propose(store, "X = 2\n")
    store.update(commit, blobs)
    shutil.rmtree(folder / ".git" / "refs" / "heads" / "autoresearch")
    (folder / "train.py").unlink()
    again = Store(folder, "t")
    again.name(1, commit)
    assert again.update(commit, blobs) == []
    assert git(folder, "rev-parse", "HEAD") == git(folder, "rev-parse", "refs/autoresearch/t/1") == commit
    assert git(folder, "status", "--porcelain") == ""


def test_what_a_killed_process_left_is_removed(folder, store):
    left = [".git/index.lock", ".git/refs/heads/autoresearch/t.lock", ".git/objects/tmp_object_git2_x1"]
    for name in left:
        (folder / name).write_bytes(b"")
    commit, blobs = propose(Store(folder, "t"), "X = 2\n", 1)
    assert not any((folder / name).exists() for name in left)
    store.update(commit, blobs)
    assert git(folder, "status", "--porcelain") == ""


def test_a_number_that_is_given_again_loses_no_commit(folder, store):
    first, _ = propose(store, "X = 2\n", 1)
    second, _ = propose(store, "X = 3\n", 1)
    assert git(folder, "rev-parse", "refs/autoresearch/t/1") == second
    assert git(folder, "rev-parse", f"refs/autoresearch/t/1-{first[:10]}") == first


def test_refs_are_packed_before_there_are_thousands_of_files(folder, store, monkeypatch):
    monkeypatch.setattr(store_module, "LOOSE", 10)
    place = folder / ".git" / "refs" / "autoresearch" / "t"
    commits = {}
    for number in range(25):
        commits[str(number)], _ = propose(store, f"X = {number}\n", number)
        assert len(list(place.glob("*"))) < 10
    assert Store(folder, "t").named() == store.named() == commits
    assert git(folder, "rev-parse", "refs/autoresearch/t/3") == commits["3"]
    lock = folder / ".git" / "packed-refs.lock"  # in the hands of somebody's git
    lock.touch()
    for number in range(25, 35):
        commits[str(number)], _ = propose(store, f"X = {number}\n", number)
    assert store.named() == commits and len(list(place.glob("*"))) > 10
    lock.unlink()
    assert git(folder, "fsck", "--strict") == ""


def test_a_users_commit_without_train_py_keeps_a_ref(folder, store):
    best, blobs = store.tip, {store.blob(store.tip)}
    git(folder, "rm", "-q", "train.py")
    git(folder, "commit", "-qm", "gone")
    assert "is kept as" in store.update(best, blobs)[0]
    assert store.tip == best and git(folder, "status", "--porcelain") == ""


@pytest.mark.parametrize("left", [b"", b"DIRC" + bytes(60), None])
def test_an_index_that_a_power_loss_damaged_is_set_aside_and_made_again(folder, store, left):
    """git does not sync its index, and the user's git writes it too."""
    path = folder / ".git" / "index"
    path.write_bytes(path.read_bytes()[:40] if left is None else left)
    damaged = path.read_bytes()
    store = Store(folder, "t")
    commit, blobs = propose(store, "X = 2\n", 1)
    store.update(commit, blobs)
    assert git(folder, "status", "--porcelain") == "" and git(folder, "rev-parse", "HEAD") == commit
    assert (folder / ".git" / "index.damaged").read_bytes() == damaged
