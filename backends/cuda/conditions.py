"""What slows an NVIDIA card at this moment: `python conditions.py` prints one JSON line (see accelerator.py).

Asked of nvidia-smi, without PyTorch. Written from NVIDIA's documentation and checked on answers of that form; not run on a card.
"""

import json
import os
import shutil
import subprocess

from autoresearch.hardware.devices import readings

ASK_SECONDS = 2  # of each of at most three questions; the whole has a limit of its own
# NVML API reference, NvmlClocksEventReasons. The software power cap (0x4) is no fault: a busy card runs at its power limit.
# Hardware slowdown (0x8) alone is not counted either: it "may be also reported during PState or clock change".
SLOWDOWNS = {
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "the power supply's brake",
}
STATE = "temperature.gpu,clocks.sm,power.draw"  # °C, MHz, W
# The same field: its name since driver 535, and the one before, which later drivers may drop.
FIELDS = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")


def parse_slowdown(answer: str | None) -> tuple[bool | None, str]:
    """(throttled, reason) from a line that begins with the bits: `0x0000000000000020`. None: nvidia-smi did not answer."""
    if answer is None:
        return None, "nvidia-smi does not answer"
    text = answer.strip().partition("\n")[0].partition(",")[0].strip()
    try:
        bits = int(text, 16)
    except ValueError:  # [N/A], [Not Supported]
        return None, f"nvidia-smi answers {text[:40]!r}"
    active = [name for bit, name in SLOWDOWNS.items() if bits & bit]
    return bool(active), " and ".join(active) or "nvidia-smi names no slowdown"


def parse_state(answer: str | None) -> tuple[float | None, float | None, float | None]:
    """(°C, MHz, W) from a line such as `0x0000000000000020, 61, 2520, 187.42`."""
    words = (answer or "").strip().partition("\n")[0].split(", ")[1:4]
    known = [float(word) if word.replace(".", "", 1).isdecimal() else None for word in words]
    return tuple(known) if len(known) == 3 else (None, None, None)


def parse_apps(answer: str | None) -> list[str] | None:
    """The processes that compute on the card, from lines `1234, /usr/bin/python3, 2048` (MiB).

    Windows's driver model tells no process's memory, and lists what only draws as well: such lines are left out, and when there
    is no other the answer is unknown.
    """
    if answer is None:
        return None
    lines = [line.split(", ") for line in answer.splitlines() if line.strip()]
    known = [(", ".join(words[1:-1]), words[-1].strip()) for words in lines if len(words) >= 3 and words[-1].strip().isdigit()]
    if lines and not known:
        return None
    return [f"{name.replace(chr(92), '/').rpartition('/')[2]} ({memory} MB)" for name, memory in known]


def card(visible: str | None) -> str:
    """The card that is used, for nvidia-smi's -i. visible: CUDA_VISIBLE_DEVICES.

    With CUDA_DEVICE_ORDER, which is set where we have chosen, both count alike. By itself CUDA counts the fastest card first,
    nvidia-smi the first slot: an index means the same on cards that are alike.
    """
    return (visible or "0").split(",")[0].strip() or "0"


def ask(*options: str) -> str | None:
    """What nvidia-smi says of the card that is used."""
    return nvidia_smi("-i", card(os.environ.get("CUDA_VISIBLE_DEVICES")), *options)


def nvidia_smi(*options: str) -> str | None:
    """What it prints, or None where it is not there, fails or hangs."""
    command = ["nvidia-smi", *options]
    if shutil.which(command[0]) is None:
        return None
    try:
        asked = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=ASK_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return asked.stdout if asked.returncode == 0 else None


def main() -> None:
    answers = (ask(f"--query-gpu={field},{STATE}", "--format=csv,noheader,nounits") for field in FIELDS)
    answer = next((answer for answer in answers if answer is not None), None)
    throttled, reason = parse_slowdown(answer)
    if answer is not None:
        reason += f"; {readings.described(*parse_state(answer))}"
    others = parse_apps(ask("--query-compute-apps=pid,process_name,used_memory", "--format=csv,noheader,nounits"))
    print(json.dumps({"throttled": throttled, "reason": reason, "others": others, "watts": parse_state(answer)[2]}))


if __name__ == "__main__":
    main()
