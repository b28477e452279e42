"""Networks that compute as if their numbers had few bits: rounding in floating point ("fake" quantisation)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from codesign.nas.quantisation.penalty import Bits
from codesign.networks.graph import NetworkError
from codesign.networks.torch_module import NetworkModule, weighted_layers

#: Clipping ranges that are tried, as parts of the largest magnitude.
_RANGES = tuple(i / 32 for i in range(4, 33))
#: Elements of an activation that are looked at for its scale.
_SAMPLE = 2**15


class _Round(torch.autograd.Function):
    """Rounding whose gradient is that of the identity inside the range (straight-through, Bengio et al. 2013)."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
        steps = x / scale
        ctx.save_for_backward((steps >= low) & (steps <= high))
        return steps.round().clamp(low, high) * scale

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (inside,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return gradients[0] * inside, None, None, None


@dataclass(frozen=True)
class Grid:
    """Integers ``low``..``high`` times a positive ``scale``, which broadcasts against the tensor."""

    scale: Tensor
    low: int
    high: int

    def __call__(self, x: Tensor) -> Tensor:
        """The nearest point of the grid."""
        return _Round.apply(x, self.scale, self.low, self.high)


def fit(x: Tensor, bits: int, channels: bool = False) -> Grid:
    """The symmetric grid of ``bits`` with the least squared error: one scale, or one per row of ``x`` (``channels``).

    Integers are -(2^(bits-1)-1) .. 2^(bits-1)-1, or 0 .. 2^bits - 1 if no element is negative (after a ReLU): both
    without a zero point. Scales are looked for among clipping ranges of 1/8 to all of the largest magnitude.
    """
    rows = x.detach().flatten(1) if channels else x.detach().reshape(1, -1)
    signed = bool((rows < 0).any())
    high = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
    low = -high if signed else 0
    largest = rows.abs().amax(1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny * 2**16)
    best = largest / high
    least = torch.full_like(largest, torch.inf)
    for part in _RANGES:
        scale = part * largest / high
        error = ((rows / scale).round().clamp(low, high) * scale - rows).square().sum(1, keepdim=True)
        best = torch.where(error < least, scale, best)
        least = torch.minimum(error, least)
    shape = (-1, *(1 for _ in x.shape[1:])) if channels else ()
    return Grid(best.reshape(shape), low, high)


class _Weights(nn.Module):
    def __init__(self, grid: Grid):
        super().__init__()
        self.grid = grid

    def forward(self, weight: Tensor) -> Tensor:
        return self.grid(weight)


def quantise(module: NetworkModule, bits: Sequence[Bits], calibration: Sequence[Tensor]) -> NetworkModule:
    """A copy of a trained module whose convolutions and linear layers compute with few bits.

    ``bits`` has one entry for each of :func:`~codesign.networks.torch_module.weighted_layers`. Weights have a scale per
    output channel, the layer's input one for the whole tensor, fitted on what the *unquantised* network has there for
    ``calibration``, the network's inputs. Sums, normalisations, biases and other layers stay in floating point.
    Gradients pass straight through, so the copy can be trained (fine-tuned); scales stay as they are.

    Raises NetworkError for another number of entries, and bits that are no integers in 2..24 (a float has no more).
    """
    copied = copy.deepcopy(module)
    layers = weighted_layers(copied)
    if len(bits) != len(layers):
        raise NetworkError(f"{module.network.name}: bits must be given for {len(layers)} layers (got {len(bits)})")
    for i, entry in enumerate(bits):
        for what, value in entry._asdict().items():
            if isinstance(value, bool) or not isinstance(value, int) or not 2 <= value <= 24:
                problem = f"bits[{i}].{what}: must be an integer in 2..24 (got {value!r})"
                raise NetworkError(f"{module.network.name}: {problem}")
    seen: dict[nn.Module, Tensor] = {}

    def see(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].detach().flatten()
        # Evenly spaced, and the extremes, which set the range and whether there is a sign.
        seen[layer] = torch.cat([x[:: max(1, len(x) // _SAMPLE)], torch.stack([x.amin(), x.amax()])])

    hooks = [layer.register_forward_pre_hook(see) for layer in layers]
    training = copied.training
    with torch.no_grad():
        copied.eval()(*calibration)
    copied.train(training)
    for hook in hooks:
        hook.remove()
    for layer, entry in zip(layers, bits, strict=True):
        grid = fit(seen[layer], entry.activations)
        layer.register_forward_pre_hook(lambda layer, inputs, grid=grid: (grid(inputs[0]), *inputs[1:]))
        parametrize.register_parametrization(layer, "weight", _Weights(fit(layer.weight, entry.weights, channels=True)))
    return copied
