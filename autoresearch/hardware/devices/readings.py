"""What Linux tells of a graphics card in /sys, for the files by which a backend lists its devices and tells how they are.

The files and their units: the kernel's Documentation/hwmon/sysfs-interface.rst (millidegrees, microwatts) and Documentation/gpu.
What is not there is None.
"""

from collections.abc import Sequence
from pathlib import Path

PCI_NAMES = ("usr/share/hwdata/pci.ids", "usr/share/misc/pci.ids")


def text(path: Path) -> str | None:
    """A small file without its line's end; None where there is none, it is empty, or it may not be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None


def number(path: Path, scale: float = 1.0) -> float | None:
    """Of a file that holds one: value / scale."""
    content = text(path)
    try:
        return None if content is None else float(content) / scale
    except ValueError:
        return None


def first(paths: Sequence[Path], scale: float = 1.0) -> float | None:
    """The number in the first of them that holds one."""
    return next((value for path in paths if (value := number(path, scale)) is not None), None)


def pci_name(root: Path, device: Path) -> str | None:
    """What the list of PCI devices that most systems have calls it: `Battlemage G21 [Arc B580]`. device: its folder in /sys."""
    vendor, kind = ((text(device / name) or "").removeprefix("0x") for name in ("vendor", "device"))
    for path in PCI_NAMES:
        lines = (text(root / path) or "").split("\n")
        at = next((n for n, line in enumerate(lines) if vendor and line.startswith(vendor)), None)
        for line in lines[at + 1 :] if at is not None else ():
            if line[:1] not in ("\t", "#"):
                break
            if line.startswith(f"\t{kind} "):
                return line.split("  ", 1)[-1].strip()
    return None


def draws(device: Path) -> bool | None:
    """Whether one of its outputs shows something; None: it has none."""
    states = [text(path) for path in device.glob("drm/card*/card*-*/enabled")]
    return "enabled" in states if states else None


def hottest(device: Path) -> tuple[float, float | None] | None:
    """(°C, its critical °C) of the sensor that is nearest to it."""
    temperatures = []
    for path in device.glob("hwmon/hwmon*/temp*_input"):
        if (celsius := number(path, 1000)) is not None:
            critical = number(path.with_name(path.name.replace("_input", "_crit")), 1000)
            temperatures.append((celsius, critical or None))
    return max(temperatures, key=lambda pair: pair[0] - (pair[1] or 1000), default=None)


def described(celsius: float | None, mhz: float | None, watts: float | None) -> str:
    """`61 °C, 2520 MHz, 187 W`: what is known of the three."""
    units = ((celsius, "°C"), (mhz, "MHz"), (watts, "W"))
    return ", ".join(f"{value:.0f} {unit}" for value, unit in units if value is not None) or "no sensor answers"
