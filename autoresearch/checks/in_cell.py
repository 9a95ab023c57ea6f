"""Does a backend's device work inside of the cell that a study gets? A driver may start outside and be refused what it needs there.

`probe_in_cell` asks runtime.py's probe() once more in such a cell; run as a module, this is the process in it.
"""

import tempfile
from pathlib import Path
from typing import Any

from autoresearch.border.messages import ENDED, Kind, Protocol, failed, text
from autoresearch.child import RunFailed, Worker
from autoresearch.errors import EnvironmentFailure
from autoresearch.hardware.devices.detect import PROBE_LIMIT_SECONDS
from autoresearch.hardware.devices.registry import Backend
from autoresearch.measure import worker
from autoresearch.measure.channel import Channel
from autoresearch.sandbox import policy, workdir

PROTOCOL = Protocol("starting", {"done": Kind({"starting": ENDED}, spare={"reason": text(1000)}), "failed": failed("starting")})


def probe_in_cell(backend: Backend, level: int) -> str | None:
    """Why the backend does not work in a cell of that level; None when it does. It works outside."""
    from autoresearch.study.session import log_tail  # with libgit2, which finds no certificates in a cell

    with tempfile.TemporaryDirectory(prefix="autoresearch-doctor-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        work = workdir.make(folder / "work", [workdir.own_layer(backend.name)])
        try:
            cell = policy.cell(level, work, [*backend.python_path, workdir.own_layer(backend.name)], needs=backend.sandbox)
            job = {"type": "probe", "python_path": [str(path) for path in backend.python_path]}
            with Worker(job, folder, PROTOCOL, __name__, backend.variables, cell=cell) as process:
                done = process.wait("done", PROBE_LIMIT_SECONDS, f"no answer within {PROBE_LIMIT_SECONDS} s")
        except RunFailed as failure:
            last = (log_tail(folder / "log.txt").strip().splitlines() or [""])[-1]  # a process that ended before it could say why
            return f"{failure.reason} ({last})" if last else failure.reason
        except EnvironmentFailure as failure:
            return str(failure)
    return done.get("reason") or None


def probe(channel: Channel, job: dict[str, Any]) -> None:
    import runtime  # the backend's

    answer = runtime.probe() if hasattr(runtime, "probe") else {"ok": True}  # that it could be imported says something, too
    channel.send({"type": "done", "reason": "" if answer.get("ok") else " ".join(str(answer.get("reason")).split())[:1000]})


if __name__ == "__main__":
    worker.main({"probe": probe})
