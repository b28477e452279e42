"""What few bits cost in accuracy, from a table that was measured on small networks.

Nine small members of NAS-Bench-201 and of the MobileNetV3 and FBNet spaces were trained on scikit-learn's digits and
really quantised (:mod:`codesign.nas.quantisation.fake`, ``benchmarks/nas/quantisation.py``). What they lost is a guide
to which widths are harmless, not a prediction for a network on ImageNet: the standard deviation says how far off the
estimate was for networks that it had not seen, on the same task.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from codesign.networks.graph import Network

_Floats = NDArray[np.float64]

#: Estimates that are about as large: within this part of each other, or so many points; and at least so many of them.
_SIMILAR, _SIMILAR_POINTS, _LEAST = 0.2, 0.5, 20


class Bits(NamedTuple):
    """Bits of a layer's weights and of its input activations."""

    weights: int
    activations: int


@dataclass(frozen=True)
class Penalty:
    """Accuracy lost in points of per cent, with the standard deviation of the estimate; ``kind`` says what it is."""

    points: float
    std_points: float
    kind: str = "measured on small networks"


class BitsOutOfRangeError(ValueError):
    """Bits that were not measured; the message names the layer and the range."""


def accuracy_penalty(bits: Sequence[Bits], *, depthwise: bool, fine_tuned: bool = False) -> Penalty:
    """Estimated loss of accuracy if layers have these bits, one entry per convolution or fully connected layer.

    ``depthwise`` says whether the network has depthwise convolutions, which bear far less (see :func:`has_depthwise`);
    ``fine_tuned`` whether it is trained on with its few bits, for a short while, rather than rounded after training.

    Rounding to b bits adds noise of a power that falls as 4^-b (the square of the step). Layers count alike: a network
    is taken for one whose layers all have the bits of the mean noise power, weights and activations apart, and the
    measured table is interpolated there, linearly in bits. The table is the mean over networks, made monotone: more
    bits never lose more. The deviation is the root mean square error for networks left out of the table, with layers of
    equal and of different bits, where the estimate was about as large.

    Raises BitsOutOfRangeError for bits that were not measured: 2..16, fine-tuned 2..8. ValueError for no layers, and
    for flags that are neither True nor False.
    """
    for name, flag in (("depthwise", depthwise), ("fine_tuned", fine_tuned)):
        if not isinstance(flag, bool | np.bool_):
            raise ValueError(f"{name} must be True or False (got {flag!r})")
    if not bits:
        raise ValueError("bits must be given for at least one layer (got none)")
    table = _table(bool(depthwise), bool(fine_tuned))
    low, high = table.widths[0], table.widths[-1]
    for i, layer in enumerate(bits):
        for what, value in layer._asdict().items():
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                measured = "what was measured with fine-tuning" if fine_tuned else "what was measured"
                rule = f"must be an integer in {low:g}..{high:g}, {measured}"
                raise BitsOutOfRangeError(f"bits[{i}].{what}: {rule} (got {value!r})")
    points = table.loss(*(effective([layer[side] for layer in bits]) for side in (0, 1)))
    return Penalty(points, table.deviation(points))


def has_depthwise(network: Network) -> bool:
    """Whether a network has depthwise convolutions."""
    return any(layer.operator.kind == "depthwise" for layer in network)


def effective(bits: Sequence[float]) -> float:
    """The bits whose noise power 4^-b is the mean of the layers'."""
    return float(-np.log2(np.mean(4.0 ** -np.asarray(bits, dtype=np.float64))) / 2)


@dataclass(frozen=True)
class _Table:
    """Mean losses [w, a] by widths, and errors on networks left out beside the estimates that they belong to."""

    widths: _Floats
    losses: _Floats
    estimates: _Floats
    errors: _Floats

    def loss(self, weights: float, activations: float) -> float:
        return _interpolated(self.widths, self.losses, weights, activations)

    def deviation(self, points: float) -> float:
        distance = np.abs(self.estimates - points)
        similar = distance <= max(_SIMILAR_POINTS, _SIMILAR * points, np.sort(distance)[_LEAST - 1])
        return float(np.sqrt(np.mean(self.errors[similar] ** 2)))


@functools.cache
def _document() -> dict[str, Any]:
    text = resources.files("codesign.nas").joinpath("data/quantisation.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


@functools.cache
def _table(depthwise: bool, fine_tuned: bool) -> _Table:
    document = _document()
    key, name = ("bits_fine_tuned", "loss_fine_tuned") if fine_tuned else ("bits", "loss")
    widths = np.array(document[key], dtype=np.float64)
    networks = [n for n in document["networks"] if (n["space"] != "nas_bench_201") == depthwise]
    losses = [np.array(network[name]) for network in networks]
    estimates, errors = [], []
    for i, network in enumerate(networks):
        others = _monotone(np.mean(losses[:i] + losses[i + 1 :], axis=0))
        found = [(others[w, a], losses[i][w, a]) for w in range(len(widths)) for a in range(len(widths))]
        if not fine_tuned:
            for mixed in network["mixed"]:
                place = effective(mixed["weights"]), effective(mixed["activations"])
                found.append((_interpolated(widths, others, *place), mixed["loss"]))
        estimates += [estimate for estimate, _ in found]
        errors += [loss - estimate for estimate, loss in found]
    return _Table(widths, _monotone(np.mean(losses, axis=0)), np.array(estimates), np.array(errors))


def _monotone(losses: _Floats) -> _Floats:
    """No loss below 0, none below that of more bits."""
    raised = np.maximum(losses, 0.0)
    for axis in (0, 1):
        raised = np.flip(np.maximum.accumulate(np.flip(raised, axis), axis), axis)
    return raised


def _interpolated(widths: _Floats, losses: _Floats, weights: float, activations: float) -> float:
    place = []
    for value in (weights, activations):
        i = int(np.clip(np.searchsorted(widths, value, side="right") - 1, 0, len(widths) - 2))
        place.append((i, min(1.0, max(0.0, (value - widths[i]) / (widths[i + 1] - widths[i])))))
    (i, x), (j, y) = place
    left = losses[i, j] * (1 - x) + losses[i + 1, j] * x
    right = losses[i, j + 1] * (1 - x) + losses[i + 1, j + 1] * x
    return float(left * (1 - y) + right * y)
