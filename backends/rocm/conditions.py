"""What slows an AMD GPU at this moment: `python conditions.py` prints one JSON line (see accelerator.py).

Read from /sys, without PyTorch. Written from the kernel's Documentation/gpu/amdgpu/thermal.rst and checked on trees of that form;
not run on a card. The throttle bits of gpu_metrics are left alone: their place differs by version, and a card was reported that has
the hotspot's set at its highest clock. A sensor at its critical temperature, where the driver throttles, is told instead.
"""

import json
import os
from pathlib import Path

from devices import ROOT, Gpu, gpus

from autoresearch.hardware.devices import readings

VARIABLES = ("HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")


def in_use(devices: list[Gpu]) -> Gpu | None:
    """The first that the variables leave, where they name it by its number; a list of several lists is not looked through."""
    named = [os.environ[name] for name in VARIABLES if os.environ.get(name)]
    place = (named or ["0"])[0].split(",")[0].strip()
    return devices[int(place)] if place.isdecimal() and int(place) < len(devices) and len(named) < 2 else None


def told(root: Path) -> dict:
    """In the form that accelerator.py describes, with °C, MHz and W in the reason. root: under which /sys and /proc are."""
    gpu = in_use(gpus(root))
    if gpu is None:
        return {"throttled": None, "reason": "which GPU is used is not known", "others": None}
    device = gpu.folder
    heat = readings.hottest(device)
    mhz = readings.first(sorted(device.glob("hwmon/hwmon*/freq1_input")), 1e6)
    names = ("power1_average", "power1_input")  # of the last moment, and of now: a card has the one or the other
    watts = readings.first([path for name in names for path in device.glob(f"hwmon/hwmon*/{name}")], 1e6)
    reason = readings.described(heat and heat[0], mhz, watts)
    throttled = None
    if heat and heat[1]:
        throttled = heat[0] >= heat[1]
        reason += f"; its critical temperature is {heat[1]:.0f} °C"
    return {"throttled": throttled, "reason": reason, "others": users(root, gpu), "watts": watts}


def users(root: Path, gpu: Gpu) -> list[str] | None:
    """The processes that hold memory of the GPU through ROCm, as kfd lists them; None: it lists none."""
    folder = root / "sys/class/kfd/kfd/proc"
    if not folder.is_dir():
        return None
    processes = []
    for path in sorted(folder.glob(f"*/vram_{gpu.gpu_id}")):
        if size := readings.number(path, 2**20):
            name = readings.text(root / "proc" / path.parent.name / "comm") or f"process {path.parent.name}"
            processes.append(f"{name} ({size:.0f} MB)")
    return processes


if __name__ == "__main__":
    print(json.dumps(told(ROOT)))
