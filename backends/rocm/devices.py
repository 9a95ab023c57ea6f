"""The AMD GPUs that compute: `python devices.py` prints one JSON line (autoresearch/hardware/devices/cards.py).

Read from /sys, without PyTorch: the nodes of the kernel's driver (kfd), in whose order rocminfo and HIP_VISIBLE_DEVICES count.
Written from the kernel's documentation and checked on trees of that form; not run on a card.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from autoresearch.hardware.devices import readings

ROOT = Path("/")


@dataclass(frozen=True)
class Gpu:
    address: str  # on the PCI bus: 0000:03:00.0
    folder: Path  # of the PCI device in /sys
    gpu_id: str | None  # kfd's
    values: dict[str, int]  # of its node


def gpus(root: Path) -> list[Gpu]:
    """In kfd's order. Of a CPU's node simd_count is 0."""
    devices = []
    nodes = (root / "sys/class/kfd/kfd/topology/nodes").glob("[0-9]*")
    for node in sorted(nodes, key=lambda path: int(path.name)):
        pairs = (line.partition(" ") for line in (readings.text(node / "properties") or "").splitlines())
        values = {key: int(value) for key, _, value in pairs if value.isdigit()}
        if values.get("simd_count"):
            place = values.get("location_id", 0)  # bus, device, function as PCI packs them
            address = f"{values.get('domain', 0):04x}:{place >> 8 & 255:02x}:{place >> 3 & 31:02x}.{place & 7}"
            devices.append(Gpu(address, root / "sys/bus/pci/devices" / address, readings.text(node / "gpu_id"), values))
    return devices


def listed(root: Path) -> list[dict]:
    """In the form that cards.py describes, the fastest first. root: under which /sys is."""
    ranked = []
    for index, gpu in enumerate(gpus(root)):
        total, used = (readings.number(gpu.folder / f"mem_info_vram_{name}") for name in ("total", "used"))
        busy = readings.number(gpu.folder / "gpu_busy_percent", 100)
        version = gpu.values.get("gfx_target_version", 0)  # 90402: gfx942, its last two parts in base 16
        name = readings.text(gpu.folder / "product_name") or readings.pci_name(root, gpu.folder) or "AMD GPU"
        speed = gpu.values["simd_count"] * gpu.values.get("max_engine_clk_fcompute", 0)
        ranked.append((-speed, {
            "index": index,
            "id": readings.text(gpu.folder / "unique_id") or gpu.address,
            "name": f"{name} (gfx{version // 10000}{version // 100 % 100:x}{version % 100:x})",
            "memory_bytes": None if total is None else int(total),
            "free_bytes": None if total is None or used is None else max(0, int(total - used)),
            "busy": busy,
            "display": readings.draws(gpu.folder),
        }))  # fmt: skip
    return [table for _, table in sorted(ranked, key=lambda pair: pair[0])]


if __name__ == "__main__":
    print(json.dumps(listed(ROOT)))
