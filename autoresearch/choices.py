"""What a profile or a person may choose in a runtime's place: dtype, whether it compiles, which attention, how many threads.

A profile's [runtime] table reaches every worker of a study as the variables below, which a person may set as well; the profile's
go before. Each runtime.py asks `settle` for its choice, so the rule is written once. No framework is imported here.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence

from autoresearch.errors import UsageError

Value = bool | int | str
VARIABLES = {
    "dtype": "AUTORESEARCH_DTYPE",
    "compile": "AUTORESEARCH_COMPILE",
    "attention": "AUTORESEARCH_ATTENTION",
    "threads": "AUTORESEARCH_THREADS",
}
DTYPES = ("float32", "bfloat16", "float16")  # the fewer digits or the less range, the later
WORTH = 1.25  # times as fast its products must be for a dtype to go before one with more digits or range
ROUNDS = 15
SMALL_ROUNDS = 8  # with 2, an H200 that four other processes used was asked to compute in float32
HOPELESS = 20.0  # times as slow as another, in a small product
CLOSE = 2.0  # within this factor of the fastest products a dtype is worth a comparison of whole steps
_FLAGS = {"1": True, "on": True, "true": True, "0": False, "off": False, "false": False}


def variables(runtime: Mapping[str, Value]) -> dict[str, str]:
    """A [runtime] table as variables of a worker's environment."""
    return {VARIABLES[name]: shown(value) for name, value in runtime.items()}


def settled(runtime: Mapping[str, Value], dtype: str | None) -> dict[str, str]:
    """The same with the dtype that a probe has found by the clock: no process measures it again, so that all compute in one."""
    if dtype in DTYPES and "dtype" not in runtime and asked_for("dtype") is None:
        return variables({**runtime, "dtype": dtype})
    return variables(runtime)


def settle(name: str, own: Value, reason: str, offered: Sequence[Value]) -> tuple[Value, str]:
    """(choice, reason): the runtime's own, or the one of those that it offers which the variable asks for. Raises UsageError."""
    text = asked_for(name)
    if text is None:
        return own, reason
    value = _FLAGS.get(text.lower(), text) if name == "compile" else int(text) if text.isdecimal() else text
    if value not in offered:
        variable = VARIABLES[name]
        problem = f"{variable} is {text!r}, and here is {_either(offered)} only ({reason})"
        raise UsageError(problem, f"set it (or {name} in the profile's [runtime]) to {_either(offered)}, or remove it")
    return value, f"the profile's [runtime] or {VARIABLES[name]} asks for it"


def settle_dtype(
    own: str, offered: Sequence[str], product: Callable[[str, int], Callable[[], None]], size: int
) -> tuple[str, str, tuple[str, ...]]:
    """(dtype, reason, those that whole steps may still decide between): the one asked for, or that of the fastest products.

    own: where nothing can be timed. offered: of DTYPES, what the device can compute in. product(dtype, n) makes a function that
    multiplies [4n, n] by [n, 4n] on the device and returns when that is done; it raises where the device can't. size: the n to
    time. Raises UsageError for what is asked for and not offered.
    """
    text = asked_for("dtype")
    if text is not None:
        _, reason = settle("dtype", text, "what the device can compute in", offered)
        return text, reason, (text,)
    flops = measured_products(offered, product, size)
    return by_products(flops) if flops else (own, "no product could be timed", (own,))


def measured_products(offered: Sequence[str], product: Callable[[str, int], Callable[[], None]], size: int) -> dict[str, float]:
    """FLOP/s in each dtype, the best of ROUNDS in turn: another load hits all alike. Without those that fail, and those that a
    small product shows to be hopeless: emulated ones take a second where others take a millisecond.
    """
    made, small = {}, {}
    for name in offered:
        try:
            small[name] = _best_flops({name: product(name, size // 4)}, size // 4, SMALL_ROUNDS)[name]
            if small[name] * HOPELESS > max(small.values()):
                made[name] = product(name, size)
                made[name]()  # takes its memory, loads its kernel
        except (RuntimeError, TypeError, ValueError, AssertionError):  # what frameworks raise for a dtype or a device they lack
            made.pop(name, None)
    return {name: flops for name, flops in small.items() if name not in made} | _best_flops(made, size, ROUNDS)


def _best_flops(products: Mapping[str, Callable[[], None]], size: int, rounds: int) -> dict[str, float]:
    best = dict.fromkeys(products, float("inf"))
    for _ in range(rounds):
        for name, multiply in products.items():
            start = time.perf_counter()
            multiply()
            best[name] = min(best[name], time.perf_counter() - start)
    return {name: 32 * size**3 / max(seconds, 1e-9) for name, seconds in best.items()}


def by_products(flops: Mapping[str, float]) -> tuple[str, str, tuple[str, ...]]:
    """What `settle_dtype` answers, from the FLOP/s of products in each dtype.

    >>> by_products({"float32": 0.19e12, "bfloat16": 0.43e12})
    ('bfloat16', 'products measured here: bfloat16 0.43 TFLOP/s, float32 0.19', ('bfloat16',))
    """
    chosen, *others = (name for name in DTYPES if name in flops)
    for name in others:
        if flops[name] >= WORTH * flops[chosen]:
            chosen = name
    order = sorted(flops, key=lambda name: (name != chosen, -flops[name]))
    speeds = [f"{name} {flops[name] / 1e12:.2g}" for name in order]
    speeds[0] += " TFLOP/s"
    close = tuple(name for name in order if flops[name] * CLOSE >= max(flops.values()))
    return chosen, f"products measured here: {', '.join(speeds)}", close


def left(**offered: Sequence[Value]) -> dict[str, list[Value]]:
    """For a probe's `choices`: the names with more than one value, of which nobody has asked for one yet."""
    return {name: list(values) for name, values in offered.items() if len(values) > 1 and asked_for(name) is None}


def thread_counts(cores: int) -> list[int]:
    """Counts that may be tried: all cores, one less (something else runs too), half of them (they share caches and power)."""
    return sorted({cores, max(1, cores - 1), max(1, cores // 2)}, reverse=True)


def asked_for(name: str) -> str | None:
    """The variable's text; None where it is not set, or empty."""
    return os.environ.get(VARIABLES[name], "").strip() or None


def shown(value: Value) -> str:
    """on, off, a number or a name."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def described(runtime: Mapping[str, Value]) -> str:
    """As in "compile off, threads 1"."""
    return ", ".join(f"{name} {shown(value)}" for name, value in runtime.items())


def _either(offered: Sequence[Value]) -> str:
    return f"{offered[0]} to {offered[-1]}" if isinstance(offered, range) and len(offered) > 1 else " or ".join(map(shown, offered))
