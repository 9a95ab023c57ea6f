"""How long a command leaves its terminal as it is: it runs in a pseudo-terminal, and the longest times in which nothing that can be
read on it changed are listed, with what was printed last and what came next. POSIX only.

    python benchmarks/silence.py [--until TEXT] [--longest N] -- autoresearch run --profile auto

A line that is drawn again as it was, a turning spinner and a bar's pulse are no change; a clock that counts is one. With --until,
the command is interrupted (Ctrl-C) once it has printed TEXT. A loaded machine makes gaps longer, never shorter. Exit status 1 where
one is longer than LIMIT_SECONDS. Results: docs/design/first-minutes.md.
"""

import argparse
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from dataclasses import dataclass

LIMIT_SECONDS = 2.0
_CODES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[()].|[\r\x00]")
_DRAWN = re.compile(r"[^\w.,:;%/+()'-]+")  # all but words and numbers: bars, frames, spinners
_ON_SCREEN = 60  # lines that were printed last, among which a redrawn one is none that is new


@dataclass(frozen=True)
class Gap:
    seconds: float
    at: float  # since the command's start
    before: str
    after: str


def watch(command: list[str], until: str | None, columns: int = 100) -> tuple[list[Gap], float, int]:
    """(gaps, the longest first; seconds in all; exit status)."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    child = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    start = last = time.monotonic()
    gaps: list[Gap] = []
    shown, asked = ["(nothing yet)"], False
    while True:
        if not select.select([master], [], [], 0.05)[0]:
            if child.poll() is not None:
                break
            continue
        try:
            data = os.read(master, 1 << 16)
        except OSError:  # Linux: the last who had it open is gone
            break
        if not data:
            break
        now, lines = time.monotonic(), _CODES.sub("", data.decode("utf-8", "replace")).split("\n")
        new = [line for line in (_DRAWN.sub(" ", line).strip() for line in lines) if line and line not in shown]
        if new:
            gaps.append(Gap(now - last, last - start, shown[-1], new[0]))
            last, shown = now, [*shown, *new][-_ON_SCREEN:]
        if until and not asked and any(until in line for line in new):
            asked = True
            for _ in range(2):
                child.send_signal(signal.SIGINT)
    gaps.append(Gap(time.monotonic() - last, last - start, shown[-1], "(its end)"))
    return sorted(gaps, key=lambda gap: -gap.seconds), time.monotonic() - start, child.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--until", metavar="TEXT")
    parser.add_argument("--longest", type=int, default=8, metavar="N")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    command = given.command[1:] if given.command[:1] == ["--"] else given.command
    gaps, seconds, status = watch(command, given.until)
    long = [gap.seconds for gap in gaps if gap.seconds > LIMIT_SECONDS]
    print(f"{seconds:.1f} s, exit status {status}; {len(long)} gaps above {LIMIT_SECONDS:g} s, {sum(long):.1f} s in all")
    for gap in gaps[: given.longest]:
        print(f"{gap.seconds:7.1f} s at {gap.at:6.1f} s  after  {gap.before[:100]}\n{'':22}then   {gap.after[:100]}")
    sys.exit(1 if long else 0)


if __name__ == "__main__":
    main()
