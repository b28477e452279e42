"""The multilayer perceptron that HAT predicts latencies with, from features of a network (Wang et al., ACL 2020).

Four hidden layers of 400 rectified units, trained by Adam on the mean squared error. It needs PyTorch to be trained,
and only numpy to predict.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_LAYERS, _UNITS = 4, 400
#: Parts of the measurements that are left out in turn.
_PARTS = 5


@dataclass(frozen=True)
class Mlp:
    """``weights`` and ``biases`` of the layers, (in, out) and (out,); what inputs and the output are divided by."""

    weights: tuple[NDArray[np.float32], ...]
    biases: tuple[NDArray[np.float32], ...]
    input_scale: NDArray[np.float64]
    output_scale: float

    def predict(self, features: ArrayLike) -> NDArray[np.float64]:
        """Predictions (n,) for features (n, f), in the unit of what it was trained on."""
        x = np.asarray(features, np.float64)
        if x.ndim != 2 or x.shape[1] != len(self.input_scale):
            raise ValueError(f"features must have shape (n, {len(self.input_scale)}) (got {x.shape})")
        x = x / self.input_scale
        for layer, (weights, biases) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = x @ weights + biases
            if layer < len(self.weights) - 1:
                x = np.maximum(x, 0)
        return x[:, 0] * self.output_scale

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that it is, as plain arrays for a file."""
        arrays: dict[str, Any] = {"input_scale": self.input_scale, "output_scale": np.array(self.output_scale)}
        for layer, (weights, biases) in enumerate(zip(self.weights, self.biases, strict=True)):
            arrays |= {f"weights{layer}": weights, f"biases{layer}": biases}
        return arrays

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Mlp:
        """What :meth:`arrays` gave; raises KeyError and ValueError for what is no such thing."""
        count = sum(key.startswith("weights") for key in arrays)
        weights = tuple(arrays[f"weights{layer}"] for layer in range(count))
        biases = tuple(arrays[f"biases{layer}"] for layer in range(count))
        found = cls(weights, biases, arrays["input_scale"], float(arrays["output_scale"]))
        if any(each.dtype.kind != "f" or not np.isfinite(each).all() for each in (*weights, *biases)):
            raise ValueError("weights must be finite numbers")
        if found.input_scale.ndim != 1 or not (found.input_scale > 0).all() or not 0 < found.output_scale < math.inf:
            raise ValueError("scales must be > 0")
        sizes = [len(found.input_scale), *(each.size for each in biases)]
        if not weights or sizes[-1] != 1 or [w.shape for w in weights] != list(pairwise(sizes)):
            raise ValueError("shapes of its layers do not match")
        return found


@dataclass(frozen=True)
class Perceptron:
    """The perceptron as the model of a predictor: ``error`` is the standard deviation of its relative errors."""

    mlp: Mlp
    error: float

    def predict(self, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation (n,) for features (n, f)."""
        mean = self.mlp.predict(x)
        return mean, self.error * np.abs(mean)


def fit(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[Perceptron, float]:
    """Learn from features (n, f) and measurements (n,); the other value is the median relative error.

    Both errors are those of parts of the measurements by perceptrons that learnt from the rest.
    """
    found = np.empty(len(y))
    for part in range(parts := min(len(y), _PARTS)):
        left = np.arange(len(y)) % parts == part
        found[left] = train(x[~left], y[~left]).predict(x[left])
    errors = np.abs(found / y - 1)
    return Perceptron(train(x, y), float(np.sqrt(np.mean(errors**2)))), float(np.median(errors))


def train(
    features: ArrayLike,
    measured: ArrayLike,
    *,
    steps: int = 5000,
    batch: int = 128,
    rate: float = 1e-5,
    seed: int = 0,
    input_scale: ArrayLike | None = None,
    output_scale: float | None = None,
) -> Mlp:
    """Train on features (n, f) and what was measured (n,), with the settings of HAT by default.

    Inputs are divided by ``input_scale`` (f,), the output by ``output_scale``; HAT has constants for its space and for
    each device. If absent: the largest values of the inputs, the mean of what was measured. Raises ValueError for
    shapes that do not match and for values that are no numbers, and ImportError without PyTorch.
    """
    try:
        import torch
    except ImportError:
        raise ImportError("training a perceptron needs PyTorch: pip install 'codesign[torch]'") from None
    x, y = np.asarray(features, np.float64), np.asarray(measured, np.float64)
    if x.ndim != 2 or y.shape != x.shape[:1] or not len(x):
        raise ValueError(f"features must have shape (n, f) and measurements (n,) (got {x.shape} and {y.shape})")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("features and measurements must be finite numbers")
    largest = np.abs(x).max(axis=0)
    x_scale = np.where(largest > 0, largest, 1.0) if input_scale is None else np.asarray(input_scale, np.float64)
    y_scale = float(np.abs(y).mean()) or 1.0 if output_scale is None else output_scale
    if x_scale.shape != x.shape[1:] or not (x_scale > 0).all() or not y_scale > 0:
        raise ValueError(f"scales must be > 0, one per feature (got {x_scale.tolist()} and {y_scale:g})")
    random = torch.Generator().manual_seed(seed)
    sizes = [x.shape[1], *[_UNITS] * _LAYERS, 1]
    layers = [torch.nn.Linear(a, b) for a, b in pairwise(sizes)]
    with torch.no_grad():
        for layer in layers:
            # PyTorch's own initialisation, from a generator of our own.
            bound = layer.in_features**-0.5
            layer.weight.uniform_(-bound, bound, generator=random)
            layer.bias.uniform_(-bound, bound, generator=random)
    parts: list[torch.nn.Module] = []
    for layer in layers:
        parts += [layer, torch.nn.ReLU()]
    model = torch.nn.Sequential(*parts[:-1])
    optimiser = torch.optim.Adam(model.parameters(), rate)
    inputs = torch.tensor(x / x_scale, dtype=torch.float32)
    targets = torch.tensor(y / y_scale, dtype=torch.float32)
    for _ in range(steps):
        chosen = torch.randint(len(inputs), (batch,), generator=random)
        optimiser.zero_grad()
        loss = torch.nn.functional.mse_loss(model(inputs[chosen])[:, 0], targets[chosen])
        loss.backward()
        optimiser.step()
    return Mlp(
        tuple(layer.weight.detach().numpy().T.copy() for layer in layers),
        tuple(layer.bias.detach().numpy().copy() for layer in layers),
        x_scale,
        y_scale,
    )
