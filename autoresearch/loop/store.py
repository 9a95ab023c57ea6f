"""The workspace's git repository: every proposal a commit that stays findable, the branch always the best.

Promises: nothing of the user's is lost (train.py in the work tree is only overwritten when its text is a text of the study, a
commit of the user's on the branch keeps a ref); no reset, no clean, no `add .`, no push; the user's index, other branches and
settings stay as they are; what is written is synced before the call returns. All of it can be made again from the ledger and
the objects, in any order: `update` may be called at any time and ends in the same state.

    refs/heads/autoresearch/<tag>       the best
    refs/autoresearch/<tag>/<n>         experiment n; <n>-<id>: an earlier one of that number
    refs/autoresearch/<tag>/rejected-<k>  the k-th proposal that failed before its training
    refs/autoresearch/<tag>/yours-<id>  commits of the user's that stood on the branch when it had to move elsewhere
"""

import difflib
import time
from pathlib import Path

import pygit2
from pygit2.enums import FileMode, RepositoryOpenFlag

from autoresearch import durable

TRAIN_PY = "train.py"


class Store:
    """The repository in `folder/.git`, opened for one study. Make one only while the study's lock is held."""

    def __init__(self, folder: Path, tag: str):
        self.folder = folder
        self.tag = tag
        self.branch = f"refs/heads/autoresearch/{tag}"
        _settings()
        _remove_leftovers(folder / ".git")
        # NO_SEARCH: the workspace's own repository, never one that the workspace happens to lie in.
        self._repo = pygit2.Repository(str(folder), RepositoryOpenFlag.NO_SEARCH)

    @classmethod
    def create(cls, folder: Path, tag: str, files: dict[str, bytes]) -> "Store":
        """A new repository whose branch holds one commit with files. Called again after a kill, it begins anew."""
        _settings()
        pygit2.init_repository(str(folder), initial_head=f"autoresearch/{tag}")
        # libgit2 does not sync `objects/` after making a folder in it: made and synced once, here.
        objects = folder / ".git" / "objects"
        for number in range(256):
            (objects / f"{number:02x}").mkdir(exist_ok=True)
        for path in (objects, folder / ".git", folder):
            durable.sync_folder(path)
        store = cls(folder, tag)
        builder = store._repo.TreeBuilder()
        for name, content in files.items():
            builder.insert(name, store._repo.create_blob(content), FileMode.BLOB)
        commit = store._commit("Start of the study", builder.write(), [])
        store._repo.references.create(store.branch, commit, force=True)
        store._repo.set_head(store.branch)
        store._repo.index.read_tree(store._repo[commit].tree)
        store._repo.index.write()
        return store

    @property
    def tip(self) -> str | None:
        """The commit that the branch points at; None when somebody deleted the branch, or it points at nothing that is there."""
        reference = self._repo.references.get(self.branch)
        return str(reference.target) if reference is not None and reference.target in self._repo else None

    def text(self, commit: str) -> str:
        """The train.py of a commit."""
        return self._repo[commit].tree[TRAIN_PY].data.decode("utf-8")

    def blob(self, commit: str) -> str | None:
        """Git's id of a commit's train.py; None when a commit of the user's has none."""
        tree = self._repo[commit].tree
        return str(tree[TRAIN_PY].id) if TRAIN_PY in tree else None

    def is_users_edit(self, blobs: set[str]) -> bool:
        """Whether the train.py in the folder is a text of the user's own: neither one of blobs nor one of the branch's."""
        content = _work_tree_bytes(self.folder)
        return content is not None and not self._is_stored(str(pygit2.hash(content)), blobs)

    def propose(self, base: str, text: str, message: str) -> tuple[str, str]:
        """(commit, blob) of a child of base with another train.py. No ref points at it yet."""
        blob = self._repo.create_blob(text.encode("utf-8"))
        builder = self._repo.TreeBuilder(self._repo[base].tree)
        builder.insert(TRAIN_PY, blob, FileMode.BLOB)
        return str(self._commit(message, builder.write(), [pygit2.Oid(hex=base)])), str(blob)

    def merge(self, base: str, edited: str, onto: str) -> str | None:
        """The edit from base to edited, made on another text as `git merge` would; None when they touch the same lines."""
        if base == onto:
            return edited
        texts = (base, onto, edited)
        entries = [pygit2.IndexEntry(TRAIN_PY, self._repo.create_blob(text.encode("utf-8")), FileMode.BLOB) for text in texts]
        merged = self._repo.merge_file_from_index(*entries, use_deprecated=False)
        return merged.contents if merged.automergeable else None

    def ref_name(self, number: int | str) -> str:
        return f"refs/autoresearch/{self.tag}/{number}"

    def name(self, number: int | str, commit: str) -> None:
        """Give experiment `number` its ref. A commit that had it (a baseline that failed, a ledger cut by hand) keeps another."""
        known = self._repo.references.get(self.ref_name(number))
        if known is not None and str(known.target) != commit:
            self._point(self.ref_name(f"{number}-{str(known.target)[:10]}"), str(known.target))
        self._point(self.ref_name(number), commit)

    def has(self, commit: str) -> bool:
        return commit in self._repo

    def base(self, best: str) -> str:
        """The commit that proposals build on: the best, or what the user committed on top of it without changing train.py."""
        tip = self.tip
        if tip not in (None, best) and self._repo.descendant_of(tip, best) and self.blob(tip) == self.blob(best):
            return tip
        return best

    def update(self, best: str, blobs: set[str]) -> list[str]:
        """Bring branch, index and work tree to the best. blobs: every train.py of the study. Returns lines for the user."""
        notes = self._move_branch(self.base(best))
        if self._repo.references["HEAD"].target != self.branch:
            back = f"git switch {self.branch.removeprefix('refs/heads/')}"
            return [*notes, f"the workspace has another branch checked out: left alone; go back with `{back}`"]
        self._update_index(self.blob(best), blobs)
        content = self._repo[self.blob(best)].data
        if not self.is_users_edit(blobs) and _work_tree_bytes(self.folder) != content:
            durable.write(self.folder / TRAIN_PY, content)
        return notes

    def _move_branch(self, target: str) -> list[str]:
        tip = self.tip
        if tip == target:
            return []
        if tip is None:
            self._point(self.branch, target)
            return []
        notes = []
        if not self._repo.descendant_of(target, tip) and not self._is_named(tip):  # a best that was revoked has its own ref
            kept = self.ref_name(f"yours-{tip[:10]}")
            self._point(kept, tip)
            notes.append(f"the branch held a commit that the study did not make; the branch is at the best, that is kept as {kept}")
        # Fails when the branch moved since it was read: libgit2 writes the new value only over that one.
        self._repo.references[self.branch].set_target(pygit2.Oid(hex=target), "autoresearch: the best")
        return notes

    def _is_named(self, commit: str) -> bool:
        prefix = self.ref_name("")
        return any(str(self._repo.references[name].target) == commit for name in self._repo.references if name.startswith(prefix))

    def _update_index(self, blob: str, blobs: set[str]) -> None:
        """Only train.py's line, and only when the user has not staged a text of his own."""
        index = self._repo.index
        index.read()
        staged = str(index[TRAIN_PY].id) if TRAIN_PY in index else None
        if staged == blob or (staged is not None and not self._is_stored(staged, blobs)):
            return
        index.add(pygit2.IndexEntry(TRAIN_PY, pygit2.Oid(hex=blob), FileMode.BLOB))
        for attempt in range(20):
            try:
                return index.write()
            except (OSError, pygit2.GitError):  # an editor's `git status` holds index.lock for a moment
                if attempt == 19:
                    raise
                time.sleep(0.05)

    def _is_stored(self, blob: str, blobs: set[str]) -> bool:
        """Whether a text can be found again in the study's commits."""
        return blob in blobs or any(blob == self.blob(commit.id) for commit in self._repo.walk(pygit2.Oid(hex=self.tip)))

    def _point(self, name: str, commit: str) -> None:
        known = self._repo.references.get(name)
        if known is None or str(known.target) != commit:
            self._repo.references.create(name, pygit2.Oid(hex=commit), force=True)

    def _commit(self, message: str, tree, parents: list) -> pygit2.Oid:
        # A signature of our own: a machine without a git identity can run a study.
        author = pygit2.Signature("autoresearch", "autoresearch@localhost", int(time.time()), 0)
        return self._repo.create_commit(None, author, author, message, tree, parents)


def work_tree_text(folder: Path) -> str | None:
    """The train.py that lies in the folder, with LF at the line ends; None when it is gone or is not UTF-8."""
    content = _work_tree_bytes(folder)
    try:
        return None if content is None else content.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _work_tree_bytes(folder: Path) -> bytes | None:
    try:
        return (folder / TRAIN_PY).read_bytes().replace(b"\r\n", b"\n")
    except FileNotFoundError:
        return None


def _settings() -> None:
    """libgit2 syncs nothing by default. A workspace on a mounted or shared disk may belong to another user id: it is still ours."""
    pygit2.settings.enable_fsync_gitdir(True)
    pygit2.settings.owner_validation = False


def _remove_leftovers(git_folder: Path) -> None:
    """What a killed process left: locks that nobody holds any more, and half-written objects."""
    for pattern in ("*.lock", "tmp_object_git2_*"):
        for path in git_folder.rglob(pattern):
            path.unlink(missing_ok=True)


def head_file(folder: Path, name: str) -> bytes | None:
    """A file as it stands in the commit that is checked out in folder's own repository, or None."""
    try:
        repo = _reader(folder)
        return repo[repo.head.target].tree[name].data
    except (pygit2.GitError, KeyError):  # no repository, no commit yet, no such file
        return None


def text_of(folder: Path, commit: str) -> str:
    """The train.py of a commit, for readers beside a running study."""
    return _reader(folder)[commit].tree[TRAIN_PY].data.decode("utf-8")


def diff(folder: Path, before: str, after: str) -> str:
    """What changed in train.py between two commits, as a patch."""
    repo = _reader(folder)
    old, new = (repo[commit].tree[TRAIN_PY].data.decode("utf-8").splitlines(keepends=True) for commit in (before, after))
    return "".join(difflib.unified_diff(old, new, f"{TRAIN_PY} {before[:7]}", f"{TRAIN_PY} {after[:7]}"))


def _reader(folder: Path) -> pygit2.Repository:
    _settings()
    return pygit2.Repository(str(folder), RepositoryOpenFlag.NO_SEARCH)
