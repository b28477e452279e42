"""The multilayer perceptron that HAT predicts latencies with, from features of a network (Wang et al., ACL 2020).

Four hidden layers of 400 rectified units, trained by Adam on the mean squared error. It needs PyTorch to be trained,
and only numpy to predict.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from codesign.files import read_arrays

_LAYERS, _UNITS = 4, 400


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

    def save(self, path: Path) -> None:
        """Write an .npz file of plain arrays."""
        arrays: dict[str, Any] = {"input_scale": self.input_scale, "output_scale": np.array(self.output_scale)}
        for layer, (weights, biases) in enumerate(zip(self.weights, self.biases, strict=True)):
            arrays |= {f"weights{layer}": weights, f"biases{layer}": biases}
        np.savez_compressed(path, **arrays)

    @classmethod
    def load(cls, path: str | Path) -> Mlp:
        """Read what :meth:`save` wrote; ValueError for a file that is no such thing."""
        try:
            data = read_arrays(path)
            count = sum(key.startswith("weights") for key in data)
            weights = tuple(data[f"weights{layer}"] for layer in range(count))
            biases = tuple(data[f"biases{layer}"] for layer in range(count))
            found = cls(weights, biases, data["input_scale"], float(data["output_scale"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: is no multilayer perceptron: {error}") from None
        sizes = [len(found.input_scale), *(len(each) for each in found.biases)]
        if not found.weights or [w.shape for w in found.weights] != list(pairwise(sizes)):
            raise ValueError(f"{path}: is no multilayer perceptron: shapes of its layers do not match")
        return found


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
