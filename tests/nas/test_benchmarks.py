"""The network-search benchmarks: closed figures of the true fronts, files of one's own, targets that can be missed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks._common import BadInputError, read_json
from benchmarks.nas import _nb201, nb201, ofa
from codesign.nas.spaces import nas_bench_201, staged
from codesign.search import pareto

CELLS = np.arange(_nb201.CELLS)
COLUMNS = {column.name: column for column in _nb201.read_costs(nb201.DEFAULT)}


# Hypervolumes and sizes of the true fronts as published searches are judged by them.
@pytest.mark.parametrize(
    ("name", "whole", "count"),
    [
        ("eyeriss_cifar10 EDP", 0.9603, 16),
        ("help_raspi4 latency", 0.8889, 43),
        ("hw360_pi5_litert_cifar100 EDP", 0.9458, 25),
    ],
)
def test_true_fronts(name: str, whole: float, count: int) -> None:
    column = COLUMNS[name]
    assert _nb201.hypervolume(CELLS, column) == pytest.approx(whole, abs=5e-5)
    accuracy = _nb201.nas_bench_201_accuracies(column.data_set, "test_200")
    found = _nb201.front(CELLS, accuracy, column.values)
    assert len(found) == count
    assert _nb201.hypervolume(found, column) == pytest.approx(_nb201.hypervolume(CELLS, column))


def test_hypervolumes_are_those_of_any_front() -> None:
    column = COLUMNS["eyeriss_cifar10 EDP"]
    accuracy = _nb201.nas_bench_201_accuracies("cifar10", "test_200")
    rows = np.random.default_rng(0).choice(CELLS, 60, replace=False)
    points = np.stack([column.values[rows], -accuracy[rows]], axis=1)
    whole = (column.values.max() - column.values.min()) * (accuracy.max() - 85)
    expected = pareto.hypervolume(points, np.array([column.values.max(), -85.0])) / whole
    assert _nb201.hypervolume(rows, column) == pytest.approx(expected)
    assert set(_nb201.front(rows, accuracy, column.values)) <= set(rows[pareto.front(points)])
    assert _nb201.hypervolume(rows[accuracy[rows] < 85], column) == 0


def _file(path: Path, **columns: np.ndarray) -> Path:
    np.savez(path, **columns)
    return path


def test_files_of_other_devices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    path = _file(
        tmp_path / "other.npz",
        mine_lat_ms=random.random(_nb201.CELLS) + 1,
        mine_energy_mj=random.random(_nb201.CELLS) + 1,
        other_imagenet16_lat_ms=random.random(_nb201.CELLS) + 1,
        third_energy_mj_reconstructed=random.random(_nb201.CELLS) + 1,
        hw360_pi5_litert_ninapro_lat_ms=np.ones(3),
    )
    found = _nb201.read_costs(path)
    assert [(c.name, c.data_set) for c in found] == [
        ("mine EDP", "cifar10"), ("other_imagenet16 latency", "imagenet16"), ("third energy", "cifar10"),
    ]  # fmt: skip
    assert nb201.main(["--hardware", str(path), "--list"]) == 0
    assert capsys.readouterr().out == "mine EDP, other_imagenet16 latency, third energy\n"
    with pytest.raises(BadInputError, match="no cost's name contains 'nothing'"):
        nb201.main(["--hardware", str(path), "--cost", "nothing"])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"arch": np.zeros(3)}, r"no latency or energy of NAS-Bench-201 \(keys: arch\)"),
        ({"a_lat_ms": np.ones(3)}, r"a_lat_ms: must be 15625 numbers, one per cell \(got shape \(3,\)"),
        ({"a_lat_ms": np.ones(_nb201.CELLS)}, r"a_lat_ms: values must differ \(got 1 for all networks\)"),
        ({"a_lat_ms": np.arange(_nb201.CELLS) - 7.0}, r"a_lat_ms\[0\]: must be a number > 0 \(got -7\)"),
        ({"a_lat_ms": np.full(_nb201.CELLS, np.nan)}, r"a_lat_ms\[0\]: must be a number > 0 \(got nan\)"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, columns: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        _nb201.read_costs(_file(tmp_path / "bad.npz", **columns))


def test_cells_may_come_in_another_order(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random(_nb201.CELLS) + 1
    order = np.random.default_rng(1).permutation(_nb201.CELLS)
    arch = nas_bench_201.cells()[order]
    (found,) = _nb201.read_costs(_file(tmp_path / "a.npz", arch=arch, mine_lat_ms=values[order]))
    assert (found.values == values).all()
    with pytest.raises(BadInputError, match="arch: must be all 15625 cells, each once"):
        _nb201.read_costs(_file(tmp_path / "a.npz", arch=arch[np.maximum(order, 1)], mine_lat_ms=values))
    with pytest.raises(BadInputError, match=r"arch: .* must be from 0 to 4 \(got 5\)"):
        _nb201.read_costs(_file(tmp_path / "a.npz", arch=np.full((_nb201.CELLS, 6), 5), mine_lat_ms=values))
    twice = {"mine_energy_mj": values, "mine_energy_mj_reconstructed": 2 * values}
    with pytest.raises(BadInputError, match="mine_energy_mj_reconstructed: mine has energy_mj already"):
        _nb201.read_costs(_file(tmp_path / "a.npz", **twice))


@pytest.mark.slow
def test_searches_are_run_and_judged(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--cost", "raspi4", "--seeds", "1", "--queries", "100", "--workers", "1"]
    code = nb201.main(arguments)
    out = capsys.readouterr().out
    for arm in ("surrogate, costs unknown", "nsga2", "regularised_evolution", "random", "all cells", "reinforce"):
        assert arm in out
    assert (code == 1) == ("(target 0.97)" in out)


def test_a_search_asks_as_often_as_it_says() -> None:
    column = COLUMNS["eyeriss_cifar10 EDP"]
    for arm in ("random", "nsga2", "surrogate"):
        rows = _nb201.run(arm, column, "val_12", 60, 0, False)
        assert len(rows) == len(set(rows.tolist())) == 60
        assert (rows == _nb201.run(arm, column, "val_12", 60, 0, False)).all()


def test_the_published_predictors_and_networks(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Without the searches, which take longer: a reference that has none."""
    reference = json.loads((ofa._DATA / "ofa_predictor_reference.json").read_text())
    limits = reference.pop("evolution_note10")
    path = tmp_path / "reference.json"
    path.write_text(json.dumps(reference))
    assert ofa.main(["--reference", str(path)]) == 0
    out = capsys.readouterr().out
    assert "17 outputs" in out
    assert "tau 0.929" in out
    # A wrong output is seen.
    reference["mbv3"]["max_224"] += 2e-5
    path.write_text(json.dumps(reference))
    assert ofa.main(["--reference", str(path)]) == 1
    assert "mbv3: max_224: -2.0e-05 (target 1e-05)" in capsys.readouterr().out
    reference["mbv3"]["max_225"] = 0.8
    path.write_text(json.dumps(reference))
    with pytest.raises(BadInputError, match=r"mbv3: max_225: ofa_mobilenet_v3: r must be one of"):
        ofa.main(["--reference", str(path)])
    assert set(limits) == {"20", "25", "30", "40"}


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ([1], "evolution_note10: must be an object"),
        ({"nan": {"best_after_100_iters": [0.8]}}, "evolution_note10: nan: must be a limit in ms"),
        ({"-5": {"best_after_100_iters": [0.8]}}, "evolution_note10: -5: must be a limit in ms"),
        ({"20": {"best_after_100_iters": [True]}}, "evolution_note10: 20: best_after_100_iters must be numbers"),
        ({"1": {"best_after_100_iters": [0.8]}}, "evolution_note10: 1: no network is so fast"),
    ],
)
def test_impossible_limits(tmp_path: Path, limits: Any, message: str) -> None:
    path = tmp_path / "reference.json"
    path.write_text(json.dumps({"evolution_note10": limits}))
    with pytest.raises(BadInputError, match=message):
        ofa.main(["--reference", str(path)])


def test_published_accuracies_that_say_nothing(tmp_path: Path) -> None:
    networks = read_json(ofa._DATA / "ofa_specialized_nets.json.gz")
    path, reference = tmp_path / "networks.json", tmp_path / "reference.json"
    reference.write_text("{}")
    arguments = ["--reference", str(reference), "--networks", str(path)]
    for entry in networks["ofa_specialized"]:
        entry["top1"] = 75.0
    path.write_text(json.dumps(networks))
    # Equal accuracies have no order that could be met.
    assert ofa.main(arguments) == 1
    networks["ofa_specialized"][0]["top1"] = 750.0
    path.write_text(json.dumps(networks))
    with pytest.raises(BadInputError, match=r"ofa_specialized\[0\]: top1 must be from 0 to 100 \(got 750\)"):
        ofa.main(arguments)


def test_latencies_are_the_reference_s() -> None:
    reference = json.loads((ofa._DATA / "ofa_predictor_reference.json").read_text())["mbv3"]
    path = ofa._DATA / "ofa_note10_lut.json"
    space = ofa.OfaMobileNetV3(width=1.2)
    latency = ofa._Latency(path, space, ofa.read(path))
    codes = [space.parse(ofa._written("mbv3", name)) for name in ("max_224", "min_160", "mid_192")]
    expected = [reference[f"note10_ms_{name}"] for name in ("max_224", "min_160", "mid_192")]
    assert latency(np.array(codes)) == pytest.approx(expected, rel=1e-6)
    found = latency(space.sample(np.random.default_rng(0), 5000))
    assert found.mean() == pytest.approx(reference["note10_random5000"]["mean"], rel=0.02)


def test_a_search_stays_within_its_limit() -> None:
    path = ofa._DATA / "ofa_note10_lut.json"
    space = ofa.OfaMobileNetV3(width=1.2)
    latency = ofa._Latency(path, space, ofa.read(path))
    value, at = ofa._searched(25.0, latency, ofa.OfaMobileNetV3Predictor(space), 0)
    assert at <= 25
    # The best of 5,000 random networks of this latency has .807.
    assert value > 0.81


def test_sheets_of_spaces_have_a_schema() -> None:
    from jsonschema import Draft202012Validator

    from accelerators.documents import read

    Draft202012Validator.check_schema(staged.schema())
    validator = Draft202012Validator(staged.schema())
    mnasnet = Path(staged.__file__).parent / "mnasnet.yaml"
    assert list(validator.iter_errors(read(mnasnet).data)) == []
    assert list(validator.iter_errors({**read(mnasnet).data, "stem": {"channels": 0}}))


def test_the_inner_search_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks.nas import inner_search

    inner_search.main(["--designs", "1", "--networks", "3", "--space", "ofa_mobilenet_v3", "--accuracy", "70"])
    assert "inner search on ofa_mobilenet_v3: " in capsys.readouterr().out
    with pytest.raises(BadInputError, match="estimates networks of ofa_mobilenet_v3 and ofa_resnet50 only"):
        inner_search.main(["--space", "darts"])
    with pytest.raises(BadInputError, match="are admitted"):
        inner_search.main(["--designs", "1", "--networks", "3", "--accuracy", "99"])
