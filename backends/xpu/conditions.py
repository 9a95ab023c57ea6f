"""What slows an Intel GPU at this moment: `python conditions.py` prints one JSON line (see accelerator.py).

Read from /sys, without PyTorch: of both Linux drivers, i915 and xe. Written from the kernel's documentation (Xe GT Frequency
Management; ABI/testing/sysfs-driver-intel-i915-hwmon and -xe-hwmon) and checked on trees of that form; not run on a card. Who else
uses the GPU is not told.
"""

import json
import os
import time
from pathlib import Path

from devices import ROOT, gpus

from autoresearch.hardware.devices import readings

POWER_SECONDS = 0.2  # between two readings of the counted energy: chosen, some ten of its updates
# Their power limits (pl1, pl2, pl4) are no fault: a busy card runs at them.
SLOWDOWNS = {
    "thermal": "heat",
    "prochot": "heat elsewhere in the computer (PROCHOT)",
    "ratl": "its average temperature (RATL)",
    "thermalert": "its voltage regulator's heat",
    "vr_thermalert": "its voltage regulator's heat",
}
FREQUENCIES = ("tile0/gt0/freq0/act_freq", "drm/card*/gt_act_freq_mhz")  # xe, i915; in MHz
THROTTLES = ("tile*/gt*/freq0/throttle/reason_", "drm/card*/gt/gt*/throttle_reason_")


def in_use(folders: list[Path]) -> Path | None:
    """The first that ZE_AFFINITY_MASK leaves. Another variable's choice is not looked through."""
    place = os.environ.get("ZE_AFFINITY_MASK", "0").split(",")[0].split(".")[0]
    is_known = place.isdecimal() and int(place) < len(folders) and "ONEAPI_DEVICE_SELECTOR" not in os.environ
    return folders[int(place)] if is_known else None


def told(root: Path, sleep=time.sleep, clock=time.monotonic) -> dict:
    """In the form that accelerator.py describes, with °C, MHz and W in the reason. root: under which /sys is."""
    device = in_use(gpus(root))
    if device is None:
        return {"throttled": None, "reason": "which GPU is used is not known", "others": None}
    heat = readings.hottest(device)
    mhz = readings.first([path for form in FREQUENCIES for path in sorted(device.glob(form))])
    drawn = watts(device, sleep, clock)
    state = readings.described(heat and heat[0], mhz, drawn)
    throttled, causes = slowdown(device)
    reason = f"{' and '.join(causes)}; {state}" if causes else state
    return {"throttled": throttled, "reason": reason, "others": None, "watts": drawn}


def slowdown(device: Path) -> tuple[bool | None, list[str]]:
    """(throttled, the causes). None: the driver does not tell."""
    flags = [(path, readings.number(path)) for form in THROTTLES for path in sorted(device.glob(f"{form}*"))]
    if not flags:
        return None, []
    active = {path.name.rpartition("reason_")[2] for path, value in flags if value}
    causes = [words for name, words in SLOWDOWNS.items() if name in active]
    return bool(causes), causes


def watts(device: Path, sleep, clock) -> float | None:
    """From the energy that was counted, in microjoules."""
    paths = sorted(device.glob("hwmon/hwmon*/energy[12]_input"))  # of the card, and of its package where that is all
    before, start = readings.first(paths, 1e6), clock()
    if before is None:
        return None
    sleep(POWER_SECONDS)
    after, seconds = readings.first(paths, 1e6), clock() - start
    return None if after is None or after < before else (after - before) / seconds


if __name__ == "__main__":
    print(json.dumps(told(ROOT)))
