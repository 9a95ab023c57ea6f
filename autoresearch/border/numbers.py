"""The number that a command prints or writes. What it says is hostile: bounded, and one finite number or none.

Printed: the last line that names the metric before a number (`seconds: 1.25`, `seconds=1.25`, `seconds 1.25`), whatever else is on
the line; where no line names it, the last line that is a number alone. Written: a JSON file that holds the number, or has it at a
KEY (`FILE:total.seconds` goes down two tables); or a file with a number and nothing else.
"""

import json
import math
import re

from autoresearch.border.files import Held
from autoresearch.errors import RunFailed
from autoresearch.text import one_line, without_colours

RESULT_BYTES = 1 << 20
LARGEST = 1e300
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?:nan|inf(?:inity)?)"


def printed(output: str, name: str) -> float:
    """RunFailed("invalid") where there is none, or one that can't be."""
    lines = without_colours(output).replace("\r", "\n").split("\n")
    named = re.compile(rf"(?<![\w.-]){re.escape(name)}(?:\s*[:=]\s*|\s+)({_NUMBER})(?![\w.])", re.IGNORECASE)
    alone = re.compile(rf"\s*({_NUMBER})\s*", re.IGNORECASE)
    found = [match[1] for line in lines if (match := named.search(line))] or [
        match[1] for line in lines if (match := alone.fullmatch(line))
    ]
    if not found:
        raise RunFailed("invalid", f"it prints no number: no line with `{name}: NUMBER`, and none with a number alone")
    return _checked(float(found[-1]), found[-1])


def written(folder: Held, result: str) -> float:
    """result: FILE or FILE:KEY. RunFailed("invalid") as above."""
    file, _, key = result.partition(":")
    try:
        text = folder.read(file, RESULT_BYTES)[0].decode("utf-8")
        value = json.loads(text)
    except OSError as error:
        raise RunFailed("invalid", f"{file} can't be read: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise RunFailed("invalid", f"{file} is no JSON") from None
    for part in key.split(".") if key else ():
        value = value.get(part) if isinstance(value, dict) else None
    if type(value) not in (int, float):
        raise RunFailed("invalid", f"{file} has no number{f' at {key}' if key else ''}")
    return _checked(value, value)


def _checked(value: float, told: object) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not abs(number) <= LARGEST:
        raise RunFailed("invalid", f"its number is {one_line(str(told), 40)}, which none can be compared with")
    return number
