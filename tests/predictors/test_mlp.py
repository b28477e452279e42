"""The perceptron: what it can learn, how it is kept, what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from codesign.predictors import Mlp, mlp

RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.uniform(1, 6, (300, 3))
TIMES = 20 + FEATURES[:, 0] * FEATURES[:, 1]


@pytest.fixture(scope="module")
def trained() -> Mlp:
    return mlp.train(FEATURES[:200], TIMES[:200], steps=400, rate=1e-3)


def test_it_learns_a_product(trained: Mlp) -> None:
    error = trained.predict(FEATURES[200:]) - TIMES[200:]
    assert np.sqrt(np.mean(error**2)) < 0.1 * TIMES.std()


def test_it_is_kept_without_pickles(trained: Mlp, tmp_path: Path) -> None:
    trained.save(tmp_path / "m.npz")
    assert Mlp.load(tmp_path / "m.npz").predict(FEATURES).tolist() == trained.predict(FEATURES).tolist()
    np.savez(tmp_path / "n.npz", weights0=np.ones((2, 1)), biases0=np.ones(1), input_scale=np.ones(3), output_scale=1)
    for name in ("n.npz", "none.npz"):
        with pytest.raises(ValueError, match=rf"{name}: is no multilayer perceptron"):
            Mlp.load(tmp_path / name)


def test_the_same_seed_gives_the_same() -> None:
    first, again, other = (mlp.train(FEATURES, TIMES, steps=3, seed=seed).weights[0] for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize(
    ("features", "measured", "options", "expected"),
    [
        (FEATURES, TIMES[:-1], {}, r"measurements \(n,\)"),
        (FEATURES[:, 0], TIMES, {}, r"shape \(n, f\)"),
        (FEATURES, np.where(TIMES > 30, np.nan, TIMES), {}, "must be finite"),
        (FEATURES, TIMES, {"input_scale": [1, 2]}, "scales must be > 0, one per feature"),
        (FEATURES, TIMES, {"output_scale": 0.0}, "scales must be > 0"),
    ],
)
def test_bad_input(features: np.ndarray, measured: np.ndarray, options: dict, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        mlp.train(features, measured, steps=1, **options)


def test_features_of_another_width_are_refused(trained: Mlp) -> None:
    with pytest.raises(ValueError, match=r"shape \(n, 3\) \(got \(2, 4\)\)"):
        trained.predict(np.ones((2, 4)))
