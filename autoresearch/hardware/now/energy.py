"""What the processors have used, as Linux counts it: the packages' counters and those of their memory (RAPL).

From /sys/class/powercap (the kernel's Documentation/power/powercap/powercap.rst), which most systems let only root read. A counter
counts microjoules and begins anew at its range, after some minutes under load: it has to be looked at more often. All that runs on
the processors is in it, not a training alone. Measured or not known: no figure here is an estimate.
"""

from pathlib import Path

from autoresearch.hardware.devices import readings

ROOT = Path("/")


class Meter:
    """Adds up from when it is made; `look` at least once a minute."""

    def __init__(self, root: Path = ROOT):
        self._zones = {zone: readings.number(zone / "energy_uj") for zone in _zones(root)}
        self._used = 0.0  # microjoules

    def look(self) -> float | None:
        """Joules since then; None: not known, since nothing is counted here or a counter may not be read."""
        for zone, before in self._zones.items():
            now, most = readings.number(zone / "energy_uj"), readings.number(zone / "max_energy_range_uj")
            if now is None or before is None or (now < before and most is None):
                self._zones = {}
                break
            self._used += now - before + (most or 0.0 if now < before else 0.0)
            self._zones[zone] = now
        return self._used / 1e6 if self._zones else None


def _zones(root: Path) -> list[Path]:
    """Each package, and what is not in its counter: its memory. core and uncore are parts of it, and it is one of psys."""
    zones = sorted((root / "sys/class/powercap").glob("intel-rapl:*"))  # AMD's, too
    named = {path: readings.text(path / "name") or "" for path in zones}
    return [path for path, name in named.items() if name.startswith("package-") or name == "dram"]
