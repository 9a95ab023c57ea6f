"""What a change of some constants would do to the score, from the results so far: a Gaussian process, additive over constants.

Each constant adds its own smooth curve of its position (or its own level of each kind), on top of a shallow bowl around the
start, where people already put sensible values. Additive, because some dozens of results can't tell more, and because it lets
an experiment that changed two constants teach about both. Amplitude, bowl and noise are chosen by marginal likelihood from a
few values each. Rasmussen and Williams, Gaussian Processes for Machine Learning, chapters 2 and 5; additive kernels: Duvenaud
et al. 2011. numpy only: 128 results and 60 settings take some tens of milliseconds.
"""

import math

import numpy as np

LENGTH = 0.3  # of a curve, in units of the axis: it turns once or twice at most
KIND_BOWL = 0.05  # what leaving the start's kind counts in the bowl, as a squared distance
# In units of the score itself. Published keeps gain up to 0.012 of 1.0, runs differ by 0.0007 to 0.03 between seeds.
AMPLITUDES = (0.002, 0.004, 0.008, 0.016, 0.03)
NOISES = (0.0003, 0.001, 0.003, 0.01)
BOWLS = (0.5, 2.0, 6.0)  # rise at distance 1 along an axis, in amplitudes
OFFSET = 0.1  # of the level that all results share
CODE_OFFSET = 0.02  # of texts that differ in more than constants


class Additive:
    """The model of results: positions float [N, A], scores float [M] of the first M; kinds bool [A]; codes int [N], one a code.

    Positions without a score are under way: they lower the doubt about what is alike, as their results will, and move no mean
    (GP-BUCB: Desautels, Krause and Burdick 2014).
    """

    def __init__(self, positions: np.ndarray, scores: np.ndarray, kinds: np.ndarray, codes: np.ndarray):
        self.positions, self.kinds, self.start = positions, kinds, positions[0]
        level, known = float(np.median(scores)), len(scores)
        unit = self.unit = abs(level) or 1.0
        shared = OFFSET**2 + CODE_OFFSET**2 * (codes[:, None] == codes[None, :])
        similar, bowl, identity = self._kernel(positions, positions), self._bowl(positions[:known]), np.eye(len(positions))
        best_evidence = -math.inf
        for amplitude in AMPLITUDES:
            for noise in NOISES:
                covariance = unit**2 * (amplitude**2 * similar + shared + noise**2 * identity)
                root = np.linalg.cholesky(covariance)
                own = root[:known, :known]
                log_determinant = 2 * np.log(np.diag(own)).sum()
                for steepness in BOWLS:
                    rest = scores - level - unit * amplitude * steepness * bowl
                    white = np.linalg.solve(own, rest)
                    # Weak priors around the middle of each list decide while there are few results.
                    away = np.log([noise / 0.001, amplitude / 0.008, steepness / 2])
                    evidence = -0.5 * float(white @ white) - 0.5 * log_determinant - 0.2 * float(away @ away)
                    if evidence > best_evidence:
                        best_evidence = evidence
                        self.variance, self.steepness = (unit * amplitude) ** 2, unit * amplitude * steepness
                        self._root, self._weights = root, np.linalg.solve(root.T, np.pad(white, (0, len(positions) - known)))

    def change(self, candidates: np.ndarray, base: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation, [C] each, of score(candidate) - score(base); candidates float [C, A], base float [A]."""
        base = base[None, :]
        contrast = self._kernel(candidates, self.positions) - self._kernel(base, self.positions)  # [C, N]
        cross = self.variance * contrast
        mean = cross @ self._weights + self.steepness * (self._bowl(candidates) - self._bowl(base))
        known = np.linalg.solve(self._root, cross.T)
        prior = 2 * self.variance * (len(self.kinds) - self._kernel(candidates, base)[:, 0])
        return mean, np.sqrt(np.maximum(prior - (known * known).sum(0), 1e-14 * min(1.0, self.unit) ** 2))

    def _kernel(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """The sum over axes of how alike two positions are: float [L, R], at most A."""
        gap = left[:, None, :] - right[None, :, :]
        alike: np.ndarray = np.where(self.kinds, gap == 0, np.exp(-gap * gap / (2 * LENGTH**2))).sum(2)
        return alike

    def _bowl(self, positions: np.ndarray) -> np.ndarray:
        gap = positions - self.start
        away: np.ndarray = np.where(self.kinds, KIND_BOWL * (gap != 0), gap * gap).sum(1)
        return away


def expected_improvement(mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """The mean of max(0, -change), for a normal change (Mockus 1978): large for a likely gain and for a daring try."""
    z = -mean / deviation
    below = 0.5 * (1 + np.array([math.erf(x / math.sqrt(2)) for x in z]))
    gain: np.ndarray = -mean * below + deviation * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return gain
