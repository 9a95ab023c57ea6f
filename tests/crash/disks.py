"""What a power loss may leave of a traced process's files, by the rules of POSIX and not those of a kind disk.

Only what was synced is sure: a file's bytes by fsync of the file, a name (made, renamed, removed) by fsync of its folder. Of the
rest any subset may be on the disk: a name without its bytes, zeros where bytes were to be, half of them, an earlier name.
Limits: bytes are appended or cut, never changed in the middle, which holds for all that the harness writes; a rename is atomic.
"""

import os
import random
import re
from dataclasses import dataclass, field
from pathlib import Path

TRACED = "openat,write,fsync,fdatasync,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,rmdir,ftruncate"
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"|(?:\d+|AT_FDCWD)<((?:\\x[0-9a-f]{2})*)>')
_CALL = re.compile(r"(\w+)\((.*)\)\s+= (\d+)")


UNSEEN = b"a worker's"  # what an untraced process wrote, until the harness syncs it under its last name


@dataclass
class Node:
    """A file. data: what a reader sees now; synced: what is sure to be on the disk, None before the first sync."""

    data: bytes = b""
    synced: bytes | None = None


@dataclass
class Folder:
    """now: what a reader sees; sure: what is on the disk; pending: changes since the last sync, [(name, node or None)] each."""

    now: dict[str, "Node | Folder"] = field(default_factory=dict)
    sure: dict[str, "Node | Folder"] = field(default_factory=dict)
    pending: list[list[tuple[str, "Node | Folder | None"]]] = field(default_factory=list)

    def change(self, *changes: tuple[str, "Node | Folder | None"]) -> None:
        for name, node in changes:
            if node is None:
                self.now.pop(name, None)
            else:
                self.now[name] = node
        self.pending.append(list(changes))

    def sync(self) -> None:
        self.sure, self.pending = dict(self.now), []


class Disk:
    """Follows a trace. `marks` is the number that was last written to the file of that name."""

    def __init__(self, before: Path, root: Path, marks: Path, workers: Path):
        """before: a copy of root as it was at first. workers: holds what the untraced processes wrote there, by the same names."""
        self._root, self._marks_path, self._workers = str(root), str(marks), workers
        self.root, self.marks = _read(before), 0

    def follow(self, line: str) -> bool:
        """Whether the line was a change in the root."""
        if not (match := _CALL.match(line)):
            return False
        call, arguments, _ = match.groups()
        texts = [bytes.fromhex((a or b).replace("\\x", "")) for a, b in _TEXT.findall(arguments)]
        if call == "write" and texts[0].decode(errors="replace") == self._marks_path:
            self.marks = int(texts[1])
            return False
        return self._apply(call, arguments, texts)

    def _apply(self, call: str, arguments: str, texts: list[bytes]) -> bool:
        paths = [text.decode(errors="replace") for text in texts]
        if call.endswith("at") or call == "renameat2":  # a folder's descriptor before each name
            paths = [os.path.join(paths[at], paths[at + 1]) for at in range(0, len(paths) - 1, 2)]
            call = call.removesuffix("2").removesuffix("at")
        if not (places := [self._place(path) for path in paths[: 2 if call in ("rename", "link") else 1]]) or None in places:
            return False
        (folder, name), *more = places
        match call:
            case "open":
                if "O_CREAT" in arguments and name not in folder.now:
                    folder.change((name, Node()))
                elif "O_TRUNC" in arguments and folder.now[name].data:
                    folder.now[name].data = b""
                else:
                    return False
            case "write":
                self._node(folder, name, paths[0]).data += texts[1]
            case "ftruncate":
                node, size = self._node(folder, name, paths[0]), int(arguments.rsplit(",", 1)[1])
                node.data = node.data[:size].ljust(size, b"\0")
            case "fsync" | "fdatasync":
                node = self.root if name == "" else self._node(folder, name, paths[0])
                if isinstance(node, Folder):
                    node.sync()
                else:
                    if node.data == UNSEEN and (known := self._copied(paths[0])).exists():
                        node.data = known.read_bytes()
                    node.synced = node.data
            case "mkdir":
                folder.change((name, Folder()))
            case "unlink" | "rmdir":
                folder.change((name, None))
            case "link":
                more[0][0].change((more[0][1], self._node(folder, name, paths[0])))
            case "rename":
                target, new_name = more[0]
                node = self._node(folder, name, paths[0])
                if target is folder:
                    folder.change((name, None), (new_name, node))
                else:
                    folder.change((name, None))
                    target.change((new_name, node))
            case _:
                return False
        return True

    def _place(self, path: str) -> tuple[Folder, str] | None:
        if path == self._root:
            return self.root, ""
        if not path.startswith(self._root + "/"):
            return None
        *folders, name = path[len(self._root) + 1 :].split("/")
        folder = self.root
        for one in folders:
            if one not in folder.now:  # made by a worker, which is not traced
                folder.change((one, Folder()))
            folder = folder.now[one]
        return folder, name

    def _node(self, folder: Folder, name: str, path: str) -> Node | Folder:
        if name not in folder.now:  # a worker's file
            known = self._copied(path)
            folder.change((name, Node(known.read_bytes() if known.exists() else UNSEEN)))
        return folder.now[name]

    def _copied(self, path: str) -> Path:
        return self._workers / os.path.relpath(path, self._root)

    def after_power_loss(self, target: Path, rng: random.Random, how: str) -> None:
        """Write a possible state. how: least (what is sure), most, mix; empty, zeros: all names, but not the bytes."""
        _lose(self.root, target, rng, how)


def _lose(folder: Folder, target: Path, rng: random.Random, how: str) -> None:
    target.mkdir()
    names = dict(folder.sure)
    for changes in folder.pending:
        if how != "least" and (how != "mix" or rng.random() < 0.5):
            for name, node in changes:
                if node is None:
                    names.pop(name, None)
                else:
                    names[name] = node
    for name, node in names.items():
        if isinstance(node, Folder):
            _lose(node, target / name, rng, how)
        else:
            (target / name).write_bytes(_bytes(node, rng, how))


def _bytes(node: Node, rng: random.Random, how: str) -> bytes:
    if node.data == node.synced or how == "most":
        return node.data
    sure = node.synced or b""
    if how in ("least", "empty"):
        return sure
    if not node.data.startswith(sure):  # cut since its sync
        return rng.choice([node.data, sure])
    new = len(node.data) - len(sure)
    if how == "zeros":
        return sure + bytes(new)
    half = rng.randint(0, new)
    there = node.data[: len(sure) + half]
    return rng.choice([sure, sure + bytes(new), there, there + bytes(new - half), node.data])


def _read(path: Path) -> Folder:
    """A folder as it lies there, all of it synced."""
    folder = Folder()
    for one in path.iterdir() if path.is_dir() else ():
        folder.now[one.name] = _read(one) if one.is_dir() else Node(*[one.read_bytes()] * 2)
    folder.sync()
    return folder
