"""The perceptron: what it can learn, how it is kept, what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from codesign.nas.spaces import nas_bench_201
from codesign.predictors import Mlp, OutOfRangeError, Predictor, mlp

RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.uniform(1, 6, (300, 3))
TIMES = 20 + FEATURES[:, 0] * FEATURES[:, 1]


@pytest.fixture(scope="module")
def trained() -> Mlp:
    return mlp.train(FEATURES[:200], TIMES[:200], steps=400, rate=1e-3)


def test_it_learns_a_product(trained: Mlp) -> None:
    error = trained.predict(FEATURES[200:]) - TIMES[200:]
    assert np.sqrt(np.mean(error**2)) < 0.1 * TIMES.std()


def test_it_is_its_arrays(trained: Mlp) -> None:
    arrays = trained.arrays()
    assert Mlp.of(arrays).predict(FEATURES).tolist() == trained.predict(FEATURES).tolist()
    with pytest.raises(ValueError, match="shapes of its layers do not match"):
        Mlp.of({**arrays, "input_scale": np.ones(4)})
    with pytest.raises(ValueError, match="weights must be finite numbers"):
        Mlp.of({**arrays, "weights0": arrays["weights0"] * np.nan})
    with pytest.raises(ValueError, match="scales must be > 0"):
        Mlp.of({**arrays, "input_scale": np.zeros(3)})


def test_a_predictor_may_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = mlp.train
    monkeypatch.setattr(mlp, "train", lambda *a, **options: train(*a, **(options | {"steps": 300, "rate": 1e-3})))
    random = np.random.default_rng(1)
    networks = [
        nas_bench_201.network(cell, cells_per_stage=1) for cell in random.permutation(nas_bench_201.cells())[:80]
    ]
    measured = [1 + network.macs / 1e7 for network in networks]
    predictor = Predictor(model="perceptron").fit(networks[:60], measured[:60])
    assert predictor.error is not None
    assert predictor.error < 0.1
    found = [predictor.predict(network, extrapolate=True) for network in networks[60:]]
    off = np.array([p.mean for p in found]) / measured[60:] - 1
    assert np.median(np.abs(off)) < 0.1
    # Its uncertainty is what left-out networks showed.
    assert np.mean(np.abs(off) < [2 * p.std / p.mean for p in found]) > 0.8
    predictor.save(tmp_path / "p.npz")
    again = Predictor.load(tmp_path / "p.npz")
    assert (again.model, again.predict(networks[61], extrapolate=True)) == ("perceptron", found[1])
    assert again.learnt_from == predictor.learnt_from == ["written operators as sums (100%)"]
    large = nas_bench_201.network("|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|none~0|none~1|nor_conv_3x3~2|")
    with pytest.raises(OutOfRangeError, match="of class"):
        again.predict(large)
    with np.load(tmp_path / "p.npz") as archive:
        data = {key: archive[key] for key in archive.files}
    np.savez(tmp_path / "p.npz", **{**data, "mlp_input_scale": np.ones(3)})
    with pytest.raises(ValueError, match=r"p\.npz: is no predictor: shapes of its layers do not match"):
        Predictor.load(tmp_path / "p.npz")
    with pytest.raises(ValueError, match="model must be one of processes, perceptron"):
        Predictor(model="oracle")


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
