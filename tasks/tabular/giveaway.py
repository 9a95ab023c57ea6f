"""Does one column alone give the target away? Measured on training rows: half of a sample says what the other half would be.

The guess for a row is the target of the row that is nearest to it in that column. Where that is right nearly always, the column is
more often the target under another name, or what became known only afterwards, than a good predictor.
"""

import numpy as np

SAMPLE = 10_000  # rows
LEFT = 0.01  # of the wrong guesses that are made without the column, and one more
LEAST = 20  # wrong guesses without it, for the comparison to mean something
LEFT_VARIANCE = 0.001
ALIKE = 0.9999  # squared correlation, of values or of ranks


def of_classes(column: np.ndarray, target: np.ndarray) -> bool:
    """column: float [n] with NaN or int [n]; target: int [n], in an order that tells nothing."""
    usual = np.bincount(target).argmax()
    wrong, without = (_nearest(column, target) != target[1::2]).sum(), (target[1::2] != usual).sum()
    return bool(without >= LEAST and wrong <= LEFT * without + 1)


def of_number(column: np.ndarray, target: np.ndarray) -> bool:
    """target: float [n]."""
    target = target.astype(np.float64)
    if np.square(_nearest(column, target) - target[1::2]).mean() <= LEFT_VARIANCE * target[1::2].var():
        return True
    known = np.isfinite(column)
    if known.mean() < 0.5:
        return False
    pairs = (column[known].astype(np.float64), target[known]), (_ranks(column[known]), _ranks(target[known]))
    return any(_correlation(*pair) ** 2 > ALIKE for pair in pairs)


def _nearest(column: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Of each odd row, the target of the even row whose value is the nearest; NaN is far from all but NaN."""
    values = np.nan_to_num(column.astype(np.float64), nan=1e300)
    order = np.argsort(values[::2], kind="stable")
    fit, asked = values[::2][order], values[1::2]
    right = np.clip(np.searchsorted(fit, asked), 1, len(fit) - 1)
    at = np.where(asked - fit[right - 1] < fit[right] - asked, right - 1, right)
    return target[::2][order][at]


def _ranks(values: np.ndarray) -> np.ndarray:
    """Of equal values the same: float64 [n]."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - counts / 2)[inverse]


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / (np.sqrt(a @ a) * np.sqrt(b @ b) + 1e-300))
