"""What a person may want to see of the machine beside a run: memory, heat, clock, battery. None: the system does not say.

A look reads a few small files of the system, starts no process and raises nothing.
"""

from dataclasses import dataclass

from autoresearch.hardware.now import power
from autoresearch.hardware.now.observer import clock_mhz


@dataclass(frozen=True)
class Health:
    memory_share: float | None = None  # of the computer's, in use
    hottest_celsius: float | None = None
    hottest_name: str | None = None  # the sensor's chip, as the system calls it
    clock_mhz: float | None = None
    battery_percent: int | None = None
    on_battery: bool = False


def look() -> Health:
    import psutil

    memory = hottest = name = None
    try:
        memory = psutil.virtual_memory().percent / 100
        sensors = psutil.sensors_temperatures()
        known = [(sensor.current, chip) for chip, found in sensors.items() for sensor in found if 0 < sensor.current < 150]
        hottest, name = max(known, default=(None, None))
    except (AttributeError, OSError, RuntimeError, psutil.Error):  # AttributeError: macOS and Windows tell no temperature
        pass
    supply = power.supply()
    return Health(memory, hottest, name, clock_mhz(), supply.percent, supply.source == "battery")
