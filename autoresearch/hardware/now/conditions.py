"""What may slow a training at this moment: battery, heat, other load on the processors or on the accelerator. In words for people.

Looking takes WINDOW_SECONDS and what the backend's own answer takes beyond it, and it raises nothing for what a system lacks:
unknown is None and prints n/a. It names; what follows from it is its reader's decision.
"""

from dataclasses import asdict, dataclass
from typing import Any

from autoresearch.hardware import cores
from autoresearch.hardware.devices import accelerator
from autoresearch.hardware.devices.accelerator import Device
from autoresearch.hardware.devices.registry import Backend
from autoresearch.hardware.now import load, power
from autoresearch.hardware.now.load import WINDOW_SECONDS, Load
from autoresearch.hardware.now.power import Heat, Power

# Chosen: a tenth of the cores may cost a tenth of the steps, far more than what two good ideas differ by.
LOAD_LIMIT = 0.1


@dataclass(frozen=True)
class Conditions:
    cores: int  # physical ones that this process may use
    power: Power
    heat: Heat
    load: Load
    device: Device | None = None  # None: the backend says nothing of its device, or was not asked

    @property
    def alerts(self) -> dict[str, str]:
        """What is wrong, as sentences, by kind; the kinds stay the same while the figures in the sentences change."""
        sentences = {}
        if self.power.source == "battery":
            sentences["power"] = f"on battery{_left(self.power)}: most computers run slower then"
        if self.heat.throttled:
            sentences["heat"] = f"throttled: {self.heat.reason}"
        if (self.load.share or 0) >= LOAD_LIMIT:
            sentences["load"] = f"other processes take {self.load.share:.0%} of the usable cores{_most(self.load)}"
        if (self.load.stolen or 0) >= LOAD_LIMIT:
            sentences["host"] = f"this virtual machine's host takes {self.load.stolen:.0%} of the processors' time for others"
        if self.device is not None and self.device.throttled:
            sentences["device heat"] = f"the accelerator is throttled: {self.device.reason}"
        if self.device is not None and self.device.others:
            sentences["device load"] = f"the accelerator is also used by {', '.join(self.device.others)}"
        return sentences

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(self.alerts.values())

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; `lines` makes it readable."""
        table = asdict(self)
        if self.device is not None and self.device.others is not None:
            table["device"]["others"] = list(self.device.others)
        return table | {"warnings": list(self.warnings)}


def look(backend: Backend | None = None, before: Conditions | None = None, window_seconds: float = WINDOW_SECONDS) -> Conditions:
    """The conditions now; some of heat shows only by comparison with a look `before`.

    A window too short to measure a load (0) leaves load and accelerator unknown and takes milliseconds.
    """
    is_long_enough = window_seconds >= load.SHORTEST_SECONDS
    question = accelerator.ask(backend) if backend is not None and is_long_enough else None
    first = power.heat() if before is None else before.heat
    seen = load.watch(window_seconds)
    device = None if question is None else question.answer()
    return Conditions(cores.usable(), power.supply(), power.heat(first), seen, device)


def news(before: Conditions | None, now: Conditions) -> list[str]:
    """The sentences of now that are of another kind than those of before."""
    known = {} if before is None else before.alerts
    return [sentence for kind, sentence in now.alerts.items() if kind not in known]


def lines(table: dict[str, Any]) -> list[str]:
    """What `to_dict` gave as a block for people: each condition with what is known of it, then the warnings."""
    power, load, device = Power(**table["power"]), Load(**table["load"]), table["device"]
    shown = [
        f"power     {power.source + _left(power) if power.source else f'n/a: {power.reason}'}",
        f"heat      {_throttled(table['heat'])}",
    ]
    if load.share is None:
        shown.append("load      n/a")
    else:
        of = f"of the {table['cores']} cores that a run may use"
        shown.append(f"load      other processes take {load.share:.0%} {of}{_most(load)}")
    if load.stolen is not None:
        shown.append(f"host      takes {load.stolen:.0%} of the processors' time for others, as far as it tells")
    if device is not None:
        others = "n/a" if device["others"] is None else ", ".join(device["others"]) or "nobody"
        shown.append(f"device    {_throttled(device)}; also used by: {others}")
    return shown + [f"warning   {sentence}" for sentence in table["warnings"]]


def _throttled(seen: dict[str, Any]) -> str:
    word = {True: "throttled", False: "not throttled", None: "n/a"}[seen["throttled"]]
    return f"{word}: {seen['reason']}"


def _left(seen: Power) -> str:
    return "" if seen.percent is None else f", {seen.percent} % full"


def _most(seen: Load) -> str:
    return f", {seen.largest} most" if seen.largest and seen.share else ""
