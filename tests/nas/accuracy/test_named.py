"""Estimators and strategies by name: what experiments write, and what they are told when it is wrong."""

from __future__ import annotations

import csv
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codesign.nas import accuracy, spaces, strategies
from codesign.nas.accuracy import LearnedAccuracy, MeasuredTable, NasBench201Table, Scored
from codesign.nas.search import search
from codesign.nas.spaces import Space
from codesign.networks import NetworkError
from codesign.predictors import OutOfRangeError

NB201 = spaces.load("nas_bench_201")
MOBILE = spaces.load("ofa_mobilenet_v3")


def write(path: Path, rows: list[list[Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)
    return path


def pairs(path: Path, space: Space, count: int, form: str = "network") -> Path:
    codes = np.unique(space.sample(np.random.default_rng(0), count), axis=0)
    values = 50 + 30 * space.to_vectors(codes).mean(axis=1)
    rows: list[list[Any]] = [["seed", form, "accuracy"]]
    for code, value in zip(codes, values, strict=True):
        written = space.write(code)
        text = written if isinstance(written, str) else json.dumps(written)
        rows.append([1, text if form == "network" else " ".join(map(str, code)), value])
    return write(path, rows)


@pytest.mark.parametrize(
    ("name", "space", "options", "kind"),
    [
        ("nas_bench_201", "nas_bench_201", {}, "measured"),
        ("nas_bench_201", "nas_bench_201", {"oracle": "test_200"}, "measured"),
        ("ofa", "ofa_mobilenet_v3", {}, "predicted"),
        ("ofa", "ofa_mobilenet_v3", {"calibrated": False}, "predicted"),
        ("ofa", "ofa_resnet50", {}, "predicted"),
        ("ofa", "naas_resnet50", {"calibrated": False}, "predicted"),
        ("params", "darts", {}, "proxied"),
    ],
)
def test_estimators_by_name(name: str, space: str, options: dict[str, Any], kind: str) -> None:
    """And two that are made of the same data say the same, one of them from another process."""
    made = accuracy.load(name, spaces.load(space), **options)
    codes = made.space.sample(np.random.default_rng(0), 30)
    codes = codes[made.covers(codes)][:4]
    found = made.estimates(codes)
    assert {estimate.kind for estimate in found} == {kind}
    assert name in accuracy.fitting(made.space)
    code = (
        "import json, numpy as np; from codesign.nas import accuracy, spaces\n"
        f"made = accuracy.load({name!r}, spaces.load({space!r}), **{options!r})\n"
        f"print(json.dumps(made.accuracies(np.array({codes.tolist()})).tolist()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [estimate.accuracy for estimate in found]


def test_options_reach_the_estimator() -> None:
    best = NasBench201Table("cifar100", "test_200")
    made = accuracy.load("nas_bench_201", spaces.load("nas_bench_201", data_set="cifar100"), oracle="test_200")
    codes = NB201.sample(np.random.default_rng(0), 50)
    assert (made.accuracies(codes) == best.accuracies(codes)).all()
    raw, top1 = (accuracy.load("ofa", MOBILE, calibrated=c).accuracies([[0] * 46])[0] for c in (False, True))
    assert raw - top1 == pytest.approx(3.54)


@pytest.mark.parametrize("form", ["network", "code"])
@pytest.mark.parametrize("space", [NB201, MOBILE])
def test_tables_from_files(tmp_path: Path, space: Space, form: str) -> None:
    file = pairs(tmp_path / "mine.csv", space, 60, form)
    made = accuracy.load("table", space, file=str(file))
    assert isinstance(made, MeasuredTable)
    codes = np.unique(space.sample(np.random.default_rng(0), 60), axis=0)
    assert made.accuracies(codes) == pytest.approx(50 + 30 * space.to_vectors(codes).mean(axis=1))
    absent = space.sample(np.random.default_rng(5), 1)
    assert not made.covers(absent)[0]
    with pytest.raises(OutOfRangeError, match=r"table mine\.csv: has no accuracy of"):
        made.estimate(absent[0])
    learned = accuracy.load("table", space, file=file, learn=True, extrapolate=True)
    assert isinstance(learned, LearnedAccuracy)
    assert learned.name == "learned from mine.csv"
    found = learned.estimate(absent[0])
    assert found.kind == "predicted"
    assert found.accuracy == pytest.approx(50 + 30 * space.to_vectors(absent).mean(), abs=5)


CELL = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], r"mine\.csv: must have the columns network \(or code\) and accuracy \(got none\)"),
        ([["network", "top1"]], r"must have the columns .* \(got network, top1\)"),
        ([["network", "accuracy"]], r"mine\.csv: must have at least one network \(got none\)"),
        ([["network", "accuracy"], [CELL, 90], ["cell", 80]], r"mine\.csv:3: network: nas_bench_201: cell must have 3"),
        ([["network", "accuracy"], ["", 80]], r"mine\.csv:2: network: is missing"),
        ([["network", "accuracy"], [CELL]], r"mine\.csv:2: must have 2 values \(got 1\)"),
        ([["network", "accuracy"], [CELL, "nan"]], r"mine\.csv:2: accuracy must be a number .* \(got 'nan'\)"),
        ([["network", "accuracy"], [CELL, "inf"]], r"mine\.csv:2: accuracy must be a number .* \(got 'inf'\)"),
        ([["network", "accuracy"], [CELL, 101]], r"accuracy must be a number from 0 to 100 per cent \(got '101'\)"),
        ([["network", "accuracy"], [CELL, 1], [CELL, 2]], r"mine\.csv:3: accuracy must be 1, as in line 2 .*got 2"),
        ([["code", "accuracy"], ["0 0 0 0 0 7", 1]], r"mine\.csv:2: code: .* must be from 0 to 4 \(got 7\)"),
        ([["code", "accuracy"], ["0 0 0", 1]], r"mine\.csv:2: code: .*a code must have 6 integers"),
        ([["code", "accuracy"], ["a b", 1]], r"mine\.csv:2: code: must be integers with blanks between"),
    ],
)
def test_files_that_are_no_tables(tmp_path: Path, rows: list[list[Any]], message: str) -> None:
    file = write(tmp_path / "mine.csv", rows)
    with pytest.raises(NetworkError, match=message):
        accuracy.load("table", NB201, file=str(file))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"none\.csv: cannot be read as a \.csv file: No such file"):
        accuracy.load("table", NB201, file=str(tmp_path / "none.csv"))
    with pytest.raises(NetworkError, match=r"cannot be read as a \.csv file"):
        accuracy.load("table", NB201, file=str(tmp_path))
    (tmp_path / "bytes.csv").write_bytes(b"network,accuracy\n\xff\xfe,1\n")
    with pytest.raises(NetworkError, match=r"cannot be read as a \.csv file"):
        accuracy.load("table", NB201, file=str(tmp_path / "bytes.csv"))
    few = write(tmp_path / "few.csv", [["network", "accuracy"], [CELL, 10]])
    with pytest.raises(NetworkError, match=r"few\.csv: nothing can be learnt from it: must have at least 5 networks"):
        accuracy.load("table", NB201, file=str(few), learn=True)


@pytest.mark.parametrize(
    ("name", "space", "options", "message"),
    [
        ("ofaa", MOBILE, {}, r"no estimator is called 'ofaa': did you mean ofa\? \(there are nas_bench_201, ofa, "),
        (3, MOBILE, {}, r"no estimator is called 3; \(there are"),
        (
            "ofa",
            NB201,
            {},
            r"ofa: estimates networks of ofa_mobilenet_v3 and ofa_resnet50 only \(got nas_bench_201",
        ),
        ("nas_bench_201", MOBILE, {}, r"of nas_bench_201 only \(got ofa_mobilenet_v3, for which there are ofa, table"),
        ("ofa", MOBILE, {"calibratd": True}, r"ofa: unknown option 'calibratd': did you mean calibrated\?"),
        ("ofa", MOBILE, {"calibrated": "yes"}, r"ofa: calibrated must be true or false \(got 'yes'\)"),
        ("ofa", spaces.load("ofa_resnet50"), {"calibrated": True}, "nothing is published to calibrate it with"),
        ("nas_bench_201", NB201, {"oracle": "test"}, r"oracle must be one of val_12, test_12, test_200 \(got 'test'\)"),
        ("table", NB201, {}, "table: file is missing"),
        ("table", NB201, {"file": 3}, r"table: file must be the path of a \.csv file \(got 3\)"),
        ("zen", NB201, {"batch": 0}, r"zen: batch must be an integer >= 1 \(got 0\)"),
        ("zen", NB201, {"repeats": True}, r"zen: repeats must be an integer >= 1 \(got True\)"),
        ("zen", NB201, {"batch_norm_eps": -1}, r"zen: batch_norm_eps must be a number > 0 \(got -1\)"),
    ],
)
def test_what_is_wrong_is_said(name: Any, space: Space, options: dict[str, Any], message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        accuracy.load(name, space, **options)


def test_zero_shot_scores_by_name() -> None:
    """Those that there are, with the values that they have."""
    zero_shot = pytest.importorskip("codesign.nas.zero_shot")
    assert set(accuracy.named.SCORES) == set(zero_shot.SCORES)
    space = spaces.load("nas_bench_201", data_set="imagenet16")
    made = accuracy.load("naswot", space, batch=4, seed=3)
    assert isinstance(made, Scored)
    found = made.estimate([3] * 6)
    network = space.network([3] * 6)
    assert found.accuracy == zero_shot.score(network, ["naswot"], batch=4, seed=3)["naswot"].mean
    assert (found.kind, made.name) == ("proxied", "naswot")
    assert pickle.loads(pickle.dumps(made)).estimate([3] * 6) == found


def test_a_search_goes_on_past_dead_cells() -> None:
    """Half of the cells drawn here have no path to their output: they have no score, a reason, and are counted."""
    pytest.importorskip("torch")
    space = spaces.load("nas_bench_201", data_set="imagenet16")
    made = accuracy.load("naswot", space, batch=4)
    assert isinstance(made, Scored)

    def sparse(codes: spaces.Codes) -> np.ndarray:
        return np.asarray((codes[:, 3:] == 0).sum(axis=1) >= 2)

    def scores(codes: spaces.Codes) -> np.ndarray:
        return -made.accuracies(codes)[:, None]

    strategy = strategies.load("regularised_evolution", space, population=4, seed=0, admits=sparse)
    found = search(strategy, scores, 12)
    assert len(found.codes) == 12
    dead = {tuple(code) for code in found.codes[found.scores[:, 0] == np.inf].tolist()}
    assert set(made.unanswered) == dead
    assert 0 < found.infeasible == len(dead) < 12
    assert np.isfinite(found.scores[found.best, 0])
    assert all(reason.startswith("naswot ") for reason in made.unanswered.values())


def test_strategies_by_name() -> None:
    for name, kind in strategies.STRATEGIES.items():
        made = strategies.load(name, NB201, seed=3)
        assert type(made) is kind
        assert (made.ask() == kind(NB201, seed=3).ask()).all()
        assert strategies.load(name, NB201, population=7).population == 7
    odd = strategies.load("reinforce", NB201, rate=0.1, admits=lambda codes: codes[:, 0] == 1)
    assert isinstance(odd, strategies.Reinforce)
    assert odd.rate == 0.1
    assert set(odd.ask()[:, 0]) == {1}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("evolution", {}, r"no strategy is called 'evolution': did you mean ofa_evolution"),
        ("random", {"rate": 0.1}, r"random: unknown option 'rate'; \(it has none\)"),
        ("reinforce", {"rat": 0.1}, r"reinforce: unknown option 'rat': did you mean rate\? \(its options are rate\)"),
        ("reinforce", {"rate": 0}, r"reinforce: rate must be a number > 0 \(got 0\)"),
        ("nsga2", {"population": 1}, r"nsga2: population must be an integer >= 2 \(got 1\)"),
        ("nsga2", {"population": "20"}, r"nsga2: population must be an integer >= 2 \(got '20'\)"),
    ],
)
def test_what_is_wrong_with_a_strategy_is_said(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        strategies.load(name, NB201, **options)
