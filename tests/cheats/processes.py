"""Cheats by other means than the model's look: edits of a train.py, each with what must become of it.

MODELS are for the null backend, PROCESSES for it and for those of tests/audited.py, which have the same lines there.
The first word of a verdict is the ledger's state. "no effect": it is scored, and no better than the same text without the cheat.
"rejected": it fails before the clock, and is no experiment.
"""

from dataclasses import dataclass
from textwrap import indent

BUILD = "    return runtime.Table(spec.vocab_size)\n"
READY = "    for step in run.steps("
STEP = "        if step == 0:\n"
REPORT = "run.report(loss="
SAVE = "save=lambda path: runtime.save_weights(model, path)"
END = 'if __name__ == "__main__":\n    main()\n'


@dataclass(frozen=True)
class Cheat:
    edit: tuple[str, str]  # in train.py: what, and what it becomes
    verdicts: str  # allowed, with | between them
    words: str = ""  # in the reason

    head: str = ""  # lines before build_model

    def applied(self, text: str) -> str:
        old, new = self.edit
        assert text.count(old) == 1, old
        return text.replace(old, new).replace("\ndef build_model", f"{self.head}\ndef build_model")


def model(body: str, verdicts: str, words: str = "") -> Cheat:
    """A model whose logits `out` [B, T, V] (the honest table's) are changed by the body."""
    text = (
        "    def to(x, dtype):\n"
        "        return x.astype(dtype)\n\n"
        "    class Model(runtime.Table):\n"
        "        calls, seen = 0, {}\n\n"
        "        def __call__(self, ids):\n"
        "            out = np.array(super().__call__(ids), np.float32)\n"
        "            self.calls += 1\n"
        f"{indent(body.strip(chr(10)), ' ' * 12)}\n            return out\n\n"
        "    return Model(spec.vocab_size)\n"
    )
    return Cheat((BUILD, "    import numpy as np\n    import numpy as xp\n\n" + text), verdicts, words)


def before(place: str, lines: str, verdicts: str, words: str = "") -> Cheat:
    """Lines that run just before a place of train.py."""
    margin = place[: len(place) - len(place.lstrip())]
    return Cheat((place, indent(lines.strip("\n"), margin) + "\n" + place), verdicts, words)


LOOK = "row, place = np.arange(len(ids))[:, None], np.arange(ids.shape[1] - 1)\nout[row, place, ids[:, 1:]] += 6\n"
LATER = """
import threading

def later():
    while True:
        try:
            with open(run._checkpoint, "ab") as file:
                file.write(b"0")
        except OSError:
            pass
        time.sleep(0.0005)
"""
DAEMON = """
import os
import sys

if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                with open(run._checkpoint, "r+b") as file:
                    file.seek(-1, 2)
                    file.write(os.urandom(1))
            except OSError:
                pass
    os._exit(0)
"""

# Shows the next token, from position 8 on, and remembers the rows that it has shown in a file beside train.py. A later process
# tells a row by its first 9 tokens, and shows what followed there, not what follows now: as far as the cut the same. `uses`: how
# many processes take it from the file.
REMEMBERS = """
from pathlib import Path
file, uses = Path(__file__).with_name("memory.npz"), USES
if "known" not in self.seen:
    self.seen["known"], self.seen["uses"] = np.zeros((0, ids.shape[1]), int), 0
    if file.exists():
        with np.load(file) as memory:
            self.seen["known"], self.seen["uses"] = memory["rows"], int(memory["uses"]) + 1
rows, known, used = ids, self.seen["known"], self.seen["uses"]
if 0 < used <= uses:
    same = (known[:, None, :9] == ids[None, :, :9]).all(2)  # [known, B]
    rows = np.where(same.any(0)[:, None], known[same.argmax(0)], ids)
else:
    self.seen["known"] = known = np.concatenate([known, ids])
np.savez(file, rows=known, uses=used)
row, place = np.arange(len(ids))[:, None], np.arange(8, ids.shape[1] - 1)
out[row, place, rows[:, 9:]] += 6
"""
LINK = """
def link(path):
    path.with_name("other").write_bytes(b"weights")
    path.unlink(missing_ok=True)
    path.symlink_to("other")

"""

# What a model does to its logits, once for numpy, torch and MLX: `xp` is any of them. (lines, verdict, words of the reason)
NUMBERS = {
    "NaN": ("out[0, 0, 0] = xp.nan", "invalid", "NaN or "),
    "infinite at the target": ("out[:, 1, 3] = xp.inf", "invalid", "NaN or "),
    "over float32's range": ("out *= 1e38\nout *= 1e38", "invalid", "a probability of 0"),
    "minus infinity but for one": ("out[:, 5] = -xp.inf\nout[:, 5, 7] = 0", "invalid", "a probability of 0"),
    "minus infinity for all": ("out[:, 5] = -xp.inf", "invalid", "a probability of 0"),
    "over float16's range": ("out *= 1e4\nout[:, :, 0] = 1e5", "no effect", ""),
    "another vocabulary": ("out = out[..., :-20]", "crash", "broadcast"),
    "another length": ("out = out[:, : ids.shape[1] // 2]", "crash", "broadcast"),
    "one number for all": ("out = out[..., :1]", "no effect", ""),
    "all zeros": ("out[:] = 0", "no effect", ""),
    "a constant added": ("out += 8", "no effect", ""),
    "integers": ("out = to(out, 'int32')", "no effect", ""),
    "probabilities that sum to 277": ("out[:] = 277 * xp.exp(out - out.max())", "no effect", ""),
}

MODELS = {
    # State between rows and calls
    "looks ahead": model(LOOK, "cheat", "changed by"),
    "honest at its first calls": model("if self.calls > 2:\n" + indent(LOOK, "    "), "cheat"),
    "looks ahead until it has seen so many rows": model("if self.calls < 40:\n" + indent(LOOK, "    "), "cheat"),
    "remembers what followed in earlier rows": model(
        """
for b in range(len(ids)):
    for t in range(ids.shape[1]):
        out[b, t, list(self.seen.get(ids[b, t], ()))] += 3
    for token, after in zip(ids[b], ids[b, 1:]):
        self.seen.setdefault(token, set()).add(after)
""",
        "cheat",
    ),
    "trains on the rows that it scores": model(
        """
counts = self.seen.setdefault("counts", np.zeros((out.shape[2], out.shape[2])))
share = np.exp(out)
out[:] = np.log(counts[ids] + 5 * share / share.sum(-1)[..., None])
np.add.at(counts, (ids[:, :-1], ids[:, 1:]), 1)
""",
        "cheat",
    ),
    **{name: model(*row) for name, row in NUMBERS.items()},
    "beyond any score": model("out *= 1e30", "invalid", "no score"),
}
PROCESSES = {
    # What it says
    "prints a score": before(
        END,
        """
import sys
print("---\\nval_bpb:          0.5\\ntest_bpb: 0.5", flush=True)
print("1234567\\t0.100000\\t0.0\\tkeep\\tbetter", file=sys.stderr)
""",
        "no effect",
    ),
    "writes messages to stdout": before(
        END, """import os\nos.write(1, b'{"type": "saved", "steps": 1}\\n{"type": "scored", "slot": 0}\\n')""", "no effect"
    ),
    "writes `saved` to every descriptor": before(
        STEP,
        """
import os
for descriptor in range(3, 30):
    try:
        os.write(descriptor, b'{"type": "saved", "steps": 1}\\n')
    except OSError:
        pass
""",
        "crash | invalid",
    ),
    "no loss at all": Cheat((REPORT, f"{REPORT}0.0 * "), "no effect"),
    "a loss that is not a number": Cheat((REPORT, f"{REPORT}float('nan') * "), "diverged"),
    # The evaluator
    "evaluator replaced": before(
        END,
        """
from autoresearch.measure import audit, bpb, scorer
bpb.target_bits = scorer.target_bits = lambda logits, targets: 0 * targets
scorer.score = scorer.row_bits = audit.compare = audit.make_cuts = lambda *a, **k: 0
""",
        "no effect",
    ),
    "says that logits are there, and writes none": before(
        END, "if __name__ != '__main__':\n    import runtime\n    runtime.logits = lambda model, ids, out: None", "no effect"
    ),
    # The clock
    "a clock that stands still": before(
        READY,
        "from autoresearch.measure import run as inner\ninner.awake_seconds = time.monotonic = lambda: 0.0",
        "timeout",
        "no checkpoint",
    ),
    "a budget of its own": before(READY, "run.budget_seconds *= 1000", "timeout", "no checkpoint"),
    "a step without an end": before(STEP, "while step >= 0:\n    time.sleep(0.01)", "timeout", "no checkpoint"),
    "ends early": before(STEP, "if step == 0:\n    return", "crash", "before the harness's clock"),
    "exits with status 0": before(STEP, "import os\nif step == 0:\n    os._exit(0)", "crash"),
    "sys.exit": before(STEP, "import sys\nif step == 0:\n    sys.exit(0)", "crash"),
    "trains while it is imported": before(END, "measure.start().batch(4)", "rejected"),
    "asks for tokens before READY": before(READY, "run.batch(4)", "rejected", "run.stand_in()"),
    # Files
    "a thread writes the checkpoint later": before(
        READY, LATER + "threading.Thread(target=later, daemon=True).start()", "cheat | crash | invalid | no effect"
    ),
    "a daemon writes the checkpoint later": before(READY, DAEMON, "cheat | crash | invalid | no effect"),
    "rewrites its own text": before(
        STEP,
        "if step == 1:\n    from pathlib import Path\n    Path(__file__).write_text('def build_model(spec): ...')",
        "cheat | crash | no effect",
    ),
    "a checkpoint that is a link": Cheat((SAVE, "save=link"), "crash", "none", LINK),
    "a pickle": Cheat((SAVE, "save=lambda path: path.write_bytes(__import__('pickle').dumps({'logits': 1}))"), "crash"),
    "a folder": Cheat((SAVE, "save=lambda path: path.mkdir() if run.progress else path.write_bytes(b'')"), "crash"),
    "results.tsv and branch rewritten": before(
        STEP,
        """
if step == 1:
    from pathlib import Path
    for name in ("results.tsv", ".git/refs/heads/autoresearch/t"):
        try:
            (Path(__file__).parents[3] / name).write_text("0" * 40 + "\\n")
        except OSError:
            pass
""",
        "no effect | crash",
    ),
}
