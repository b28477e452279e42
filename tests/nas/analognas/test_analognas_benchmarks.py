"""The benchmarks of AnalogNAS: what can be checked without training for minutes, and what bad input does."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

from benchmarks._common import BadInputError
from benchmarks.nas import _analog_digits as digits
from benchmarks.nas import analog_table, analognas
from codesign.nas.analognas.tables import read_table
from codesign.nas.spaces.analog_resnet import Architecture, MainBlock, decode

PUBLISHED = Path(__file__).parent / "data" / "published_cifar10_head.csv"


def test_the_digits_are_divided_without_overlap():
    parts = digits.splits()
    assert [len(part.labels) for part in parts.values()] == [600, 600, 597]
    images = np.concatenate([part.images.reshape(-1, 64).numpy() for part in parts.values()])
    # All images of the data set are different.
    assert len(np.unique(images, axis=0)) == 1797
    assert (images.min(), images.max()) == (0, 1)


def test_the_shipped_table_is_of_networks_that_its_script_draws():
    with analog_table.DEFAULT.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == analog_table.COLUMNS
    assert len({row["network"] for row in rows if row["seed"] == "0"}) >= 150
    table = read_table(analog_table.DEFAULT)
    for row, features in zip(rows, table.features.astype(int).tolist(), strict=True):
        architecture = decode(features)
        assert architecture == digits.sample(np.random.default_rng(int(row["network"])))
        assert digits.size(architecture) == int(row["parameters"])
    assert (table.labels.accuracy > 0.05).all()
    assert (table.labels.accuracy < 1).all()
    lost = [100 * (float(row["accuracy_1s"]) - float(row["accuracy_2592000s"])) for row in rows]
    np.testing.assert_allclose(table.labels.avm, lost, atol=2e-3)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_resnets_have_the_asked_parameters(depth):
    found = analognas.resnet(depth, 20_000)
    assert [(b.depth, b.kind, b.widening, b.branches) for b in found.blocks] == [
        (depth, "A", 1, 1), (depth, "A", 2, 1), (depth, "A", 2, 1),
    ]  # fmt: skip
    assert digits.size(found) == pytest.approx(20_000, rel=0.15)


def test_repeated_trainings_are_paired():
    table = read_table(analog_table.DEFAULT)
    _, first = np.unique(table.network, return_index=True)
    once = table.where(first)
    assert analognas.between_trainings(once) == (0, [])
    twice = table.where(np.concatenate([first[:30], first[:30]]))
    count, taus = analognas.between_trainings(twice)
    assert count == 30
    assert taus == pytest.approx([1, 1, 1])


def test_published_tables_are_ranked_only(monkeypatch, capsys):
    monkeypatch.setattr(analognas, "_SPLITS", 1)
    analognas.main([str(PUBLISHED)])
    out = capsys.readouterr().out
    assert "hinge loss, left out" in out
    assert out.splitlines()[-1].startswith("The networks are not of the space for the digits")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.csv"], "cannot be read"),
        (["--seeds", "-1"], "--seeds must be at least 0"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(BadInputError, match=message):
        analognas.main(arguments)


def test_short_tables_are_refused(tmp_path):
    path = tmp_path / "short.csv"
    path.write_text("".join(PUBLISHED.read_text().splitlines(keepends=True)[:10]))
    with pytest.raises(BadInputError, match=r"short.csv: must have at least 20 networks \(got 9\)"):
        analognas.main([str(path)])


def test_the_table_is_resumed(tmp_path, monkeypatch, capsys):
    """Rows that are there are not made again, and rows do not depend on which were made before."""
    from codesign.analog import DriftAccuracy

    made = []

    def measure(architecture, seed, split):
        made.append((architecture, seed, split))
        return DriftAccuracy((1.0, 2.0, 3.0, 4.0), np.random.default_rng(seed).random((3, 4)))

    monkeypatch.setattr(analog_table, "measure", measure)
    path = tmp_path / "table.csv"
    analog_table.main(["--out", str(path), "--count", "2"])
    analog_table.main(["--out", str(path), "--count", "4", "--seed", "0"])
    analog_table.main(["--out", str(path), "--start", "1", "--count", "1", "--seed", "1"])
    assert [seed for _, seed, _ in made] == [0, 1, 2, 3, 1001]
    assert {split for _, _, split in made} == {"validation"}
    assert made[1][0] == made[4][0]
    assert read_table(path).network.tolist() == [0, 1, 2, 3, 1]
    path.write_text("a,b\n1,2\n")
    with pytest.raises(BadInputError, match="must have the columns network, seed, out_channel0"):
        analog_table.main(["--out", str(path)])


def test_a_training_of_the_digits_is_repeatable():
    architecture = Architecture(4, (MainBlock(1),))
    first, again = (digits.measure(architecture, 5, "validation", programmings=2).accuracy for _ in range(2))
    assert np.array_equal(first, again)
    assert first.shape == (2, 4)
