"""The Intel GPUs: `python devices.py` prints one JSON line (autoresearch/hardware/devices/cards.py).

Read from /sys, without PyTorch, in the order of their places on the PCI bus, which is that of Level Zero where
ZE_ENABLE_PCI_ID_DEVICE_ORDER is 1 (its specification, Environment Variables). A GPU that Level Zero does not know counts here and
not there; where no device is found then, the variable is left out (detect.survey). Written from documentation and checked on trees
of that form; not run on a card. How busy a card is these drivers do not tell.
"""

import json
from pathlib import Path

from autoresearch.hardware.devices import readings

ROOT = Path("/")
DRIVERS = ("i915", "xe")
MAX_SERIES = ("0x0b6", "0x0bd")  # two devices to Level Zero for each card: which number is whose is not told here


def gpus(root: Path) -> list[Path]:
    """The folders of the PCI devices, named after their addresses."""
    folders = {path.name: path for driver in DRIVERS for path in (root / "sys/bus/pci/drivers" / driver).glob("*:*:*.*")}
    return [folders[address] for address in sorted(folders)]


def listed(root: Path) -> list[dict]:
    """A card's own memory before a processor's part of the computer's."""
    folders = gpus(root)
    if any((readings.text(path / "device") or "").startswith(MAX_SERIES) for path in folders):
        return []
    tables = [
        {
            "index": index,
            "id": path.name,
            "name": readings.pci_name(root, path) or f"Intel GPU {readings.text(path / 'device')}",
            "memory_bytes": window(path),
            "free_bytes": None,
            "busy": None,
            "display": readings.draws(path),
        }
        for index, path in enumerate(folders)
    ]
    return sorted(tables, key=lambda table: -(table["memory_bytes"] or 0))


def window(device: Path) -> int | None:
    """How much of a card's memory the computer sees: all of it, or 256 MiB without Resizable BAR. None: it is in the processor."""
    if device.name.startswith("0000:00:"):
        return None
    lines = (readings.text(device / "resource") or "").splitlines()
    ends = [[int(word, 16) for word in line.split()[:2]] for line in lines]
    return max((end - start + 1 for start, end in ends if end), default=None)


if __name__ == "__main__":
    print(json.dumps(listed(ROOT)))
