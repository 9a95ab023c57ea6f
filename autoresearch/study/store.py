"""The workspace's git repository: every proposal a commit that stays findable, the branch always the best.

The text of a study is its train.py, or the files that its study.toml names, as one text (bundle.py): in a commit, in the index and
in the work tree they lie at their own paths, and here alone one is made of the other.

Promises: nothing of the user's is lost (the text in the work tree is only overwritten when it is a text of the study, a
commit of the user's on the branch keeps a ref); no reset, no clean, no `add .`, no push; the user's index, other branches and
settings stay as they are; what is written is synced before the call returns. All of it can be made again from the ledger and
the objects, in any order: `update` may be called at any time and ends in the same state.

    refs/heads/autoresearch/<tag>       the best
    refs/autoresearch/<tag>/<n>         experiment n; <n>-<id>: an earlier one of that number
    refs/autoresearch/<tag>/rejected-<k>  the k-th proposal that failed before its training
    refs/autoresearch/<tag>/yours-<id>  commits of the user's that stood on the branch when it had to move elsewhere

A ref is a file, until there are LOOSE: then git's packed-refs takes them in, as with `git gc`. The files of 100,000 experiments
would take seconds to look through, and libgit2 takes minutes to pack so many at once (docs/design/scale.md).
"""

import contextlib
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pygit2
from pygit2.enums import FileMode, RepositoryOpenFlag

from autoresearch import durable
from autoresearch.bundle import SINGLE
from autoresearch.study.commits import content_of, data_of, layout_at, settle
from autoresearch.study.work_tree import layout_of, put_work_tree, work_tree_bytes

LOOSE = 500  # chosen: packing so many takes a tenth of a second


class Store:
    """The repository in `folder/.git`, opened for one study. Make one only while the study's lock is held."""

    def __init__(self, folder: Path, tag: str):
        self.folder = folder
        self.tag = tag
        self.branch = f"refs/heads/autoresearch/{tag}"
        settle()
        self._git = folder / ".git"
        _remove_leftovers(self._git)
        # NO_SEARCH: the workspace's own repository, never one that the workspace happens to lie in.
        self._repo = pygit2.Repository(str(folder), RepositoryOpenFlag.NO_SEARCH)
        self._loose = sum(1 for _ in (self._git / self.ref_name("")).glob("*"))

    @classmethod
    def create(cls, folder: Path, tag: str, files: dict[str, bytes]) -> "Store":
        """A new repository whose branch holds one commit with files. When it is cut short, what it left is to be removed."""
        settle()
        durable.step("git", folder / ".git")
        pygit2.init_repository(str(folder), initial_head=f"autoresearch/{tag}")
        store = cls(folder, tag)
        commit = store._commit("Start of the study", store._tree(pygit2.Index(), files), [])
        with store._changed_index() as index:
            index.read_tree(store._repo[commit].tree)
        store._sync_new_repository()
        store._point(store.branch, commit)  # last: where the branch is, everything is
        return store

    @property
    def tip(self) -> str | None:
        """The commit that the branch points at; None when somebody deleted the branch, or it points at nothing that is there."""
        reference = self._repo.references.get(self.branch)
        return str(reference.target) if reference is not None and reference.target in self._repo else None

    @property
    def first(self) -> str | None:
        """The commit that the branch began with."""
        tip = self.tip
        return None if tip is None else str(list(self._repo.walk(pygit2.Oid(hex=tip)))[-1].id)

    def text(self, commit: str) -> str:
        """The text of a commit. KeyError when it has none."""
        return content_of(self._repo, commit).decode("utf-8")

    def blob(self, commit: str | pygit2.Oid) -> str | None:
        """What git calls a commit's text; None when a commit of the user's has none."""
        tree = self._repo[commit].tree
        if not layout_at(self._repo, tree).patterns:
            return str(tree[SINGLE].id) if SINGLE in tree else None
        try:
            return str(pygit2.hash(content_of(self._repo, commit)))
        except (KeyError, ValueError):
            return None

    def is_users_edit(self, blobs: set[str]) -> bool:
        """Whether the text in the folder is one of the user's own: neither one of blobs nor one of the branch's."""
        content = work_tree_bytes(self.folder)
        return content is not None and not self._is_stored(str(pygit2.hash(content)), blobs)

    def propose(self, base: str, text: str, message: str) -> tuple[str, str]:
        """(commit, blob) of a child of base with another text. No ref points at it yet."""
        content, tree = text.encode("utf-8"), self._repo[base].tree
        layout, index = layout_at(self._repo, tree), pygit2.Index()
        index.read_tree(tree)
        files = layout.files(content)
        for path in [entry.path for entry in index if layout.takes(entry.path) and entry.path not in files]:
            index.remove(path)
        return self._commit(message, self._tree(index, files), [pygit2.Oid(hex=base)]), str(pygit2.hash(content))

    def merge(self, base: str, edited: str, onto: str) -> str | None:
        """`merged`, in the study's repository."""
        return merged(self._repo, base, edited, onto)

    def ref_name(self, number: int | str) -> str:
        return f"refs/autoresearch/{self.tag}/{number}"

    def name(self, number: int | str, commit: str) -> None:
        """Give experiment `number` its ref. A commit that had it (a baseline that failed, a ledger cut by hand) keeps another."""
        known = self._repo.references.get(self.ref_name(number))
        if known is not None and str(known.target) == commit:
            return
        if known is not None:
            self._point(self.ref_name(f"{number}-{str(known.target)[:10]}"), str(known.target))
        self._point(self.ref_name(number), commit)

    def named(self) -> dict[str, str]:
        """Every ref of the study below its tag -> its commit, in one pass: thousands of them take milliseconds."""
        prefix = self.ref_name("")
        refs = (ref for ref in self._repo.references.iterator() if ref.name.startswith(prefix))
        return {ref.name.removeprefix(prefix): str(ref.target) for ref in refs}

    def rename(self, number: int | str, name: str) -> None:
        """Another name for an experiment's ref, in place of its own."""
        if (known := self._repo.references.get(self.ref_name(number))) is not None:
            self._point(self.ref_name(name), str(known.target))
            durable.step("git", self._git / known.name)
            self._repo.references.delete(known.name)

    def has(self, commit: str) -> bool:
        try:
            return commit in self._repo
        except (ValueError, pygit2.GitError):  # not an id of git's
            return False

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
        content = content_of(self._repo, best)
        self._update_index(content, blobs)
        if not self.is_users_edit(blobs) and work_tree_bytes(self.folder) != content:
            put_work_tree(self.folder, content)
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
        durable.step("git", self.branch)
        # Fails when the branch moved since it was read: libgit2 writes the new value only over that one.
        self._repo.references[self.branch].set_target(pygit2.Oid(hex=target), "autoresearch: the best")
        return notes

    def _is_named(self, commit: str) -> bool:
        return commit in self.named().values()

    def _update_index(self, content: bytes, blobs: set[str]) -> None:
        """Only the text's lines, and only when the user has not staged a text of his own."""
        index, layout = self._read_index(), layout_of(self.folder)
        lines = {entry.path: entry.id for entry in index if layout.takes(entry.path)}
        staged = layout.text({path: data_of(self._repo, line) for path, line in lines.items()})
        if staged == content or (staged is not None and not self._is_stored(str(pygit2.hash(staged)), blobs)):
            return
        files = layout.files(content)
        with self._changed_index() as index:
            for path in lines.keys() - files.keys():
                index.remove(path)
            for path, own in files.items():
                index.add(pygit2.IndexEntry(path, pygit2.hash(own), FileMode.BLOB))

    def _sync_new_repository(self) -> None:
        """What libgit2 does not sync by itself: the files and folders that it makes a repository of."""
        objects = self._git / "objects"
        for path in sorted(self._git.rglob("*")):
            if path.is_file() and not path.is_relative_to(objects):
                durable.sync_path(path)
            elif path.is_dir() and path.parent != objects:
                durable.sync_folder(path)
        durable.sync_folder(self._git)
        durable.sync_folder(self.folder)

    def _read_index(self) -> pygit2.Index:
        """git does not sync its index either, so a power loss may damage it: it is set aside and made again of the branch."""
        try:
            self._repo.index.read()
        except pygit2.GitError:
            durable.replace(self._git / "index", self._git / "index.damaged")
            with self._changed_index() as new:
                tip = self.tip
                assert tip is not None, "`update` has moved the branch to the best"
                new.read_tree(self._repo[tip].tree)
            self._repo.index.read()
        index: pygit2.Index = self._repo.index
        return index

    def _is_stored(self, blob: str, blobs: set[str]) -> bool:
        """Whether a text can be found again in the study's commits."""
        tip = self.tip
        own = () if tip is None else self._repo.walk(pygit2.Oid(hex=tip))
        if blob in blobs or any(blob == self.blob(commit.id) for commit in own):
            return True
        # Experiments that a repaired ledger does not know any more still have their refs.
        refs = (ref for ref in self._repo.references.iterator() if ref.name.startswith(self.ref_name("")))
        return any(blob == self.blob(ref.target) for ref in refs if not ref.name.startswith(self.ref_name("yours-")))

    # What is written. libgit2 syncs files and the folder that a file is in, but no folder after making one in it: those are
    # made here, each time, since `git gc` removes the empty ones.

    def _blob(self, content: bytes) -> pygit2.Oid:
        objects = self._git / "objects"
        missing = [folder for number in range(256) if not (folder := objects / f"{number:02x}").is_dir()]
        for folder in missing:
            folder.mkdir(exist_ok=True)
        if missing:
            durable.sync_folder(objects)
        durable.step("git", objects / "blob")
        return self._repo.create_blob(content)

    def _tree(self, index: pygit2.Index, files: dict[str, bytes]) -> pygit2.Oid:
        """Of the index, in memory, with these files in it."""
        for path, content in files.items():
            index.add(pygit2.IndexEntry(path, self._blob(content), FileMode.BLOB))
        durable.step("git", self._git / "objects" / "tree")
        return index.write_tree(self._repo)

    def _commit(self, message: str, tree: pygit2.Oid, parents: list[pygit2.Oid]) -> str:
        # A signature of our own: a machine without a git identity can run a study.
        author = pygit2.Signature("autoresearch", "autoresearch@localhost", int(time.time()), 0)
        durable.step("git", self._git / "objects" / "commit")
        return str(self._repo.create_commit(None, author, author, message, tree, parents))

    def _point(self, name: str, commit: str) -> None:
        known = self._repo.references.get(name)
        if known is None or str(known.target) != commit:
            durable.make_folder((self._git / name).parent)
            durable.step("git", self._git / name)
            self._repo.references.create(name, pygit2.Oid(hex=commit), force=True)
            self._loose += 1
        if self._loose >= LOOSE:
            self._loose = 0
            durable.step("git", self._git / "packed-refs")
            with contextlib.suppress(pygit2.GitError, OSError):  # another git has the lock, or a ref is damaged: the next time
                self._repo.references.compress()

    @contextlib.contextmanager
    def _changed_index(self) -> Iterator[pygit2.Index]:
        """The index, to be changed inside. libgit2 never syncs one: it makes the bytes, and we write them, under git's lock."""
        path, lock, draft = (self._git / name for name in ("index", "index.lock", "index.autoresearch"))
        _create(lock)
        try:
            if path.exists():
                draft.write_bytes(path.read_bytes())
            index = pygit2.Index(str(draft))
            yield index
            index.write()
            durable.write(lock, draft.read_bytes())
            durable.replace(lock, path)
        finally:
            for leftover in (lock, draft):
                durable.patiently(partial(leftover.unlink, missing_ok=True))


def merged(repo: pygit2.Repository, base: str, edited: str, onto: str) -> str | None:
    """The edit from base to edited, made on another text as `git merge` would; None when they touch the same lines."""
    if base == onto:
        return edited
    texts = (base, onto, edited)
    ancestor, ours, theirs = (pygit2.IndexEntry(SINGLE, repo.create_blob(text.encode("utf-8")), FileMode.BLOB) for text in texts)
    found = repo.merge_file_from_index(ancestor, ours, theirs, use_deprecated=False)
    return found.contents if found.automergeable else None


def _create(lock: Path) -> None:
    """Make git's lock file; an editor's `git status` holds it for a moment."""
    for attempt in range(20):
        try:
            durable.step("open", lock)
            return lock.touch(exist_ok=False)
        except FileExistsError:
            if attempt == 19:
                raise
            time.sleep(0.05)


def _remove_leftovers(git: Path) -> None:
    """What a killed process left: locks that nobody holds any more, and half-written files and objects."""
    for folder, pattern in ((git, "*.lock"), (git / "objects", "tmp_object_git2_*")):
        for path in folder.glob(pattern):
            durable.remove(path)
    for path in (git / "refs").rglob("*.lock"):
        durable.remove(path)
    durable.remove(git / "index.autoresearch")
    durable.remove_leftovers(git)
