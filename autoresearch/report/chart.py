"""The score over the experiments in letters: the best so far as a line, the other scores as dots.

A braille letter has 2 x 4 dots (Unicode's block U+2800), so 60 columns hold 120 experiments; where only ASCII can be shown, a
letter is one dot.
"""

from functools import lru_cache

_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # of a braille letter, by column and row
_BEYOND = 1.5  # chosen: how far above the baseline the picture ends, in gains; worse scores lie on its upper edge

Letter = tuple[str, bool]  # and whether the line goes through it


Values = tuple[float | None, ...]  # one for each experiment; None: it has none


@lru_cache(maxsize=1)  # it is drawn each second, and changes with an experiment
def chart(
    scores: Values, best: Values, width: int, height: int, ascii_only: bool, rises: bool = False
) -> list[list[Letter]]:  # fmt: skip
    """height rows of width letters, the first row on top. scores and best are of equal length. rises: the best is on top."""
    across, down = (1, 1) if ascii_only else (2, 4)
    low, high = limits(scores, best)
    columns, rows = width * across, height * down

    def row(value: float) -> int:
        below = round((rows - 1) * (high - min(value, high)) / (high - low))
        return rows - 1 - below if rises else below

    def dot(column: int, line: int) -> tuple[int, int, int]:
        return column // across, line // down, _DOTS[column % across][line % down]

    line: dict[tuple[int, int], int] = {}
    dots: dict[tuple[int, int], int] = {}
    last: int | None = None
    for column in range(columns):
        value = best[round(column * (len(best) - 1) / max(1, columns - 1))]
        if value is not None:
            here = row(value)
            before = here if last is None else last
            for step in range(min(here, before), max(here, before) + 1):
                x, y, bit = dot(column, step)
                line[x, y] = line.get((x, y), 0) | bit
            last = here
    for number, score in enumerate(scores):
        if score is not None:
            x, y, bit = dot(round(number * (columns - 1) / max(1, len(scores) - 1)), row(score))
            dots[x, y] = dots.get((x, y), 0) | bit

    def letter(x: int, y: int) -> Letter:
        drawn, on_line = dots.get((x, y), 0) | line.get((x, y), 0), (x, y) in line
        if ascii_only or not drawn:
            return ("-" if on_line else "." if drawn else " "), on_line
        return chr(0x2800 + drawn), on_line

    return [[letter(x, y) for x in range(width)] for y in range(height)]


def limits(scores: Values, best: Values) -> tuple[float, float]:
    """The lowest and the highest value that the chart shows."""
    line = [value for value in best if value is not None]
    known = [value for value in scores if value is not None] + line
    low, first = min(known), line[0] if line else max(known)
    high = max(first, min(max(known), first + _BEYOND * (first - low))) if first > low else max(known)
    return low, high if high > low else low + max(1e-4, 1e-9 * abs(low))
