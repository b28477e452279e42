"""Predictors: what they learn, how sure they are, what they refuse, how they are kept."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from accelerators import catalog
from accelerators.documents import DocumentError
from accelerators.operators import Operator, conv2d
from codesign.evaluation import evaluate
from codesign.nas.spaces import nas_bench_201
from codesign.networks import Network, load
from codesign.predictors import OutOfRangeError, Predictor, UnknownOperatorError, Vocabulary
from codesign.predictors.features import VIEWS, operator_counts
from codesign.predictors.process import Process
from codesign.predictors.stacking import stacked, weights_of

CELLS = nas_bench_201.cells()[np.random.default_rng(3).permutation(15625)[:140]]


def network(cell: object, **options: int) -> Network:
    return nas_bench_201.network(list(map(int, cell)), cells_per_stage=1, **options)  # type: ignore[call-overload]


NETWORKS = [network(cell) for cell in CELLS]
COUNTS = [operator_counts(each) for each in NETWORKS]


def times(view: str, noise: float, seed: int = 0) -> np.ndarray:
    """A device that takes so long for every operator of a view, in ms."""
    random = np.random.default_rng(seed)
    took: dict[str, float] = {}
    found = []
    for counts in COUNTS:
        total = 1.0
        for operator, count in counts[view].items():
            took.setdefault(str(operator), 0.02 + 1e-7 * operator.macs)
            total += count * took[str(operator)]
        found.append(total * (1 + noise * random.standard_normal()))
    return np.array(found)


@pytest.mark.parametrize("view", list(VIEWS))
def test_it_finds_out_what_a_device_does_with_dead_operators(view: str) -> None:
    measured = times(view, 0.01)
    predictor = Predictor().fit_counts(COUNTS[:40], measured[:40])
    assert predictor.learnt_from[0].startswith(f"{view} operators")
    predicted = [p.mean for p in predictor.predict_counts(COUNTS[40:], extrapolate=True)]
    assert spearmanr(predicted, measured[40:])[0] > 0.98


@pytest.mark.parametrize("count", [30, 80])
def test_processes_that_see_different_parts_are_mixed(count: int) -> None:
    random = np.random.default_rng(0)
    left, right, idle = random.normal(size=(3, count + 200, 3))
    y = left.sum(axis=1) + 1.2 * right.sum(axis=1)
    processes = [Process(x[:count], y[:count], factor=1.0) for x in (left, right, idle)]
    weights = weights_of(processes)
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()
    assert weights[1] > weights[0] > weights[2]
    alone = [process.predict(x[count:]) for process, x in zip(processes, (left, right, idle), strict=True)]
    mean, std = stacked(list(zip(weights, alone, strict=True)))
    off = [float(np.sqrt(np.mean((found - y[count:]) ** 2))) for found in (mean, *(found for found, _ in alone))]
    assert off[0] < 1.02 * min(off[1:])
    if count > 50:
        # Left-out measurements say that both halves are needed.
        assert off[0] < 0.8 * min(off[1:])
    assert (std > 0).all()


def convolution(channels: int, size: int = 16) -> Operator:
    return conv2d(K=channels, C=channels, P=size, Q=size, R=3, S=3)


def counted(layers: dict[int, int]) -> dict[str, Counter[Operator]]:
    return {view: Counter({convolution(channels): n for channels, n in layers.items()}) for view in VIEWS}


def test_operators_of_similar_shapes_take_similar_times() -> None:
    """Of an operator that no measured network has, those like it say how long it takes."""
    random = np.random.default_rng(0)
    widths = [32, 40, 48, 64, 80, 96, 112, 128]
    drawn = [{width: int(random.integers(0, 4)) for width in widths} for _ in range(40)]

    def took(layers: dict[int, int]) -> float:
        # Neither the operators nor their operations are what counts.
        return 1.0 + sum(n * width**1.5 / 1000 for width, n in layers.items())

    predictor = Predictor().fit_counts([counted(layers) for layers in drawn], [took(layers) for layers in drawn])
    new = {32: 1, 72: 2, 88: 1}
    (found,) = predictor.predict_counts([counted(new)], extrapolate=True)
    assert found.mean == pytest.approx(took(new), rel=0.03)
    assert found.extrapolated
    vocabulary = Vocabulary.of([counted(layers) for layers in drawn], "written")
    assert vocabulary.unknown(counted(new)) == [str(convolution(72)), str(convolution(88))]
    # What is known is not taken for something new, and what is new is as much as what is like it.
    assert vocabulary.others(counted({64: 2})) == pytest.approx(0)
    one = vocabulary.mixed(vocabulary.histogram(counted({64: 1}))[None])[0]
    other = vocabulary.others(counted({72: 1}))
    assert one @ other / np.linalg.norm(one) / np.linalg.norm(other) > 0.95


def test_products_of_mixed_histograms_are_covariances() -> None:
    vocabulary = Vocabulary.of(COUNTS, "written")
    mixed = vocabulary.mixed(np.eye(len(vocabulary.operators)))
    covariance = mixed @ mixed.T
    parts, classes = vocabulary.shapes[:, -1], vocabulary.shapes[:, 0]
    assert np.diag(covariance) == pytest.approx(1.05 * parts**2, rel=1e-6)
    assert covariance[classes[:, None] != classes[None]] == pytest.approx(0, abs=1e-9)
    mean = np.mean([vocabulary.histogram(counts) for counts in COUNTS], axis=0)
    # A part for the number of operators, for operations and for words.
    assert mean @ parts == pytest.approx(3)


def test_its_uncertainty_is_calibrated() -> None:
    inside = []
    for seed in range(4):
        measured = times("written", 0.03, seed)
        predictor = Predictor().fit_counts(COUNTS[:60], measured[:60])
        found = predictor.predict_counts(COUNTS[60:], extrapolate=True)
        inside += [abs(p.mean - y) < 2 * p.std for p, y in zip(found, measured[60:], strict=True)]
    assert 0.85 < np.mean(inside) < 0.995


def test_measurements_that_are_far_off_say_less() -> None:
    alone, inside, better = times("written", 0.0), [], []
    for seed in range(4):
        random = np.random.default_rng(seed)
        measured = alone * (1 + 0.02 * random.standard_t(2.5, len(alone)))
        predictor = Predictor().fit_counts(COUNTS[:80], measured[:80])
        kept = np.setdiff1d(np.arange(80), predictor.outliers)
        if predictor._noise.any():
            off = np.abs(measured / alone - 1)[kept]
            assert spearmanr(predictor._noise, off)[0] > 0.3
            assert np.median(off[predictor._noise == 0]) < np.median(off[predictor._noise > 0])
        better.append(bool(predictor._noise.any()))
        found = predictor.predict_counts(COUNTS[80:], extrapolate=True)
        inside += [abs(p.mean - y) < 2 * p.std for p, y in zip(found, measured[80:], strict=True)]
    assert sum(better) >= 2
    assert 0.85 < np.mean(inside) < 0.995


@pytest.mark.parametrize(
    ("errors", "extra"),
    [
        (np.random.default_rng(0).standard_t(3, 400), True),
        (np.random.default_rng(0).standard_normal(400), False),
        # A tenth of the networks take twice as long: that is no noise.
        (np.random.default_rng(0).normal(0, 0.01, 400) + (np.arange(400) % 10 == 0), False),
    ],
)
def test_only_heavy_tails_are_noise(errors: np.ndarray, extra: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(np.arange(400.0)[:, None], np.arange(400.0) + errors, factor=1.0)
    monkeypatch.setattr(Process, "_leave_out", lambda self: (errors, np.ones(400)))
    noise = process.extra_noise(np.ones(400, bool))
    assert (noise >= 0).all()
    # Over the errors' scale, which is that of the spread here.
    assert (noise.mean() > 0.2 * process._spread**2) == extra
    assert extra or noise.mean() < 0.02 * process._spread**2
    if extra:
        assert noise[np.argmax(np.abs(errors))] == noise.max()
        assert np.mean(noise > 0) < 0.6


def test_wild_measurements_are_left_out() -> None:
    measured = times("written", 0.01)
    measured[7] *= 30
    predictor = Predictor().fit_counts(COUNTS[:60], measured[:60])
    assert predictor.outliers == (7,)
    predicted = [p.mean for p in predictor.predict_counts(COUNTS[60:], extrapolate=True)]
    assert spearmanr(predicted, measured[60:])[0] > 0.98
    assert Predictor().fit_counts(COUNTS[60:], measured[60:]).outliers == ()


def test_it_is_kept_without_pickles(tmp_path: Path) -> None:
    measured = times("written", 0.02)
    predictor = Predictor("mJ").fit(NETWORKS[:30], measured[:30].tolist())
    predictor.save(tmp_path / "p.npz")
    again = Predictor.load(tmp_path / "p.npz")
    assert again.unit == "mJ"
    assert again.learnt_from == predictor.learnt_from
    before, after = (p.predict_counts(COUNTS[30:60], extrapolate=True) for p in (predictor, again))
    assert [p.mean for p in after] == pytest.approx([p.mean for p in before], rel=1e-9)
    assert [p.std for p in after] == pytest.approx([p.std for p in before], rel=1e-6)
    with np.load(tmp_path / "p.npz", allow_pickle=False) as data:
        assert {"about", "weights", "factor", "y", "x_0", "theta_0"} <= set(data.files)
        assert all(data[name].dtype != object for name in data.files)
    (tmp_path / "q.npz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"q.npz: is no predictor"):
        Predictor.load(tmp_path / "q.npz")


def test_very_many_operators_are_seen_as_sums_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codesign.predictors.predictor._MOST_OPERATORS", 5)
    predictor = Predictor().fit_counts(COUNTS[:30], times("written", 0.02)[:30])
    assert {form.what for form, _ in predictor.forms} == {"sums"}
    predictor.save(tmp_path / "p.npz")
    again = Predictor.load(tmp_path / "p.npz")
    (before, after) = (each.predict_counts(COUNTS[30:31], True)[0] for each in (predictor, again))
    assert after.mean == pytest.approx(before.mean)


def test_networks_unlike_the_measured_ones_are_refused_unless_told() -> None:
    predictor = Predictor().fit(NETWORKS[:40], times("written", 0.01)[:40].tolist())
    for strange in (load("ds_cnn"), network(CELLS[0], resolution=64)):
        with pytest.raises((UnknownOperatorError, OutOfRangeError)):
            predictor.predict(strange)
        assert predictor.predict(strange, extrapolate=True).extrapolated
    usual = predictor.predict(NETWORKS[3])
    assert not usual.extrapolated
    assert usual.std > 0


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0] * 3, "must have one measurement per network"),
        ([1.0, 2.0, np.nan, 3.0, 4.0, 5.0], "measurement 3: must be a number from"),
        ([1.0, 2.0, -3.0, 3.0, 4.0, 5.0], "measurement 3: must be a number from"),
        ([2.0] * 6, "measurements must differ"),
    ],
)
def test_bad_measurements(values: list[float], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        Predictor().fit_counts(COUNTS[:6], values)


def test_too_few_measurements() -> None:
    with pytest.raises(ValueError, match="must have at least 5 measurements"):
        Predictor().fit_counts(COUNTS[:4], [1.0, 2.0, 3.0, 4.0])


def test_a_reference_helps_where_measurements_are_few(tmp_path: Path) -> None:
    # A device whose time is no sum over classes: as its roofline says, three times slower and a bit off.
    roofline = np.array([evaluate(each, "galaxy_s7")["galaxy_s7"].latency_s for each in NETWORKS]) * 1e3
    measured = 3 * roofline * (1 + 0.02 * np.random.default_rng(1).standard_normal(len(NETWORKS)))
    few, rest = slice(0, 8), slice(8, None)
    ranks = []
    for reference in (None, "galaxy_s7"):
        predictor = Predictor("ms", reference).fit(NETWORKS[few], measured[few].tolist())
        given = None if reference is None else roofline[rest]
        found = predictor.predict_counts(COUNTS[rest], extrapolate=True, references=given)
        ranks.append(spearmanr([p.mean for p in found], measured[rest])[0])
    assert ranks[1] > max(0.99, ranks[0])
    predictor.save(tmp_path / "p.npz")
    again = Predictor.load(tmp_path / "p.npz")
    assert again.reference == "galaxy_s7"
    assert Predictor.load(str(tmp_path / "p.npz")).reference == "galaxy_s7"
    assert again.predict(NETWORKS[9], extrapolate=True).mean == pytest.approx(measured[9], rel=0.1)
    # Another device's predictor serves as well.
    other = Predictor("ms", str(tmp_path / "p.npz")).fit(NETWORKS[few], (2 * measured[few]).tolist())
    expected = other.predict(NETWORKS[9], extrapolate=True).mean
    assert expected == pytest.approx(2 * measured[9], rel=0.1)
    # What it started from is part of it, whatever becomes of the file.
    other.save(tmp_path / "q.npz")
    (tmp_path / "p.npz").unlink()
    found = Predictor.load(tmp_path / "q.npz")
    assert (found.reference, found.predict(NETWORKS[9], extrapolate=True).mean) == ("p.npz", expected)


def test_a_datasheet_as_reference_is_kept(tmp_path: Path) -> None:
    sheet = catalog.document("galaxy_s7").data
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps(sheet))
    predictor = Predictor("ms", path).fit(NETWORKS[:9], times("written", 0.1)[:9].tolist())
    expected = predictor.predict(NETWORKS[9], extrapolate=True)
    predictor.save(str(tmp_path / "p.npz"))
    path.write_text(json.dumps({**sheet, "clock": "1 GHz"}))
    assert Predictor.load(str(tmp_path / "p.npz")).predict(NETWORKS[9], extrapolate=True) == expected
    path.unlink()
    again = Predictor.load(tmp_path / "p.npz")
    assert (again.reference, again.predict(NETWORKS[9], extrapolate=True)) == ("mine.yaml", expected)


def test_bad_references(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a reference must be a processor"):
        Predictor("ms", "eyeriss")
    with pytest.raises(DocumentError, match="no_such_thing"):
        Predictor("ms", "no_such_thing")
    with pytest.raises(ValueError, match="unit must be one of ms, mJ"):
        Predictor("s")
    Predictor("mJ").fit(NETWORKS[:9], times("written", 0.1)[:9].tolist()).save(tmp_path / "mj.npz")
    with pytest.raises(ValueError, match=r"mj.npz: must predict ms, like the measurements \(got mJ\)"):
        Predictor("ms", tmp_path / "mj.npz")
    predictor = Predictor("ms", "galaxy_s7").fit(NETWORKS[:9], times("written", 0.1)[:9].tolist())
    with pytest.raises(ValueError, match="what it says of the networks must be given"):
        predictor.predict_counts(COUNTS[:2])
    with pytest.raises(ValueError, match="references must be 2 finite numbers"):
        predictor.predict_counts(COUNTS[:2], references=[1.0, np.nan])


def test_random_numbers_are_not_predicted_well() -> None:
    stated = []
    for seed in range(8):
        random = np.random.default_rng(seed)
        chosen = random.choice(len(NETWORKS), 8, replace=False)
        values = random.uniform(1, 100, 8)
        predictor = Predictor().fit_counts([COUNTS[i] for i in chosen], values)
        assert predictor.error is not None
        stated.append(predictor.error)
        # What it says of others must not look sure.
        others = [COUNTS[i] for i in range(len(NETWORKS)) if i not in chosen][:30]
        assert np.median([p.std for p in predictor.predict_counts(others, extrapolate=True)]) > 5
    # Who always says 50 is off by 48 % in the middle.
    assert np.median(stated) > 0.35


def test_the_stated_error_is_that_of_others() -> None:
    measured = times("written", 0.05)
    predictor = Predictor().fit_counts(COUNTS[:30], measured[:30])
    found = predictor.predict_counts(COUNTS[30:], extrapolate=True)
    errors = [abs(p.mean / y - 1) for p, y in zip(found, measured[30:], strict=True)]
    assert predictor.error is not None
    assert 0.4 < predictor.error / float(np.median(errors)) < 2.5


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.pop("theta_0"),
        lambda data: data.update(x_0=data["x_0"][:, 1:]),
        lambda data: data.update(x_0=data["x_0"] > 0),
        lambda data: data.update(y=data["y"] * np.nan),
        lambda data: data.update(y=data["y"] * 0 + 1),
        lambda data: data.update(theta_0=data["theta_0"] * 1e300),
        lambda data: data.update(weights=data["weights"] * 2),
        lambda data: data.update(weights=-data["weights"]),
        lambda data: data.update(weights=data["weights"][1:]),
        lambda data: data.update(factor=np.array(0.5)),
        lambda data: data.update(noise=data["noise"] - 1),
        lambda data: data.update(about=np.array("[" * 20000)),
        lambda data: data.update(about=np.array(str(data["about"]).replace("written", "unheard"))),
        lambda data: data.update(about=np.array(str(data["about"]).replace('"operators"', '"other"'))),
        lambda data: data.update(about=np.array(str(data["about"]).replace('"version": ', '"version": 9'))),
    ],
)
def test_damaged_files_are_refused(change: Callable[[dict], object], tmp_path: Path) -> None:
    path = tmp_path / "p.npz"
    Predictor().fit_counts(COUNTS[:9], times("written", 0.1)[:9]).save(path)
    with np.load(path) as archive:
        data = {key: archive[key] for key in archive.files}
    change(data)
    np.savez(path, **data)
    with pytest.raises(ValueError, match=r"p.npz: is no predictor"):
        Predictor.load(path)


def test_torn_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.npz"
    Predictor().fit_counts(COUNTS[:9], times("written", 0.1)[:9]).save(path)
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    for cut in (0, 1, 4, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match="is no predictor"):
            Predictor.load(path)
    for _ in range(20):
        torn = bytearray(whole)
        torn[int(random.integers(len(whole)))] ^= 0xFF
        path.write_bytes(torn)
        try:
            Predictor.load(path)
        except ValueError as error:
            assert "is no predictor" in str(error)
    np.save(tmp_path / "q.npy", np.ones(3))
    (tmp_path / "q.npy").rename(path)
    with pytest.raises(ValueError, match=r"cannot be read as an \.npz file"):
        Predictor.load(path)
