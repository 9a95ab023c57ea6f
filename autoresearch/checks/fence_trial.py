"""The trial of a coding agent's fence: the attempts of attacks/ that concern it, each in a fence of its own, in the trial's world.

Not among them: the network, which it needs; what a training may not learn of earlier ones.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from autoresearch.agents.command import command
from autoresearch.agents.command.recipes import folders
from autoresearch.border import files
from autoresearch.checks import trial
from autoresearch.checks.attacks.attempt import ALL
from autoresearch.paths import PACKAGE
from autoresearch.sandbox import fence, policy

LIMIT_SECONDS = 30.0
FENCED = (
    "ssh_key", "home_names", "ledger", "git", "other_run", "symlink", "hard_link", "proc_root", "dots", "moved_folder",
    "child_reads", "memory_program", "by_handle", "write_train_py", "write_ledger", "cut_ledger", "move_ledger", "write_git",
    "write_harness", "write_packages", "write_shared_memory", "write_bashrc", "write_cron", "write_kernel_setting", "chmod",
    "chown", "utime", "attributes", "terminal", "keys", "added_key", "bpf", "mount", "set_clock", "host_name", "unix_socket",
    "abstract_socket", "redirected_pair", "reconnected_pair", "named_message", "io_uring", "inherited", "environment",
    "command_line", "process_list", "open_file", "root_folder", "memory_file", "process_vm_readv", "ptrace", "pidfd_getfd",
    "signal_harness", "signal_other", "signal_by_handle", "limits", "priority", "disk_priority", "processors", "scheduler",
    "daemon", "scheduler_by_attributes", "shared_memory", "semaphores", "message_queue", "posix_queue", "unshare", "user_namespace",
    "clone_namespace", "clone3", "setns",
)  # fmt: skip
FROM_LEVEL_3 = ("command_line", "process_list")


def run(level: int, names: tuple[str, ...] = FENCED) -> list[trial.Result]:
    """Every attempt in a fence of that level."""
    with tempfile.TemporaryDirectory(prefix="autoresearch-trial-") as folder, trial.world(Path(folder).resolve()) as targets:
        return [_try(name, level, targets) for name in names]


def _try(name: str, level: int, targets: dict[str, Any]) -> trial.Result:
    attempt, how = ALL[name], "no answer"
    is_open: bool | None = None
    promised = level >= (3 if name in FROM_LEVEL_3 else 2) and trial.is_promised(attempt, level)
    if level < 2 and not attempt.is_harmless:
        return trial.Result(name, attempt.title, None, "not tried: it would do harm", promised)
    folder = command.made()
    try:
        job = folder / "work" / "job.json"
        job.write_text(json.dumps({"name": name, "targets": targets}), encoding="utf-8")
        cell = fence.cell(level, folder, [*folders(sys.executable), *policy.python_folders(), PACKAGE.parent])
        variables = fence.environment({"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(PACKAGE.parent)}, folder, level)
        process = fence.start(cell, [sys.executable, "-m", trial.MODULE], job, variables)
        output = fence.output(process, LIMIT_SECONDS)
        for line in output.splitlines():
            if line.startswith('{"type": "done"'):
                done = json.loads(line)
                is_open, how = bool(done["open"]), str(done["how"])
        if is_open is None:
            how = f"not tried: {' '.join(output.split())[-200:]}"
    except OSError as error:
        how = f"it could not be started ({error})"
    finally:
        files.remove(folder)
    if name == "daemon" and is_open:
        is_open = trial.lives(f"daemon-{targets['secret']}")
        how = "it lives on" if is_open else "it ended with the program"
    return trial.Result(name, attempt.title, is_open, how, promised)
