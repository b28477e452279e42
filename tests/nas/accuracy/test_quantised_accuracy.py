"""Accuracies of quantised spaces: the inner estimator's less the penalty, with both uncertainties."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codesign.nas import accuracy, spaces
from codesign.nas.accuracy import MeasuredTable, QuantisedAccuracy
from codesign.nas.quantisation import accuracy_penalty, has_depthwise
from codesign.nas.spaces import NasBench201, OfaMobileNetV3, OfaResNet50, Quantised
from codesign.networks import NetworkError


@pytest.mark.parametrize("fine_tuned", [False, True])
@pytest.mark.parametrize(
    ("inner", "name"),
    [(OfaMobileNetV3(), "ofa"), (OfaResNet50(), "ofa"), (NasBench201(), "nas_bench_201")],
)
def test_few_bits_take_points_off(inner: spaces.Space, name: str, fine_tuned: bool) -> None:
    per: Any = "layer" if inner.sites else "network"
    space = Quantised(inner, weights=(2, 3, 4, 8), activations=(4, 8), per=per)
    made = accuracy.load(name, space, fine_tuned=fine_tuned)
    assert isinstance(made, QuantisedAccuracy)
    codes = space.sample(np.random.default_rng(0), 5)
    whole = accuracy.load(name, inner).estimates(codes[:, : len(inner.genes)])
    for code, found, plain in zip(codes, made.estimates(codes), whole, strict=True):
        network = space.network(code)
        bits, _ = space.bits(code)
        penalty = accuracy_penalty(bits, depthwise=has_depthwise(network), fine_tuned=fine_tuned)
        assert plain.accuracy is not None
        assert found.accuracy == max(0.0, plain.accuracy - penalty.points)
        assert found.kind == "predicted"
        known = 0.0 if plain.kind == "measured" else plain.uncertainty
        assert known is not None
        assert found.uncertainty == pytest.approx(math.hypot(known, penalty.std_points))
        assert found.notes[:-1] == plain.notes
        assert found.notes[-1].endswith("penalty measured on small networks")
        assert ("fine-tuning" in found.notes[-1]) == fine_tuned


def test_more_bits_never_lose_more() -> None:
    space = Quantised(NasBench201(), weights=(2, 4, 8), activations=(8,), per="network")
    made = accuracy.load("nas_bench_201", space)
    found = made.accuracies([[3] * 6 + [bits, 0] for bits in range(3)])
    assert (np.diff(found) >= 0).all()
    assert found[2] - found[0] > 1


def test_what_the_inner_estimator_does_not_know() -> None:
    """Sizes that a predictor has no input for are not covered; ties have no uncertainty."""
    space = Quantised(OfaResNet50.naas(), per="network")
    made = accuracy.load("ofa", space)
    code = space.parse(
        {"network": {"d": [0] * 5, "e": [0.2] * 18, "w": [0] * 6, "r": 208}, "weight_bits": [8], "activation_bits": [8]}
    )
    assert made.covers(np.array([code])).tolist() == [False]
    largest = np.where(np.arange(len(space.genes)) < len(space.space.genes), space.counts - 1, 2)
    tie = made.estimate(largest)
    assert tie.uncertainty is None
    assert any(note.startswith("tie") for note in tie.notes)


def test_tables_with_bits(tmp_path: Path) -> None:
    """A table of quantised networks needs no penalty, and is told from one of the inner space's."""
    space = Quantised(NasBench201(), weights=(4, 8), activations=(8,), per="network")
    file = tmp_path / "bits.csv"
    written = json.dumps(space.write([3] * 6 + [0, 0])).replace('"', '""')
    file.write_text(f'network,accuracy\n"{written}",91.5\n')
    made = accuracy.load("table", space, file=str(file), penalty=False)
    assert isinstance(made, MeasuredTable)
    assert made.estimate([3] * 6 + [0, 0]).accuracy == 91.5
    assert made.covers(np.array([[3] * 6 + [1, 0]])).tolist() == [False]
    with pytest.raises(NetworkError, match=r"bits\.csv:2: network: nas_bench_201: "):
        accuracy.load("table", space, file=str(file))


@pytest.mark.parametrize(
    ("name", "space", "options", "message"),
    [
        ("zen", Quantised(NasBench201(), per="network"), {},
         r"zen: must estimate an accuracy in per cent.*there are nas_bench_201, table$"),
        ("ofa", Quantised(NasBench201(), per="network"), {}, r"of ofa_mobilenet_v3 and ofa_resnet50 only"),
        ("ofa", Quantised(OfaMobileNetV3()), {"penalty": False}, "ofa: penalty must be true, only a table"),
        ("ofa", Quantised(OfaMobileNetV3()), {"fine_tuned": 1}, r"ofa: fine_tuned must be true or false \(got 1\)"),
        ("ofa", Quantised(OfaMobileNetV3(), weights=(1, 8)), {},
         r"quantised: weights: must be an integer in 2\.\.16, what was measured \(got 1\)"),
        ("ofa", Quantised(OfaMobileNetV3(), activations=(8, 16)), {"fine_tuned": True},
         r"activations: must be an integer in 2\.\.8, what was measured with fine-tuning \(got 16\)"),
        ("ofa", OfaMobileNetV3(), {"fine_tuned": True}, "ofa: unknown option 'fine_tuned'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(name: str, space: spaces.Space, options: dict[str, Any], message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        accuracy.load(name, space, **options)


def test_estimators_of_other_spaces_are_refused() -> None:
    with pytest.raises(NetworkError, match=r"must estimate networks of ofa_mobilenet_v3 \(got nas_bench_201\)"):
        QuantisedAccuracy(Quantised(OfaMobileNetV3()), accuracy.load("nas_bench_201", NasBench201()))
    with pytest.raises(NetworkError, match=r"a score without unit"):
        QuantisedAccuracy(Quantised(OfaMobileNetV3()), accuracy.load("params", OfaMobileNetV3()))
