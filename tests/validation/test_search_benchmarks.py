"""The search benchmarks on a space of some dozen designs: the table of all scores, the runs, the targets."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks._common import BadInputError
from benchmarks.search import _enumerated, quality, speed
from codesign.experiments.candidates import evaluate_candidate
from codesign.search import Design

_SPACE = """\
name: tiny
networks: mobilenet_v2
hardware:
  budget: {macs: 40}
  design:
    node: 65 nm
    clock: 200 MHz
    compute: {type: int16, accumulator: int16}
    levels:
      - {name: DRAM, memory: dram, bandwidth: 3.2 GB/s}
      - name: buffer
        memory: sram
        capacity: {choose: [16 kB, 64 kB]}
        width: 64 bit
        fanout: {search: {pes: {from: 16, to: 48, step: 16}, axes: [1, 2], size_step: 4, unroll: [K, P, Q]}}
      - {name: scratchpad, memory: sram, capacity: 64 B, width: 16 bit}
search: {population: 4}
"""
_LAYERS = "features.17.conv.2"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(_SPACE)
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> _enumerated.Table:
    path = tmp_path_factory.mktemp("space") / "tiny.yaml"
    path.write_text(_SPACE)
    return _enumerated.enumerate_all(_enumerated.read_experiment(path, _LAYERS), path, _LAYERS, 1)


def test_the_table_holds_what_every_design_scores(file, table):
    point, networks = _enumerated._prepared(_SPACE, file, _LAYERS)
    designs = [point.space.build(values) for values in point.space.designs()]
    assert table.choices == len(designs) == point.space.cardinality
    built = [design for design in designs if isinstance(design, Design)]
    records = [evaluate_candidate(design.accelerator, networks, **point.settings) for design in built]
    keys = [_enumerated.key(design.values) for design in built]
    expected = {key: record["objectives"]["edp"] for key, record in zip(keys, records, strict=True)}
    assert table.scores == expected
    # 48 PEs exceed the budget; rows and columns are mirror images, and so are both orders of two axes.
    assert len(expected) < len(designs)
    assert len(set(expected.values())) <= table.different < len(expected)
    assert table.optimum == min(expected.values())
    assert table.within(0.0) == list(expected.values()).count(table.optimum)
    assert table.gap == 0.0


def test_a_run_counts_repeats_as_proposals(file, table):
    text = _enumerated.read_experiment(file, _LAYERS)
    for point in quality.points(text, file, "cma_es", "index", 2, 90):
        found = quality.search(point, table, 90)
        assert len(found.best) == len(found.evaluated) == 90
        assert (np.diff(found.best) <= 0).all()
        assert set(np.diff(found.evaluated)) <= {0, 1}
        assert found.evaluated[-1] <= len(table.scores) < 90
        assert found.best[-1] == 1.0
        reached = int(found.reached(0.0))
        assert found.best[reached - 1] == 1.0
        assert reached == 1 or found.best[reached - 2] > 1.0


def test_blind_draws_find_the_optimum_when_they_have_drawn_all(table):
    found = quality.blind(table, 0, len(table.scores))
    assert found.best[-1] == 1.0
    assert found.evaluated[-1] == len(table.scores)
    assert math.isinf(quality.Run(0, np.array([1.5]), np.array([1])).reached(0.02))


def test_the_command(file, capsys, tmp_path):
    arguments = ["--layers", _LAYERS, "--seeds", "1", "--budget", "0.5", "--workers", "1", "--csv"]
    quality.main([str(file), *arguments, str(tmp_path / "runs.csv")])
    out = capsys.readouterr().out
    for name in (*quality.ARMS, "drawn blindly"):
        assert f"\n{name}: within 2% after " in out
    assert "search quality: cma_es " in out.splitlines()[-1]
    with (tmp_path / "runs.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert {row["optimiser"] for row in rows} == {*quality.ARMS, "drawn blindly"}
    assert all(float(row["best_over_optimum"]) >= 1 for row in rows)


@pytest.mark.parametrize(
    ("old", "new", "layers", "expected"),
    [
        ("name: tiny", "name: tiny\nobjective: [edp, area]", None, "nsga2"),
        ("name: tiny", "name: tiny\nsweep: {over: {seed: [1, 2]}}", None, "for one objective, without sweep"),
        ("name: tiny", "name: tiny", "features.99", "no layer of mobilenet_v2 with MACs begins with 'features.99'"),
    ],
)
def test_experiments_that_cannot_be_enumerated(file, old, new, layers, expected):
    file.write_text(_SPACE.replace(old, new))
    with pytest.raises(BadInputError, match=expected):
        quality.main([str(file), *(["--layers", layers] if layers else [])])


def test_a_search_is_measured():
    found = speed.measure("ds_cnn", 0, 2, 20)
    # The baseline is one more.
    assert 2 <= found.candidates <= 21
    assert found.gap == found.unproven == 0
    assert 0 < found.busy <= 1.0001
    assert found.rate * found.seconds > found.candidates - 2


def test_the_targets_of_the_speed(monkeypatch, capsys):
    base = speed.Measured(10.0, 18.0, 5.0, 0.95, 0.2, 0.19, frozenset("abc"), 93, 0.0, 0, 0.1)

    def measured(factor: float, **changes: object) -> list[str]:
        def measure(network: str, seed: int, workers: int, candidates: int) -> speed.Measured:
            return replace(base, rate=5.0 * (factor if workers == 2 else 1.0), **(changes if workers == 2 else {}))

        monkeypatch.setattr(speed, "measure", measure)
        code = speed.main(["--pairs", "2", "--network", "ds_cnn"])
        out = capsys.readouterr().out
        missed = [
            line for line in out.splitlines() if any(word in line for word in ("(target", "different", "left them"))
        ]
        assert bool(code) == bool(missed)
        return missed

    assert measured(1.9) == []
    assert measured(1.7) == ["two workers: 1.70 x one (target 1.8)"]
    assert "(target 1%)" in measured(1.9, gap=0.02)[0]
    assert "minutes (target 5)" in measured(1.9, seconds=301.0)[0]
    assert len(measured(1.9, digests=frozenset("abd"))) == 2
    # Others leave the workers half a core each.
    assert measured(1.9, each_s=0.4) == [
        "two workers: other programs left them less than 90% of a core each in every pair"
    ]
    with pytest.raises(BadInputError, match="unknown network"):
        speed.main(["--network", "nothing"])
