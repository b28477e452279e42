"""Accuracy of a network as its devices drift."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from codesign.analog.hardware import CrossbarLayer
from codesign.analog.layers import AnalogLayer

#: A second, an hour, a day and a month (of 30 days) after programming.
TIMES_S = (1.0, 3600.0, 86_400.0, 2_592_000.0)


class DriftAccuracy(NamedTuple):
    """Fractions of right answers, (programmings, times)."""

    times_s: tuple[float, ...]
    accuracy: NDArray[np.float64]

    def mean(self) -> NDArray[np.float64]:
        """Over programmings, (times,)."""
        result: NDArray[np.float64] = self.accuracy.mean(axis=0)
        return result

    def std(self) -> NDArray[np.float64]:
        """Over programmings, (times,)."""
        result: NDArray[np.float64] = self.accuracy.std(axis=0, ddof=1 if len(self.accuracy) > 1 else 0)
        return result

    @property
    def avm(self) -> float:
        """Accuracy variation over a month as AnalogNAS has it: first mean less the last, in points."""
        mean = self.mean()
        return 100 * float(mean[0] - mean[-1])


def evaluate(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    times_s: Sequence[float] = TIMES_S,
    programmings: int = 10,
    batch_size: int = 500,
    seed: int = 0,
) -> DriftAccuracy:
    """How many inputs are classified rightly at some times after programming, for several programmings.

    Weights are programmed once per programming and read once per time; output noise is drawn for every input. The
    network is left unprogrammed and in the mode that it was in. Raises ValueError for labels that do not fit the
    inputs, for no analog layer, and for a time for which the device has no model.
    """
    layers = [module for module in model.modules() if isinstance(module, AnalogLayer | CrossbarLayer)]
    if not layers:
        raise ValueError("the network has no analog layers: convert it first")
    if len(inputs) != len(labels) or not len(inputs):
        raise ValueError(f"inputs and labels must be as many, at least one (got {len(inputs)} and {len(labels)})")
    if programmings < 1 or batch_size < 1 or not times_s:
        raise ValueError(
            f"programmings, batch_size and times must be at least 1 (got {programmings}, {batch_size}, {len(times_s)})"
        )
    found = np.zeros((programmings, len(times_s)))
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for index, root in enumerate(np.random.SeedSequence(seed).spawn(programmings)):
                streams = [np.random.default_rng(child) for child in root.spawn(len(layers))]
                for layer, random in zip(layers, streams, strict=True):
                    layer.program(random)
                for column, time in enumerate(times_s):
                    for layer, random in zip(layers, streams, strict=True):
                        layer.read(time, random)
                    found[index, column] = _right(model, inputs, labels, batch_size) / len(inputs)
    finally:
        for layer in layers:
            layer.erase()
        model.train(training)
    return DriftAccuracy(tuple(float(time) for time in times_s), found)


def _right(model: nn.Module, inputs: Tensor, labels: Tensor, batch_size: int) -> int:
    batches = zip(inputs.split(batch_size), labels.split(batch_size), strict=True)
    return sum(int((model(x).argmax(dim=1) == y).sum()) for x, y in batches)
