"""One Gaussian process: a linear part, a smooth part, and noise that may differ from measurement to measurement."""

from __future__ import annotations

import math
import warnings

import numpy as np
from numpy.typing import NDArray

#: Measurements that are more standard deviations off than this, if left out, are outliers.
MOST_SIGMAS = 4.5
#: Measurements that say by being left out which way is best; with fewer, by chance too often.
ENOUGH_TO_LEAVE_OUT = 50
#: Of the kernel.
PARAMETERS = 5
#: With so many degrees of freedom Student's distribution is nearly normal. With fewer than two it has no variance: few
#: errors that are so much larger than all others are no noise, but networks that the process has not understood.
_NORMAL_FREEDOM, _LEAST_FREEDOM = 30.0, 2.0
#: The squared length of networks' features from operators in the mean, whatever the number of directions.
_LENGTH = 30.0
#: Variance that keeps matrices from being singular, over the measurements'.
_JITTER = 1e-10
#: Prior variance of the mean of all measurements, over theirs: it is not known before any of them is.
_MEAN_VARIANCE = 1e3


class Process:
    """The Gaussian process on a matrix of features; with ``theta`` its parameters are known.

    ``factor`` is what standard deviations are multiplied with; from each measurement left out if absent. The first
    ``alike`` features keep their lengths to each other; of all others none is more likely to matter than another.
    ``noise`` (n,) are variances that single measurements have beyond that of all.
    """

    def __init__(
        self,
        x: NDArray[np.float64],
        y: NDArray[np.float64],
        theta: NDArray[np.float64] | None = None,
        factor: float | None = None,
        alike: int = 0,
        noise: NDArray[np.float64] | None = None,
    ):
        try:
            from sklearn.exceptions import ConvergenceWarning
            from sklearn.gaussian_process import GaussianProcessRegressor
            from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel
        except ImportError:
            raise ImportError("predictors need scikit-learn: pip install 'codesign[predict]'") from None
        self._x, self._y = x, y
        self._mean, self._std = x.mean(axis=0), x.std(axis=0)
        together = float(np.sum(self._std[:alike] ** 2))
        self._std[:alike] = math.sqrt(together / _LENGTH) if together > 0 else 0.0
        # Columns that never change say nothing; those that change alike count once.
        used = np.nonzero(self._std > 0)[0]
        scaled = (x[:, used] - self._mean[used]) / self._std[used]
        _, first = np.unique(np.round(scaled, 9), axis=1, return_index=True)
        self._used = used[np.sort(first)]
        self._middle, self._spread = float(y.mean()), float(y.std())
        length = float(np.count_nonzero(self._used >= alike)) + (_LENGTH if together > 0 else 0.0)
        kernel = (
            ConstantKernel(1.0, (1e-3, 1e3)) * DotProduct(1.0, (1e-2, 1e2))
            + ConstantKernel(0.1, (1e-4, 1e2)) * RBF(math.sqrt(max(1, length)), (0.5, 100.0))
            + WhiteKernel(0.05, (1e-6, 1.0))
        )
        if theta is not None:
            kernel.theta = theta
        self._noise = (np.zeros(len(y)) if noise is None else noise) / self._spread**2
        optimizer = None if theta is not None else "fmin_l_bfgs_b"
        self._model = GaussianProcessRegressor(kernel, alpha=_JITTER + self._noise, optimizer=optimizer)
        with warnings.catch_warnings():
            # A bound that is reached is a result, such as no noise at all.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._model.fit(self._scaled(x), (y - self._middle) / self._spread)
        # Parameters that suit the measurements too well promise too much; that they promise too little is not believed.
        self._factor = max(1.0, float(np.sqrt(np.mean(self.left_out() ** 2)))) if factor is None else factor

    @property
    def measurements(self) -> int:
        """How many it learnt from."""
        return len(self._y)

    def _scaled(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return (x[:, self._used] - self._mean[self._used]) / self._std[self._used]

    def _leave_out(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Errors and standard deviations of measurements that are left out, over the spread of all, (n,) both.

        Rasmussen and Williams, equations 5.10 to 5.12. What is centred on the mean of all must not learn that mean from
        what is left out: its prior is as good as flat.
        """
        covariance = self._model.kernel_(self._model.X_train_) + np.diag(self._noise)
        inverse = np.linalg.inv(covariance + _MEAN_VARIANCE)
        variance = 1 / np.diag(inverse)
        errors: NDArray[np.float64] = (inverse @ self._model.y_train_.ravel()) * variance
        return errors, np.sqrt(variance)

    def weighted_errors(self) -> NDArray[np.float64]:
        """Errors of measurements that are left out, over the spread of all; those with more noise count less, (n,)."""
        common = self._model.kernel_.k2.noise_level
        return self._leave_out()[0] * np.sqrt(common / (common + self._noise))

    def extra_noise(self, kept: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Variances that ``kept`` measurements have beyond that of all, if errors are of Student's distribution."""
        from scipy.stats import t

        errors = self._leave_out()[0][kept]
        freedom, middle, scale = t.fit(errors)
        if not (_LEAST_FREEDOM <= freedom <= _NORMAL_FREEDOM and scale > 0):
            return np.zeros(len(errors))
        weights = np.minimum(1.0, (freedom + 1) / (freedom + ((errors - middle) / scale) ** 2))
        return np.asarray((1 / weights - 1) * (scale * self._spread) ** 2)

    def left_out(self) -> NDArray[np.float64]:
        """Errors of measurements that are left out, each over what the process expects of it, (n,)."""
        errors, std = self._leave_out()
        return errors / std

    def credibility(self) -> float:
        """Log probability of the measurements, each predicted by the others (Rasmussen and Williams, 5.10 and 5.11).

        The marginal likelihood, which is taken instead where measurements are few, prefers few features to many that
        predict better. Outliers count no more than the least that are told from the rest.
        """
        if len(self._y) < ENOUGH_TO_LEAVE_OUT:
            return float(self._model.log_marginal_likelihood_value_)
        errors, std = self._leave_out()
        return float(-np.sum(np.minimum((errors / std) ** 2, MOST_SIGMAS**2) / 2 + np.log(std)))

    def predict(self, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation (n,) for features (n, f)."""
        mean, std = self._model.predict(self._scaled(x), return_std=True)
        return mean * self._spread + self._middle, std * self._spread * self._factor

    @property
    def theta(self) -> NDArray[np.float64]:
        """The parameters that were learnt."""
        return np.asarray(self._model.kernel_.theta)
