"""The study's ledger, `.autoresearch/events.jsonl`: the one truth, from which everything else is drawn again.

Promises: a line that `append` returned for survives a power loss; a line carries a sequence number and a checksum of itself and
of the line before, so a line that was changed, lost, swapped, doubled or taken from another ledger is noticed; only the last line
can be torn (the write that a kill or a full disk cut short), and a torn line is set aside and cut, since nothing was built on it.
No event is written that does not say what events.py asks of it. state.py folds the lines; a line of an older version that says what
can't be is skipped there, and `status` tells so.

    study     tag, seed, decide                                          the first line
    workers   count                                                      so many runs may be under way at once from now on (before
                                                                         the first: one)
    limits    max_params, max_memory_gb, min_tok_s, limits (on others)    what the owner allows from now on, when it changes
    tried     commit, key, description                                    an experiment of a ledger that was lost (loop/rebuild.py)
    asked     agent, and the fields of Ask                                a request to a service: what it took and cost
    proposed  agent, commit, base, description, reasoning, cost_usd      an answer that came while something else trained
    rejected  n, description, reasoning, agent, cost_usd, reason, state, a proposal that was sent back; no experiment. With a commit
              commit, key, log                                           and a state (crash, oom, ...) when it failed before READY
    mix       share, wish, reason                                        who is to propose from now on, when it changes
    start     n, commit, parent, blob, key, description, reasoning, agent, cost_usd; with several workers base (which experiment
              it is an edit of, and judged against) and again (the rebased one whose edit it is; so in rejected)
    begin     n, k, seed, folder, conditions, sandbox, device_id, worker before the training of run k of experiment n; what slowed
                                                                         the machine (hardware/now/conditions.py); the cell's level;
                                                                         which of several devices (devices/cards.py)
    run       n, k, seed, folder, watched, and the fields of RunResult   its result. Of a kept n: the best, measured again.
                                                                         watched: what was seen meanwhile (validity.Watched); with
                                                                         a state the run was disturbed, and counts all the same
    lost      n, k, reason                                               its end without one; run k is done again, same seed
    invalid   n, k, seed, and the fields of validity.Watched             it trained, but the machine was disturbed (suspended,
                                                                         contended, throttled, slow): run k again, same seed
    speed     place (before|after a run), rate, median, state, reason,   a check of the machine's speed, in pieces of fixed work a
              taken, helpers, clock_mhz, wait_seconds                    second; state: steady, helped (our agent computed beside
                                                                         it), what was wrong, or normal (from now on it is)
    audit     n, k, cuts, worst_nats, shift_nats, allowed (the two tolerances), reason (null: it passed), seconds,
              closer (null, or what a closer look at small differences found; not in older ledgers)
    slice     n, k, place (baseline|keep|end|again), against, bpb,       a run's score on the audit slice; its gains over experiment
              documents, gain_val, gain_slice, reason, seconds           `against` on the validation text and on it, each with its
                                                                         standard error (val_only.py); why it may not be kept (null:
                                                                         nothing is wrong); documents: digest of the run's slice.npz
    verdict   n, verdict (keep|discard|crash), state, reason, val_bpb, scores, commit
    tested    n, k, test_bpb                                             bits per byte on the text that no decision sees
    revoked   n, reason, state (cheat|val-only)                          a keep that a later audit, or the audit slice, found wrong
    noise     n, wanted                                                  that the best n is to have so many runs since its verdict
    pause     reason, id                                                 with an id somebody asked for it, else the disk is full
    resume    id                                                         that somebody wants it to go on
    told      id, text                                                   what somebody adds to program.md while the study runs
    skip      id, n                                                      that somebody wants experiment n ended; its verdict follows
    handed    id, commit, description                                    a train.py of somebody's, to be tried next
    stop      reason

Not covered: somebody who edits the file and its checksums with intent; two writers (the study's lock prevents them).
"""

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from autoresearch import durable
from autoresearch.errors import LedgerRefusal
from autoresearch.run import disk
from autoresearch.study import events, lines


def read(path: Path) -> list[dict[str, Any]]:
    """Every event, in order, checked; a torn last line is left out. Writes nothing: for readers beside a running study."""
    return lines.parse(lines.content(path), path).events


def each(path: Path, take: Callable[[dict[str, Any]], object]) -> int:
    """As `read`, for one event at a time. How many there are."""
    return lines.parse(lines.content(path), path, take=take).count


class Ledger:
    """The open ledger; make one only while the study's lock is held. It has `count` events, the last one of the kind `last`."""

    def __init__(self, path: Path, take: Callable[[dict[str, Any]], object] | None = None):
        """take: gets each event that the ledger holds already. Without it all are kept in `events`."""
        self.path = path
        data = lines.content(path)
        known = lines.parse(data, path, take=take)
        self.events, self._keeps = known.events, take is None
        self.count, self.last, self._size, self._check = known.count, known.last, known.size, known.check
        self._failed: Exception | None = None
        if self._size < len(data):
            durable.write(path.with_name(f"events.torn-{self.count + 1}.txt"), data[self._size :])
            durable.cut(path, self._size)
        elif path.exists():  # a process that was killed may have written its last line, or made the file, and not synced it
            durable.sync_path(path)
            durable.sync_folder(path.parent)

    def append(self, event: str, **fields: object) -> dict[str, Any]:
        """Write one event and sync it; what others wrote in it is cut to its length before (events.fit).

        LedgerRefusal for an event that is not as events.py says; nothing is written then. On OSError the ledger is as it was
        before; after any but a full disk it takes no more.
        When a sync has failed, nobody knows which of the bytes are on the disk (LWN 752063): nothing may be built on them.
        """
        if self._failed:
            raise self._failed
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        entry = {"seq": self.count + 1, "time": now, "event": event, **events.fit(fields)}
        line, check = _encoded(entry, self._check)
        try:
            self._drop_half_a_line()  # when that failed the last time, as it may on a full disk
            if not self.count:
                durable.write(self.path, b"")  # its name is durable before anything is in it
            durable.append(self.path, line)
        except OSError as error:
            if not disk.is_full(error):
                self.close(error)
            with contextlib.suppress(OSError):
                self._drop_half_a_line()
            raise
        self._size += len(line)
        self._check = check
        self.count, self.last = self.count + 1, event
        if self._keeps:
            self.events.append(entry)
        return entry

    def close(self, error: Exception) -> None:
        """After an error of the disk, here or elsewhere in the study: no more is written."""
        self._failed = self._failed or error

    def _drop_half_a_line(self) -> None:
        if self.path.exists() and self.path.stat().st_size > self._size:
            durable.cut(self.path, self._size)


def _encoded(entry: dict[str, Any], before: str) -> tuple[bytes, str]:
    """lines.encode of an entry that may be written. LedgerRefusal for another."""
    if reason := events.objection(entry):
        raise LedgerRefusal(entry["event"], reason)
    try:
        line, check = lines.encode(entry, before)
    except (ValueError, TypeError, RecursionError) as error:  # NaN, or what JSON has no word for, in a field without a row
        raise LedgerRefusal(entry["event"], f"{type(error).__name__}: {error}"[:200]) from error
    if len(line) > events.LONGEST_LINE_BYTES:
        raise LedgerRefusal(entry["event"], f"it has {len(line):,} bytes")
    return line, check
