"""Layers whose weights are conductances.

A layer is in one of three states:

* training: weights with injected noise, converters with straight-through gradients, input range learnt as a running
  maximum;
* programmed (:meth:`AnalogLayer.program`, then :meth:`AnalogLayer.read` for a time): what that read-out finds;
* otherwise: the weights as they are, behind the converters.

Bias, batch normalisation, activations and the sums over tile rows are digital; all runs on the CPU. With ideal devices
and converters all three compute, bit for bit in single precision, what the digital layer computes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from accelerators.crossbar.devices import AnalogMatrix, Converters, Device, ProgrammedMatrix, Quantiser, Tile

#: Of a new batch's largest input in the running maximum, as usual for observers of quantised training.
_MOMENTUM = 0.1
_LEAST_SCALE = 1e-30


class AnalogLayer(nn.Module, ABC):
    """What linear layers and convolutions share; weights are a matrix of [G groups, K outputs, C inputs] in tiles.

    ``input_range`` is the input that the DAC takes for 1; 0 as long as it is not known (see :func:`calibrate`).
    ``weight_noise`` is the standard deviation of the noise that training injects, in parts of a tile's largest weight.
    """

    input_range: Tensor

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        device: Device,
        converters: Converters,
        tile: Tile,
        *,
        groups: int = 1,
        seed: int = 0,
    ):
        super().__init__()
        self.weight = nn.Parameter(weight.detach().clone())
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())
        self.device, self.converters, self.tile, self.groups = device, converters, tile, groups
        self.weight_noise = 0.0
        self.register_buffer("input_range", torch.zeros((), dtype=weight.dtype))
        self.observing = False
        self._programmed: ProgrammedMatrix | None = None
        self._reading: tuple[Tensor, Tensor, Tensor] | None = None
        self._generator = torch.Generator().manual_seed(seed)
        self.matrix()

    def matrix(self) -> AnalogMatrix:
        """The weights as they are now, in tiles; ValueError if one is no number."""
        flat = self.weight.detach().double().reshape(self.groups, len(self.weight) // self.groups, -1)
        return AnalogMatrix(flat.cpu().numpy(), self.device, self.converters, self.tile)

    def program(self, random: np.random.Generator) -> None:
        """Program the weights; what is computed is decided by the next :meth:`read`."""
        self._programmed = self.matrix().program(random)
        self._reading = None

    def read(self, time_s: float, random: np.random.Generator) -> None:
        """Compute with weights and gains of a time after programming from now on, until weights are programmed anew."""
        if self._programmed is None:
            raise RuntimeError("a layer must be programmed before it can be read")
        reading = self._programmed.at(time_s, random)
        matrix = self._programmed.matrix
        weights = self._tensor(reading.weights).reshape(self.weight.shape)
        self._reading = weights, self._by_output(matrix.scale), self._by_output(reading.gain)
        self.reseed(int(random.integers(2**62)))

    def reseed(self, seed: int) -> None:
        """Start the stream of the noise of training and of outputs anew."""
        self._generator.manual_seed(seed)

    def erase(self) -> None:
        """Back to the weights as they are."""
        self._programmed = self._reading = None

    def forward(self, x: Tensor) -> Tensor:
        """Outputs for a batch of inputs."""
        if self.training or self.observing:
            self._observe(x)
        if self.training:
            weights, scale = self._noisy()
            return self._multiply(x, weights, scale, None)
        if self._reading is not None:
            return self._multiply(x, *self._reading)
        return self._multiply(x, self.weight, self._scale(), None)

    def _observe(self, x: Tensor) -> None:
        largest = x.detach().abs().amax()
        if self.observing or self.input_range == 0:
            self.input_range.copy_(torch.maximum(self.input_range, largest))
        else:
            self.input_range.lerp_(largest, _MOMENTUM)

    def _scale(self) -> Tensor:
        """Largest weights by tile row and output, (T, G * K)."""
        magnitude = self.weight.detach().abs().flatten(1)
        rows = magnitude.split(self.tile.rows, dim=1)
        per_output = torch.stack([part.amax(dim=1) for part in rows])
        if self.tile.scale == "column":
            return per_output
        columns = len(self.weight) // self.groups
        tiles = per_output.reshape(len(rows), self.groups, columns).split(self.tile.columns, dim=2)
        return torch.cat([part.amax(dim=2, keepdim=True).expand_as(part) for part in tiles], dim=2).flatten(1)

    def _noisy(self) -> tuple[Tensor, Tensor]:
        """Weights with the noise of training, and their scale."""
        scale = self._scale()
        if self.weight_noise == 0:
            return self.weight, scale
        lengths = torch.tensor([part.shape[1] for part in self.weight.flatten(1).split(self.tile.rows, dim=1)])
        spread = scale.repeat_interleave(lengths, dim=0).T.reshape(self.weight.shape)
        noise = torch.randn(self.weight.shape, generator=self._generator, dtype=self.weight.dtype)
        return torch.addcmul(self.weight, noise, self.weight_noise * spread), scale

    def _multiply(self, x: Tensor, weights: Tensor, scale: Tensor, gain: Tensor | None) -> Tensor:
        """Outputs for weights in tiles; ``scale`` and ``gain`` are (T, G * K)."""
        converters = self.converters
        if not _is_ideal(converters) and not self.input_range > 0:
            raise RuntimeError("the range of inputs is not known: train the network, or calibrate it")
        x = _converted(converters.dac, x, self.input_range)
        if converters.adc_bits is None and converters.output_noise == 0:
            # Without converters in between, tile rows are one product.
            if gain is not None:
                lengths = [part.shape[1] for part in weights.flatten(1).split(self.tile.rows, dim=1)]
                weights = weights * gain.repeat_interleave(torch.tensor(lengths), dim=0).T.reshape(weights.shape)
            return self._product(x, weights, self.bias)
        outputs = None
        for row, part in enumerate(self._parts(x, weights)):
            # A column without weights has no scale; whatever it carries counts for nothing.
            unit = self._along_outputs((scale[row] * self.input_range).clamp(min=_LEAST_SCALE))
            if converters.output_noise:
                noise = torch.randn(part.shape, generator=self._generator, dtype=part.dtype)
                part = torch.addcmul(part, noise, converters.output_noise * unit)
            part = _converted(converters.adc, part, unit)
            if gain is not None:
                part = part * self._along_outputs(gain[row])
            outputs = part if outputs is None else outputs + part
        assert outputs is not None
        return outputs if self.bias is None else outputs + self._along_outputs(self.bias)

    def _tensor(self, array: Any) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.weight.dtype)

    def _by_output(self, per_tile_row: Any) -> Tensor:
        """(G, T, K) as (T, G * K)."""
        return self._tensor(per_tile_row.transpose(1, 0, 2)).flatten(1)

    @abstractmethod
    def _product(self, x: Tensor, weights: Tensor, bias: Tensor | None) -> Tensor:
        """What weights make of inputs."""

    @abstractmethod
    def _parts(self, x: Tensor, weights: Tensor) -> Iterator[Tensor]:
        """Products of each tile row."""

    @abstractmethod
    def _along_outputs(self, values: Tensor) -> Tensor:
        """Values per output in a shape that multiplies outputs."""


class AnalogLinear(AnalogLayer):
    """A linear layer on tiles."""

    def _product(self, x: Tensor, weights: Tensor, bias: Tensor | None) -> Tensor:
        return functional.linear(x, weights, bias)

    def _parts(self, x: Tensor, weights: Tensor) -> Iterator[Tensor]:
        rows = self.tile.rows
        for inputs, part in zip(x.split(rows, dim=-1), weights.split(rows, dim=1), strict=True):
            yield functional.linear(inputs, part)

    def _along_outputs(self, values: Tensor) -> Tensor:
        return values


class AnalogConv2d(AnalogLayer):
    """A convolution on tiles: kernels are columns, their taps (input channel, row, column) are rows of the tile."""

    def __init__(self, like: nn.Conv2d, device: Device, converters: Converters, tile: Tile, *, seed: int = 0):
        super().__init__(like.weight, like.bias, device, converters, tile, groups=like.groups, seed=seed)
        self.stride, self.padding, self.dilation = like.stride, like.padding, like.dilation

    def _product(self, x: Tensor, weights: Tensor, bias: Tensor | None) -> Tensor:
        return functional.conv2d(x, weights, bias, self.stride, self.padding, self.dilation, self.groups)

    def _parts(self, x: Tensor, weights: Tensor) -> Iterator[Tensor]:
        channels, *kernel = weights.shape[1:]
        taps = kernel[0] * kernel[1]
        for start in range(0, channels * taps, self.tile.rows):
            end = min(start + self.tile.rows, channels * taps)
            # The channels that have a tap in this tile row; their other taps are 0 here.
            first, last = start // taps, -(-end // taps)
            part = weights[:, first:last]
            if start > first * taps or end < last * taps:
                index = torch.arange(first * taps, last * taps)
                part = part * ((index >= start) & (index < end)).to(part.dtype).reshape(-1, *kernel)
            inputs = x
            if last - first < channels:
                grouped = x.reshape(*x.shape[:-3], self.groups, channels, *x.shape[-2:])
                inputs = grouped[..., first:last, :, :].flatten(-4, -3)
            yield self._product(inputs, part, None)

    def _along_outputs(self, values: Tensor) -> Tensor:
        return values[:, None, None]


def _is_ideal(converters: Converters) -> bool:
    return converters.dac_bits is None and converters.adc_bits is None and converters.output_noise == 0


class _Conversion(torch.autograd.Function):
    """A converter: values over steps, rounded (halves to even), cut off; gradients pass straight through what is not.

    In place wherever that is possible: converters take as long as the products.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, step: Tensor, most: int) -> Tensor:
        codes = values / step
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(codes.abs() <= most)
        return codes.round_().clamp_(-most, most).mul_(step)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (inside,) = ctx.saved_tensors
        return gradients[0] * inside, None, None


def _converted(quantiser: Quantiser, values: Tensor, unit: Tensor) -> Tensor:
    """Converted values, as :class:`Quantiser` has them, with straight-through gradients (Bengio et al. 2013)."""
    if quantiser.bits is None:
        return values
    result: Tensor = _Conversion.apply(values, quantiser.step * unit, quantiser.most)
    return result


def analog_layers(model: nn.Module) -> list[AnalogLayer]:
    """The analog layers of a network, in order."""
    return [module for module in model.modules() if isinstance(module, AnalogLayer)]


@contextmanager
def _observing(model: nn.Module) -> Iterator[None]:
    """Layers note their inputs and compute digitally, so that what they note does not depend on the order."""
    layers = analog_layers(model)
    before = model.training, [(layer.converters, layer._programmed, layer._reading) for layer in layers]
    model.eval()
    for layer in layers:
        layer.observing, layer.converters = True, Converters(None, None, output_noise=0.0)
        layer.erase()
        layer.input_range.zero_()
    try:
        yield
    finally:
        model.train(before[0])
        for layer, (converters, programmed, reading) in zip(layers, before[1], strict=True):
            layer.observing, layer.converters = False, converters
            layer._programmed, layer._reading = programmed, reading


def calibrate(model: nn.Module, inputs: Tensor, batch_size: int = 500) -> None:
    """Set the input range of every analog layer to the largest input that it gets for these inputs of the network."""
    with torch.inference_mode(), _observing(model):
        for batch in inputs.split(batch_size):
            model(batch)
    for layer in analog_layers(model):
        if not torch.isfinite(layer.input_range):
            raise ValueError(f"inputs of a layer must be finite (largest is {float(layer.input_range)})")
