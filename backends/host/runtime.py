"""This computer as it is, for tasks that run commands: nothing is trained here."""

import json
import os
import platform
import sys

from autoresearch.hardware.cores import usable


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            names = [line.partition(":")[2].strip() for line in file if line.lower().startswith(("model name", "hardware"))]
    except OSError:
        names = []
    return next(iter(names), "") or platform.processor() or platform.machine()


def probe() -> dict:
    cores = usable()
    reason = f"this process may use {cores} cores ({os.cpu_count()} logical ones are here)"
    return {
        "ok": True, "device": f"{_processor()}, {cores} cores, {platform.system()}", "count": 1, "cores": cores, "threads": cores,
        "threads_reason": reason, "versions": {"python": platform.python_version()},
    }  # fmt: skip


if __name__ == "__main__" and "--probe" in sys.argv:
    print(json.dumps(probe()))
