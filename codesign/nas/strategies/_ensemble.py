"""A bagged ensemble of regression trees, whose members disagree where little is known (Breiman 2001; as a model for
expected improvement: Hutter et al., LION 2011).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

#: Trees, and the least deviation among them: a candidate that all trees know is not certain.
_TREES, _LEAST = 30, 1e-3


def predictions(x: Matrix, y: Matrix, pool: Matrix, random: np.random.Generator) -> Matrix:
    """(trees, N) what each tree, learnt from a bootstrap sample of values (n,) at features (n, f), says of a pool."""
    from sklearn.ensemble import ExtraTreesRegressor

    # Splits are drawn from all features: most of the one-hot ones split nothing.
    forest = ExtraTreesRegressor(_TREES, bootstrap=True, random_state=int(random.integers(2**31)))
    forest.fit(x, y)
    # As trees keep features.
    features = pool.astype(np.float32)
    return np.stack([tree.predict(features, check_input=False) for tree in forest.estimators_])


def moments(members: Matrix) -> tuple[Matrix, Matrix]:
    """Mean and standard deviation (N,) of what the members say (members, N)."""
    return members.mean(axis=0), np.maximum(members.std(axis=0), _LEAST)
