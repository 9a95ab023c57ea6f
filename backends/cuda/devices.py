"""The NVIDIA cards: `python devices.py` prints one JSON line (autoresearch/hardware/devices/cards.py).

Asked of nvidia-smi, which counts them by their places on the PCI bus, as CUDA does with CUDA_DEVICE_ORDER=PCI_BUS_ID. Written from
NVIDIA's documentation and checked on answers of that form; not run with several cards.
"""

import json

from conditions import nvidia_smi

FIELDS = "index,uuid,name,memory.total,memory.free,utilization.gpu,display_active,compute_cap,mig.mode.current"


def parse(answer: str | None) -> list[dict]:
    """From csv lines, memory in MiB; the newest kind first. No cards where one is parted by MIG: its parts have no numbers."""
    ranked = []
    for line in (answer or "").splitlines():
        words = line.split(", ")
        if len(words) < 9 or not words[0].isdecimal() or words[-1] == "Enabled":
            return []
        total, free, busy, display, capability, _ = words[-6:]
        ranked.append((_version(capability), {
            "index": int(words[0]),
            "id": words[1],
            "name": ", ".join(words[2:-6]),
            "memory_bytes": int(total) * 2**20 if total.isdecimal() else None,
            "free_bytes": int(free) * 2**20 if free.isdecimal() else None,
            "busy": int(busy) / 100 if busy.isdecimal() else None,
            "display": {"Enabled": True, "Disabled": False}.get(display),
        }))  # fmt: skip
    return [table for _, table in sorted(ranked, key=lambda pair: pair[0], reverse=True)]


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdecimal())


if __name__ == "__main__":
    print(json.dumps(parse(nvidia_smi(f"--query-gpu={FIELDS}", "--format=csv,noheader,nounits"))))
