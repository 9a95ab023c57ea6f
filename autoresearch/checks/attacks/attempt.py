"""What an attempt is, and the list that the functions of this folder enter themselves into.

A function tries for real: it returns when it got through, with a word on how, and raises when it was refused. What it may aim at
is in `targets` (trial.py): files, processes and servers that are made for it.
"""

import ctypes
import errno
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict


class Targets(TypedDict):
    """Paths, but for the numbers; trial.py makes them."""

    ssh_key: str
    bashrc: str
    home: str
    val_tokens: str
    train_tokens: str
    compiled: str
    traced: str
    read_once: str
    study_train_py: str
    git_object: str
    ledger: str
    other_weights: str
    other_log: str
    movable: str
    run: str
    run_train_py: str
    shared_memory: str
    secret: str  # what they all hold
    harness: int  # process ids
    victim: int
    victim_fd: int
    victim_address: int
    tcp_port: int  # 0: there is no such server
    tcp6_port: int
    udp_port: int
    unix_path: str
    unix_datagram_path: str
    abstract_name: str


Try = Callable[[Targets], str]


@dataclass(frozen=True)
class Attempt:
    name: str
    title: str
    run: Try
    promised: int | None  # the level from which on it is refused; None: at no level
    landlock: int  # ... where the kernel's Landlock is at least that (at level 3 it is refused all the same)
    is_harmless: bool  # may be run without a sandbox
    ends_with_cell: bool  # without a sandbox it is refused too
    needs: str | None  # what of the system it needs to get through without a sandbox: root, x86_64


ALL: dict[str, Attempt] = {}


class Refused(Exception):
    """The attempt did not get what it wanted."""


def attempt(
    title: str, promised: int | None = 2, landlock: int = 1, harmless: bool = True, ends: bool = False, needs: str | None = None
) -> Callable[[Try], Try]:
    def enter(function: Try) -> Try:
        name = function.__name__
        assert name not in ALL
        ALL[name] = Attempt(name, title, function, promised, landlock, harmless, ends, needs)
        return function

    return enter


libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> int:
    """A system call by name; OSError when it is refused."""
    from autoresearch.sandbox.syscalls import number

    return numbered(number(name, platform.machine()), *arguments)


def numbered(number: int | None, *arguments: object) -> int:
    if number is None:
        raise OSError(errno.ENOSYS, "no such system call here")
    ctypes.set_errno(0)
    result: int = libc.syscall(
        ctypes.c_long(number), *(ctypes.c_long(value) if isinstance(value, int) else value for value in arguments)
    )
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def secret_in(content: bytes, targets: Targets) -> str:
    """Only what really holds the secret counts as read."""
    if str(targets["secret"]).encode() not in content:
        raise Refused("the secret is not in what was read")
    return "the secret was read"


def read(path: str | Path, targets: Targets) -> str:
    with open(path, "rb") as file:
        return secret_in(file.read(1 << 20), targets)


def opened_to_write(path: str | Path) -> str:
    """Open for writing and change nothing."""
    os.close(os.open(path, os.O_WRONLY))
    return f"{path} is open to write"


def made_and_removed(path: str | Path) -> str:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    os.unlink(path)
    return f"{path} was made"
