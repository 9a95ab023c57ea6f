"""Battery or mains, and whether heat slows the processor: what the system itself says, None where it says nothing.

Linux's files are looked up below a root folder. Nothing here takes longer than a few milliseconds, apart from macOS's `pmset`.
"""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from autoresearch.errors import UsageError

ROOT = Path("/")
ASK_SECONDS = 2  # for pmset, which answers in milliseconds


@dataclass(frozen=True)
class Power:
    source: str | None  # mains or battery
    percent: int | None = None  # how full the battery is
    reason: str | None = None  # why the source is not known


@dataclass(frozen=True)
class Heat:
    throttled: bool | None
    reason: str  # what was looked at, and what it said
    count: int | None = None  # Linux: throttling events since the start of the system, over all processors


def refuse_on_battery(power: Power, allowed: bool) -> None:
    """UsageError on battery, unless it is allowed: most laptops then run slower, and a night empties them."""
    if power.source == "battery" and not allowed:
        left = "" if power.percent is None else f" ({power.percent} % left)"
        raise UsageError(f"this computer runs on its battery{left}, which slows a training; plug it in, or add --on-battery")


def supply() -> Power:
    """What feeds the computer."""
    if sys.platform == "linux":
        return linux_supply(ROOT)
    import psutil

    try:
        battery = psutil.sensors_battery()
    except (AttributeError, OSError, psutil.Error):  # AttributeError: a system for which psutil has none
        battery = None
    if battery is None or battery.power_plugged is None:
        return Power(None, reason="the system reports no battery")
    return Power("mains" if battery.power_plugged else "battery", round(battery.percent))


def linux_supply(root: Path) -> Power:
    """From /sys/class/power_supply (the kernel's Documentation/ABI/testing/sysfs-class-power).

    psutil reads the same folder, but takes the battery of a wireless mouse for the computer's (`scope` is Device there), and
    knows no charger on USB-C.
    """
    supplies = [_facts(path) for path in sorted((root / "sys/class/power_supply").glob("*"))]
    supplies = [facts for facts in supplies if facts.get("scope") != "Device"]
    batteries = [facts for facts in supplies if facts.get("type") == "Battery" and facts.get("present") != "0"]
    percents = [int(facts["capacity"]) for facts in batteries if facts.get("capacity", "").isdigit()]
    percent = round(sum(percents) / len(percents)) if percents else None
    if any(facts.get("type") not in ("Battery", "UPS") and facts.get("online") == "1" for facts in supplies):
        return Power("mains", percent)
    states = {facts.get("status") for facts in batteries}
    if "Discharging" in states:
        return Power("battery", percent)
    if states & {"Charging", "Full", "Not charging"}:
        return Power("mains", percent)
    return Power(None, percent, "the system reports no battery" if not batteries else "the battery's state is unknown")


def heat(before: Heat | None = None) -> Heat:
    """Whether the processor is throttled. before: an earlier look; Linux counts from there to now."""
    if sys.platform == "linux":
        return linux_heat(ROOT, before)
    if sys.platform == "darwin":
        return macos_heat(_pmset_therm())
    return Heat(None, "this system does not tell")


def linux_heat(root: Path, before: Heat | None) -> Heat:
    """From the processors' thermal_throttle counters, which Intel's have (the kernel's arch/x86 therm_throt)."""
    files = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/*_throttle_count")
    counts = [int(text) for path in files if (text := _read(path)).isdigit()]
    if not counts:
        return Heat(None, "this processor has no throttling counters")
    count = sum(counts)
    if before is None or before.count is None:
        return Heat(None, "not known before a second look", count)
    if count > before.count:
        return Heat(True, "the processor slowed itself down because of heat since the last look", count)
    return Heat(False, "the processor's throttling counters stood still since the last look", count)


def macos_heat(therm: str | None) -> Heat:
    """From what `pmset -g therm` prints (pmset(1)): a speed limit in percent, or the notes that nothing was recorded."""
    if therm is None:
        return Heat(None, "pmset does not answer")
    limits = [int(value) for value in re.findall(r"CPU_(?:Speed|Scheduler)_Limit\s*=\s*(\d+)", therm)]
    if limits:
        return Heat(min(limits) < 100, f"macOS limits the processor to {min(limits)} %")
    if "No thermal warning level has been recorded" in therm:
        return Heat(False, "macOS has recorded no thermal warning")
    return Heat(None, "pmset says nothing of heat")


def _pmset_therm() -> str | None:
    try:
        asked = subprocess.run(["pmset", "-g", "therm"], capture_output=True, text=True, timeout=ASK_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return asked.stdout if asked.returncode == 0 else None


def _facts(folder: Path) -> dict[str, str]:
    return {name: _read(folder / name) for name in ("type", "scope", "online", "status", "capacity", "present")}


def _read(path: Path) -> str:
    """A small system file without its line's end; empty where there is none or it may not be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:  # some batteries answer ENODEV while they are taken out
        return ""
