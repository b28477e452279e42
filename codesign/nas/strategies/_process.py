"""A Gaussian process over a pool of candidates that learns a few observations at a time.

Refitting from scratch for every query costs n^3 + n^2 N; this keeps the rows of L^-1 K(observed, pool), so that an
observation costs n N (Rasmussen and Williams 2006, algorithm 2.1, row by row). The kernel is a squared exponential with
one length for all features, and noise.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

#: Grid of the length, relative to the median distance, and of the noise's variance, relative to the amplitude; and
#: what is thought of them before: mean and deviation of their logarithms.
_LENGTHS, _NOISES = np.geomspace(0.2, 3.2, 9), np.geomspace(1e-3, 0.5, 7)
_LENGTH_PRIOR, _NOISE_PRIOR = (np.log(0.6), 1.0), (np.log(0.02), 1.5)
#: Observations from which both are learnt: the latest.
MOST_FITTED = 300
#: Cosines of which a function of the prior is made.
_WAVES = 256


class Kernel(NamedTuple):
    """Length in units of the features; variances of the values and of their noise, relative to it."""

    length: float
    amplitude: float
    noise: float


def fit(x: Matrix, y: Matrix) -> Kernel:
    """The likeliest kernel on a grid, for features (n, f) and standardised values (n,)."""
    x, y = x[-MOST_FITTED:], y[-MOST_FITTED:]
    squared = _squared_distances(x, x)
    apart = squared[np.triu_indices(len(x), 1)]
    median = float(np.sqrt(np.median(apart[apart > 1e-9]))) if (apart > 1e-9).any() else 1.0
    best, found = -np.inf, Kernel(median, 1.0, 0.1)
    for length in median * _LENGTHS:
        # One decomposition serves all noises.
        values, vectors = np.linalg.eigh(np.exp(-squared / (2 * length**2)))
        projected = (vectors.T @ y) ** 2
        for noise in _NOISES:
            spread = np.maximum(values, 0.0) + noise
            # The amplitude that fits best, held near 1 while there is little to see.
            amplitude = float(((projected / spread).sum() + 1.0) / (len(y) + 1.0))
            likelihood = -0.5 * (len(y) * np.log(amplitude) + np.log(spread).sum())
            likelihood -= 0.5 * ((np.log(length / median) - _LENGTH_PRIOR[0]) / _LENGTH_PRIOR[1]) ** 2
            likelihood -= 0.5 * ((np.log(noise) - _NOISE_PRIOR[0]) / _NOISE_PRIOR[1]) ** 2
            if likelihood > best:
                best, found = likelihood, Kernel(float(length), amplitude, float(noise))
    return found


class Posterior:
    """What is expected of a pool of candidates, by their features (N, f)."""

    def __init__(self, kernel: Kernel, pool: Matrix):
        self.kernel = kernel
        # Single precision where there is a number per candidate: it is most of the memory and of the time.
        self._pool = pool.astype(np.float32)
        self._norms = (self._pool**2).sum(axis=1)
        self._x = np.zeros((0, pool.shape[1]))
        self._lower = np.zeros((0, 0))
        #: (n, N) of L^-1 K(observed, pool).
        self._rows = np.zeros((0, len(pool)), np.float32)
        self._count = 0
        self._explained = np.zeros(len(pool))

    @property
    def count(self) -> int:
        """Observations so far."""
        return self._count

    def add(self, x: Matrix) -> None:
        """Observations at features (b, f)."""
        from scipy.linalg import solve_triangular

        n, b = self._count, len(x)
        here = self._correlations(x, x) + self.kernel.noise * np.eye(b)
        side: Matrix = np.zeros((0, b))
        if n:
            side = solve_triangular(self._lower, self._correlations(self._x, x), lower=True)
        corner = np.linalg.cholesky(here - side.T @ side + 1e-10 * np.eye(b))
        rows = self._to_pool(x.astype(np.float32)) - side.T.astype(np.float32) @ self._rows[:n]
        rows = solve_triangular(corner.astype(np.float32), rows, lower=True)
        lower = np.zeros((n + b, n + b))
        lower[:n, :n], lower[n:, :n], lower[n:, n:] = self._lower, side.T, corner
        self._lower, self._x = lower, np.concatenate([self._x, x])
        if n + b > len(self._rows):
            grown = np.empty((max(2 * len(self._rows), n + b, 16), len(self._pool)), np.float32)
            grown[:n] = self._rows[:n]
            self._rows = grown
        self._rows[n : n + b] = rows
        self._explained += np.einsum("ij,ij->j", rows, rows, dtype=np.float64)
        self._count = n + b

    def moments(self, y: Matrix) -> tuple[Matrix, Matrix]:
        """Mean and standard deviation (N,) of the pool for standardised values (n,) observed.

        The noise is part of it: it is what features do not tell of a network, and a query shows it like the rest.
        """
        from scipy.linalg import solve_triangular

        weights = solve_triangular(self._lower, y, lower=True).astype(np.float32)
        mean = (weights @ self._rows[: self._count]).astype(np.float64)
        # Single precision leaves rounding where all is known.
        variance = np.maximum(1.0 - self._explained, 1e-6) + self.kernel.noise
        return mean, np.sqrt(self.kernel.amplitude * variance)

    def draw(self, y: Matrix, random: np.random.Generator) -> Matrix:
        """(N,) a function, without noise, drawn from what is thought of the pool after standardised values (n,).

        One of the prior, made of random Fourier features (Rahimi and Recht 2007), is corrected by what it misses at
        the observations (Wilson et al., ICML 2020, equation 13).
        """
        from scipy.linalg import solve_triangular

        amplitude = self.kernel.amplitude
        waves = random.standard_normal((self._x.shape[1], _WAVES)) / self.kernel.length
        phases = random.uniform(0.0, 2 * np.pi, _WAVES)
        heights = random.standard_normal(_WAVES) * np.sqrt(2 * amplitude / _WAVES)
        noise = random.standard_normal(len(y)) * np.sqrt(amplitude * self.kernel.noise)
        missed = y - np.cos(self._x @ waves + phases) @ heights - noise
        weights = solve_triangular(self._lower, missed, lower=True).astype(np.float32)
        prior = np.cos(self._pool @ waves.astype(np.float32) + phases.astype(np.float32)) @ heights.astype(np.float32)
        return np.asarray(prior + weights @ self._rows[: self._count], np.float64)

    def _to_pool(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """(b, N) correlations with the candidates."""
        found = x @ self._pool.T
        found *= -2.0
        found += self._norms
        found += (x**2).sum(axis=1)[:, None]
        np.maximum(found, 0.0, out=found)
        found *= np.float32(-0.5 / self.kernel.length**2)
        return np.exp(found, out=found)

    def _correlations(self, a: Matrix, b: Matrix) -> Matrix:
        return np.asarray(np.exp(-_squared_distances(a, b) / (2 * self.kernel.length**2)))


def _squared_distances(a: Matrix, b: Matrix) -> Matrix:
    found = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2 * a @ b.T
    return np.asarray(np.maximum(found, 0.0))
