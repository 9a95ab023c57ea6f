"""What a study's commits hold, for readers beside it: whoever reads here moves no ref, and needs no lock."""

import re
from collections.abc import Callable
from pathlib import Path

import pygit2
from pygit2.enums import RepositoryOpenFlag

from autoresearch.bundle import SINGLE, Layout
from autoresearch.errors import StoredStateError
from autoresearch.paths import typed
from autoresearch.study.work_tree import STUDY, layout_in
from autoresearch.text import unified_diff


def check_ledger(folder: Path, tag: str, events: Path, is_empty: bool) -> None:
    """StoredStateError where a ledger says nothing and git knows experiments: it was lost, and this is no new study."""
    if not is_empty or any(events.parent.glob("events.damaged-*.jsonl")):  # cut by `repair`, knowingly
        return
    if known := numbered(folder, tag):
        raise StoredStateError(
            f"{events} is empty or gone, and git has {len(known)} experiments of the study {tag}; put a copy of it back, or"
            f" `autoresearch repair --workspace {typed(folder)}` begins it anew from the study's best"
        )


def numbered(folder: Path, tag: str) -> dict[int, str]:
    """The experiments that have a ref: number -> commit. None where there is no repository: whoever opens it says so."""
    prefix = f"refs/autoresearch/{tag}/"
    try:
        refs = list(reader(folder).references.iterator())
    except pygit2.GitError:
        return {}
    commits = {}
    for ref in refs:
        name = ref.name.removeprefix(prefix)
        if ref.name != name and re.fullmatch(r"0|[1-9][0-9]{0,8}", name) and isinstance(ref.target, pygit2.Oid):
            commits[int(name)] = str(ref.target)
    return commits


def message(folder: Path, commit: str) -> str:
    """A commit's message."""
    stored = reader(folder).get(commit)
    return stored.raw_message.decode("utf-8", "replace") if isinstance(stored, pygit2.Commit) else ""


def head_file(folder: Path, name: str) -> bytes | None:
    """A file as it stands in the commit that is checked out in folder's own repository, or None."""
    try:
        repo = reader(folder)
        return _file(repo, repo.head.target, name)
    except (pygit2.GitError, KeyError):  # no repository, no commit yet, no such file
        return None


def head_text(folder: Path) -> str:
    """The text of the commit that is checked out."""
    repo = reader(folder)
    return content_of(repo, repo.head.target).decode("utf-8")


def text_of(folder: Path, commit: str) -> str:
    """The text of a commit, for readers beside a running study."""
    return texts(folder)(commit)


def texts(folder: Path) -> Callable[[str], str]:
    """`text_of` for many commits: the repository is opened once."""
    repo = reader(folder)
    return lambda commit: content_of(repo, commit).decode("utf-8")


def diff(folder: Path, before: str, after: str) -> str:
    """What changed in the text between two commits, as a patch."""
    repo = reader(folder)
    old, new = (files_of(repo, commit) for commit in (before, after))
    names = [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
    return "".join(
        unified_diff(_shown(old, name), _shown(new, name), f"{name} {before[:7]}", f"{name} {after[:7]}") for name in names
    )


def _shown(files: dict[str, bytes], name: str) -> str:
    return files.get(name, b"").decode("utf-8")


def files_of(repo: pygit2.Repository, commit: str | pygit2.Oid) -> dict[str, bytes]:
    """The files of a commit's text. KeyError when it has none."""
    holder = repo[commit]
    if not isinstance(holder, pygit2.Commit):
        raise KeyError(str(commit))
    layout = layout_at(repo, holder.tree)
    if not layout.patterns:
        return {SINGLE: _file(repo, commit, SINGLE)}
    index = pygit2.Index()
    index.read_tree(holder.tree)
    files = {entry.path: data_of(repo, entry.id) for entry in index if layout.takes(entry.path)}
    if not files:
        raise KeyError(" ".join(layout.patterns))
    return files


def content_of(repo: pygit2.Repository, commit: str | pygit2.Oid) -> bytes:
    holder = repo[commit]
    text = layout_at(repo, holder.tree).text(files_of(repo, commit)) if isinstance(holder, pygit2.Commit) else None
    if text is None:
        raise KeyError(str(commit))
    return text


def data_of(repo: pygit2.Repository, blob: pygit2.Oid) -> bytes:
    holder = repo[blob]
    assert isinstance(holder, pygit2.Blob), "an index has nothing else that a layout takes"
    return holder.data


def layout_at(repo: pygit2.Repository, tree: pygit2.Tree) -> Layout:
    return layout_in(data_of(repo, tree[STUDY].id)) if STUDY in tree else Layout()


def _file(repo: pygit2.Repository, commit: str | pygit2.Oid, name: str) -> bytes:
    """A file as it stands in a commit. KeyError when there is none, or a folder of that name."""
    holder = repo[commit]
    blob = holder.tree[name] if isinstance(holder, pygit2.Commit) else None
    if not isinstance(blob, pygit2.Blob):
        raise KeyError(name)
    return blob.data


def reader(folder: Path) -> pygit2.Repository:
    """The workspace's own repository, beside a running study: for who moves none of its refs."""
    settle()
    return pygit2.Repository(str(folder), RepositoryOpenFlag.NO_SEARCH)


def settle() -> None:
    """libgit2 syncs nothing by default. A workspace on a mounted or shared disk may belong to another user id: it is still ours."""
    pygit2.settings.enable_fsync_gitdir(True)
    pygit2.settings.owner_validation = False
