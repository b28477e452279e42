"""Networks as a given crossbar computes them: its arrays, cells, slices, input cycles and converters.

Every product is made as the datasheet says (:mod:`accelerators.crossbar.slices` has the weights' side):

* Inputs become whole numbers. Their range, and with it the step, is set once from calibration data: that of least mean
  square error. Inputs that may be negative get a zero point where the crossbar's are unsigned (Jacob et al. 2018), and
  what it adds is subtracted digitally, with the weights as they were meant.
* Input bits are applied ``bits_per_cycle`` at a time to a group of rows that is read at once, and every slice of every
  weight is converted for each. Shifting, adding and the sums over arrays are digital and exact.
* The converters of a layer share one full scale, set once from calibration data with cells as they are meant: that of
  the least mean square error behind the adders; values beyond it are cut off. Where the bits suffice for all sums, the
  difference of two neighbouring sums is 1, 2, 4, .. steps, so that nothing is lost, and codes that are left make the
  steps finer, which tells more of cells that have drifted. This is what a chip with adjustable references can know
  (NeuroSim takes the range of the data as well). With ``adc.full_scale: fixed`` it is what all rows that a layer has
  read at once can give, as where references cannot be changed: that takes more bits.
* Resistive cells are programmed once and read anew for each time, see :mod:`accelerators.crossbar.devices`. The gain of
  every array is compensated by a read-out of 64 input vectors of the calibration data through the same converters,
  after programming and at each time (as Joshi et al., Nature Communications 2020, with known inputs; the one-hot inputs
  of :mod:`accelerators.crossbar.devices.tile` are below a step of converters that truncate).

Activations between layers, biases and batch normalisation are digital and wide; ``outputs.bits`` rounds nothing here.
Blank cells beside groups on a diagonal add no noise, wires have no resistance.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from accelerators.crossbar.crossbar import Crossbar
from accelerators.crossbar.devices import Device
from accelerators.crossbar.mapping import tile_sizes
from accelerators.crossbar.slices import Chunk, ProgrammedSlices, SlicedMatrix, chunks, most_code
from codesign.analog.conversion import converted

#: Input vectors that set the gain, and that set the full scale of converters.
_PROBES, _SAMPLES = 64, 2048
#: Full scales that are tried, from the one that cuts nothing off to a hundredth of it.
_SCALES = np.geomspace(1.0, 0.01, 60)
_BINS = 4096
#: Products that are worked on at a time: as many as caches hold.
_BLOCK = 2**19
#: Numbers in the vectors of the images that are worked on at a time.
_VECTORS = 2**24
#: Whole numbers up to here are exact in single precision.
_SINGLE_BITS = 24

_Floats = NDArray[np.float64]


class CrossbarLayer(nn.Module, ABC):
    """What linear layers and convolutions on a crossbar share; raises ValueError for what it cannot hold.

    Without a programming (and with no ``device``, always) cells are as they are meant. A layer must be calibrated
    before it computes.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, like: nn.Linear | nn.Conv2d, groups: int, crossbar: Crossbar, device: Device | None):
        super().__init__()
        self.register_buffer("weight", like.weight.detach().clone())
        self.register_buffer("bias", None if like.bias is None else like.bias.detach().clone())
        self.crossbar, self.device, self.groups = crossbar, device, groups
        flat = like.weight.detach().double().reshape(groups, len(like.weight) // groups, -1)
        self.matrix = SlicedMatrix(flat.cpu().numpy(), crossbar)
        self.chunks = chunks(crossbar)
        self.bipolar = self.matrix.paired or crossbar.signed_inputs
        outputs, rows = flat.shape[1:]
        self.column_tiles = tile_sizes(outputs, crossbar.weight_columns)
        #: Step and zero point of the inputs; step of the converters by their bits.
        self.input_step, self.zero_point = 0.0, 0
        self.adc_steps: dict[int, float] = {}
        self.observing = False
        bits = crossbar.applied_bits + crossbar.weight_bits + int(rows).bit_length()
        self._wide = torch.float64 if bits > _SINGLE_BITS or like.weight.dtype == torch.float64 else torch.float32
        self._codes = torch.from_numpy(self.matrix.codes.transpose(0, 2, 1).copy()).to(self._wide)
        self._signs, self._inverted = self._flips()
        self._meant = self._by_group(self.matrix.digits[None].astype(np.float64))
        self._probes: Tensor | None = None
        self._programmed: ProgrammedSlices | None = None
        self._reference: Tensor | None = None
        self._reading: tuple[list[list[Tensor]], Tensor] | None = None

    # -- programming --------------------------------------------------------------------------------------------------

    def program(self, random: np.random.Generator) -> None:
        """Write the weights; what is computed is decided by the next :meth:`read`."""
        self.erase()
        if self.device is None or self._probes is None:
            # Nothing to write, or a layer that the network has and does not use.
            return
        self._programmed = self.matrix.program(self.device, random)
        self._reference = self._magnitude(self._by_group(self._programmed.programmed()))

    def read(self, time_s: float, random: np.random.Generator) -> None:
        """Compute with the cells and gains of a time after programming from now on."""
        if self.device is None or self._probes is None:
            return
        if self._programmed is None or self._reference is None:
            raise RuntimeError("a layer must be programmed before it can be read")
        levels = self._by_group(self._programmed.at(time_s, random))
        found = self._magnitude(levels)
        gain = torch.where((found > 0) & (self._reference > 0), self._reference / found, 1.0)
        self._reading = levels, gain

    def erase(self) -> None:
        """Back to cells as they are meant."""
        self._programmed = self._reference = self._reading = None

    # -- computing ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Outputs for a batch of inputs; no gradient passes."""
        if self.observing:
            self._observe(x)
            return self._digital(x)
        if self._probes is None:
            raise RuntimeError("the ranges of converters are not known: calibrate the network")
        unit = torch.from_numpy(self.matrix.scale * self.input_step)[:, None, :]
        parts = []
        for few in x.split(self._at_once(x)):
            columns = self._columns(self._quantised(few))
            sums = torch.cat([self._products(part) for part in columns.split(self._block, dim=1)], dim=1)
            parts.append(self._shaped((sums * unit.to(sums.dtype)).to(x.dtype), few))
        result = torch.cat(parts)
        return result if self.bias is None else result + self._along_outputs(self.bias)

    @property
    def exact(self) -> bool:
        """Whether products are those of whole numbers: cells as they are meant behind converters that lose nothing."""
        return self._reading is None and (self.crossbar.is_digital or self.lossless)

    @property
    def lossless(self) -> bool:
        """Whether converters have a code for every sum that cells without noise can give."""
        return all(
            self.matrix.largest_sum(group.end - group.start, chunk.bits) <= most_code(chunk.adc_bits, self.bipolar)
            for group in self.matrix.groups
            for chunk in self.chunks
            if chunk.adc_bits > 0
        ) and all(chunk.adc_bits > 0 for chunk in self.chunks)

    def _at_once(self, x: Tensor) -> int:
        """Images whose vectors take little memory."""
        each = self._columns(torch.zeros_like(x[:1])).numel()
        return max(1, _VECTORS // each)

    @property
    def _block(self) -> int:
        return max(1, _BLOCK // (self.crossbar.slices * self._codes.shape[2] * self.groups))

    def _products(self, columns: Tensor) -> Tensor:
        """Whole numbers times whole numbers, (G, n, K), for input codes (G, n, C)."""
        if self.exact:
            sums = columns.to(self._wide) @ self._codes
        else:
            levels, gain = self._reading or (self._meant, None)
            by_tile = self._converted(columns, levels, self._signs)
            if gain is not None:
                by_tile *= gain[:, None, None, :]
            sums = by_tile.sum(dim=0)
            for group, inverted in zip(self.matrix.groups, self._inverted, strict=True):
                if inverted is not None:
                    inputs = columns[:, :, group.start : group.end].to(self._wide)
                    sums += inputs.sum(dim=2, keepdim=True) * inverted
            if self.matrix.offset:
                sums -= self.matrix.offset * columns.to(self._wide).sum(dim=2, keepdim=True)
        if self.zero_point:
            sums -= self.zero_point * self._codes.sum(dim=1, keepdim=True)
        return sums

    def _converted(self, columns: Tensor, levels: list[list[Tensor]], signs: list[list[Tensor | None]]) -> Tensor:
        """What converters make of each array's sums, shifted and added, (T, G, n, K)."""
        outputs = self._codes.shape[2]
        rows = len({group.tile for group in self.matrix.groups})
        sums = torch.zeros((rows, *columns.shape[:2], outputs), dtype=self._wide)
        exact = levels is self._meant
        for index, group in enumerate(self.matrix.groups):
            part = _Bits(columns[:, :, group.start : group.end], len(self.chunks) > 1, self.crossbar.signed_inputs)
            for chunk in self.chunks:
                step = self.adc_steps.get(chunk.adc_bits)
                if step is None:
                    # A phase that leaves no bits for its conversion.
                    continue
                codes = torch.bmm(part.of(chunk), levels[index][chunk.copy % len(levels[index])])
                most = most_code(chunk.adc_bits, self.bipolar)
                if step != 1:
                    codes *= 1 / step
                if step != 1 or not exact:
                    codes.round_()
                codes.clamp_(-most - 1 if self.bipolar else 0, most)
                for s, shift in enumerate(self.matrix.shifts):
                    weight = step * 2.0 ** (chunk.shift + shift)
                    sign = signs[index][s]
                    each = codes[:, :, s * outputs : (s + 1) * outputs]
                    if sign is None:
                        sums[group.tile].add_(each, alpha=weight)
                    else:
                        sums[group.tile].addcmul_(each.to(self._wide), sign, value=weight)
        return sums

    def _magnitude(self, levels: list[list[Tensor]]) -> Tensor:
        """Mean magnitude of what the converters of each array give for the probes, (T, K)."""
        assert self._probes is not None
        unsigned: list[list[Tensor | None]] = [[None] * self.crossbar.slices for _ in self.matrix.groups]
        found = self._converted(self._probes, levels, unsigned).abs().mean(dim=(1, 2))
        parts = found.split(self.column_tiles, dim=1)
        return torch.cat([part.mean(dim=1, keepdim=True).expand_as(part) for part in parts], dim=1)

    # -- calibration --------------------------------------------------------------------------------------------------

    def _observe(self, x: Tensor) -> None:
        """Set the ranges of inputs and converters."""
        values = x.detach().double().flatten().cpu().numpy()
        if not np.isfinite(values).all():
            raise ValueError("inputs of a layer must be finite")
        low, high = self._input_codes
        self.zero_point = 0
        if low == 0 and values.min() < 0:
            span = max(0.0, float(values.max())) - float(values.min())
            self.zero_point = round(-float(values.min()) / span * high)
        counts, centres = _histogram(values, float(values.min()), float(values.max()))
        low, high = low - self.zero_point, high - self.zero_point
        self.input_step = _best_step(centres, counts, low, high) or 1.0
        columns = self._columns(self._quantised(x.detach()[: self._at_once(x)]))
        every = -(-columns.shape[1] // _SAMPLES)
        columns = columns[:, ::every].contiguous()
        self._probes = columns[:, :: -(-columns.shape[1] // _PROBES)].contiguous()
        self.adc_steps = {} if self.crossbar.is_digital else self._full_scales(columns)

    def _full_scales(self, columns: Tensor) -> dict[int, float]:
        """Steps of the converters by their bits, for input codes (G, n, C)."""
        found: dict[int, float] = {}
        for bits in sorted({chunk.adc_bits for chunk in self.chunks if chunk.adc_bits > 0}):
            most = most_code(bits, self.bipolar)
            least = -most - 1 if self.bipolar else 0
            values, counts = self._sums(columns, bits)
            whole = _whole_step(float(values.min()), float(values.max()), least, most)
            if whole <= 1:
                # Steps below the difference of two sums are its halves, quarters, ..: then products are exact.
                found[bits] = 2.0 ** -math.floor(math.log2(1 / whole)) if whole else 1.0
            else:
                fixed = self.crossbar.full_scale == "fixed"
                found[bits] = whole if fixed else max(1.0, _best_step(values, counts, least, most))
        return found

    def _sums(self, columns: Tensor, bits: int) -> tuple[_Floats, _Floats]:
        """What converters of so many bits are given by cells as they are meant, and how much each value counts."""
        chunks = [chunk for chunk in self.chunks if chunk.adc_bits == bits]
        if self.crossbar.full_scale == "fixed":
            rows = max(group.end - group.start for group in self.matrix.groups)
            top = float(max(self.matrix.largest_sum(rows, chunk.bits) for chunk in chunks))
            return np.array([-top if self.bipolar else 0.0, top]), np.ones(2)
        sums, weights = [], []
        for index, group in enumerate(self.matrix.groups):
            part = _Bits(columns[:, :, group.start : group.end], len(self.chunks) > 1, self.crossbar.signed_inputs)
            for chunk in chunks:
                each = torch.bmm(part.of(chunk), self._meant[index][0]).numpy()
                for shift, values in zip(self.matrix.shifts, np.split(each, self.crossbar.slices, 2), strict=True):
                    sums.append(values.ravel())
                    weights.append(4.0 ** (chunk.shift + shift))
        low = min(float(values.min()) for values in sums)
        high = max(float(values.max()) for values in sums)
        total = np.zeros(_BINS + 1)
        for values, weight in zip(sums, weights, strict=True):
            counts, centres = _histogram(values, low, high, whole=True)
            total += weight * counts
        there = total > 0
        return centres[there], total[there]

    @property
    def _input_codes(self) -> tuple[int, int]:
        most = 2**self.crossbar.applied_bits - 1
        return (-most if self.crossbar.signed_inputs else 0), most

    def _quantised(self, x: Tensor) -> Tensor:
        """Input codes in the shape of the inputs."""
        low, high = self._input_codes
        return (x / self.input_step).round_().add_(self.zero_point).clamp_(low, high)

    # -- layout -------------------------------------------------------------------------------------------------------

    def _by_group(self, levels: _Floats) -> list[list[Tensor]]:
        """(copies, S, G, K, C) as (G, rows, S * K) by group of rows and copy."""
        found = []
        for group in self.matrix.groups:
            part = levels[..., group.start : group.end].transpose(0, 2, 4, 1, 3)
            flat = np.ascontiguousarray(part).reshape(*part.shape[:3], -1)
            found.append(list(torch.from_numpy(flat).float()))
        return found

    def _flips(self) -> tuple[list[list[Tensor | None]], list[Tensor | None]]:
        """By group of rows: signs of the slices' columns (G, 1, K), and what inverted ones add per input (G, 1, K)."""
        signs: list[list[Tensor | None]] = []
        added: list[Tensor | None] = []
        shifts = 2.0 ** np.array(self.matrix.shifts)
        for index in range(len(self.matrix.groups)):
            flipped = self.matrix.flipped[:, index]
            slices = [torch.from_numpy(np.where(each, -1.0, 1.0)[:, None, :]).to(self._wide) for each in flipped]
            signs.append([sign if (sign < 0).any() else None for sign in slices])
            total = self.matrix.top * np.tensordot(shifts, flipped.astype(np.float64), axes=1)
            added.append(torch.from_numpy(total[:, None, :]).to(self._wide) if total.any() else None)
        return signs, added

    @abstractmethod
    def _columns(self, codes: Tensor) -> Tensor:
        """Codes as vectors that rows are driven with, (G, n, C)."""

    @abstractmethod
    def _shaped(self, sums: Tensor, x: Tensor) -> Tensor:
        """(G, n, K) in the shape of the layer's output."""

    @abstractmethod
    def _digital(self, x: Tensor) -> Tensor:
        """What the layer was before."""

    @abstractmethod
    def _along_outputs(self, values: Tensor) -> Tensor:
        """Values per output in a shape that goes with outputs."""


class CrossbarLinear(CrossbarLayer):
    """A linear layer on a crossbar."""

    def __init__(self, like: nn.Linear, crossbar: Crossbar, device: Device | None):
        super().__init__(like, 1, crossbar, device)

    def _columns(self, codes: Tensor) -> Tensor:
        return codes.reshape(1, -1, codes.shape[-1])

    def _shaped(self, sums: Tensor, x: Tensor) -> Tensor:
        return sums.reshape(*x.shape[:-1], sums.shape[-1])

    def _digital(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight, self.bias)

    def _along_outputs(self, values: Tensor) -> Tensor:
        return values


class CrossbarConv2d(CrossbarLayer):
    """A convolution on a crossbar: a row per tap (input channel, row, column), a column per kernel."""

    def __init__(self, like: nn.Conv2d, crossbar: Crossbar, device: Device | None):
        super().__init__(like, like.groups, crossbar, device)
        self.kernel, self.stride, self.dilation = like.kernel_size, like.stride, like.dilation
        # Left, right, top, bottom; what PyTorch makes of "same" is not even for even kernels.
        self.padding: tuple[int, ...] = tuple(like._reversed_padding_repeated_twice)

    def _columns(self, codes: Tensor) -> Tensor:
        if any(self.padding):
            codes = functional.pad(codes, self.padding, value=float(self.zero_point))
        taps: Any = functional.unfold(codes, self.kernel, dilation=self.dilation, stride=self.stride)
        split = taps.unflatten(1, (self.groups, -1)).permute(1, 0, 3, 2)
        return split.reshape(self.groups, -1, split.shape[-1])

    def _shaped(self, sums: Tensor, x: Tensor) -> Tensor:
        height, width = (
            (x.shape[i - 2] + before + after - self.dilation[i] * (self.kernel[i] - 1) - 1) // self.stride[i] + 1
            for i, (before, after) in enumerate((self.padding[2:4], self.padding[:2]))
        )
        images = sums.unflatten(1, (-1, height * width)).permute(1, 0, 3, 2)
        return images.reshape(len(x), -1, height, width)

    def _digital(self, x: Tensor) -> Tensor:
        padded = functional.pad(x, self.padding)
        return functional.conv2d(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)

    def _along_outputs(self, values: Tensor) -> Tensor:
        return values[:, None, None]


class _Bits:
    """Input codes (G, n, C), of which some bits at a time are taken."""

    def __init__(self, codes: Tensor, several: bool, signed: bool):
        self._codes, self._several = codes, several
        if several:
            self._sign = codes.sign() if signed else None
            self._magnitude = codes.abs().to(torch.int32)

    def of(self, chunk: Chunk) -> Tensor:
        """Codes of the bits that a conversion takes in."""
        if not self._several:
            return self._codes.float()
        part = ((self._magnitude >> chunk.shift) & (2**chunk.bits - 1)).float()
        return part if self._sign is None else part * self._sign


def _histogram(values: NDArray[Any], low: float, high: float, *, whole: bool = False) -> tuple[_Floats, _Floats]:
    """Counts and centres of bins between two values; a bin per number for ``whole`` ones, if these are few."""
    width = max((high - low) / _BINS, 1.0 if whole else 0.0)
    bins = np.rint((values - low) / width).astype(np.int64) if width else np.zeros(values.shape, np.int64)
    centres: _Floats = low + width * np.arange(_BINS + 1, dtype=np.float64)
    return np.bincount(bins, minlength=_BINS + 1).astype(np.float64), centres


def _best_step(values: _Floats, counts: _Floats, low: int, high: int) -> float:
    """The step of a converter with codes from ``low`` to ``high`` that has the least mean square error.

    0 for values that are all 0. Of equals the largest step, which cuts the least off.
    """
    there = counts > 0
    values, counts = values[there], counts[there]
    least, most = float(values.min()), float(values.max())
    whole = _whole_step(least, most, low, high)
    if whole == 0:
        return max(abs(least), abs(most))
    steps = whole * _SCALES
    codes = np.clip(np.rint(values / steps[:, None]), low, high)
    errors = ((codes * steps[:, None] - values) ** 2) @ counts
    return float(steps[int(np.argmin(errors))])


def _whole_step(least: float, most: float, low: int, high: int) -> float:
    """The finest step with which codes from ``low`` to ``high`` reach all values; 0 where no code does."""
    return max(most / high if high > 0 and most > 0 else 0.0, least / low if low < 0 and least < 0 else 0.0)


def crossbar_layers(model: nn.Module) -> list[CrossbarLayer]:
    """The layers of a network that are on a crossbar, in order."""
    return [module for module in model.modules() if isinstance(module, CrossbarLayer)]


def on_crossbar(
    model: nn.Module,
    crossbar: Crossbar,
    device: Device | None = None,
    *,
    calibration: Tensor,
    time_s: float = 0.0,
    digital: Collection[str] = (),
    seed: int = 0,
) -> nn.Module:
    """A copy of the network as the crossbar computes it, programmed once from ``seed`` and read ``time_s`` later.

    ``device`` takes the place of the one in the datasheet (``cell.device``). ``calibration`` are inputs of the network,
    a hundred or so and none that it is tested with, by which ranges are set. ``digital`` names modules that stay as
    they are. The network is in evaluation mode; :func:`~codesign.analog.evaluate` programs it anew.

    Raises ValueError for a crossbar that cannot be, naming the module for one that cannot be converted and for values
    that are no numbers, and for a time for which the device has no model.
    """
    if crossbar.problems:
        raise ValueError("; ".join(f"{crossbar.name}: {name} {rule}" for name, rule in crossbar.problems))
    if device is not None and crossbar.is_digital:
        raise ValueError(f"{crossbar.name}: digital cells are exact, they take no device")
    if not len(calibration):
        raise ValueError("calibration must have at least one input (got none)")
    used = crossbar.cell.device if device is None else device

    def make(module: nn.Linear | nn.Conv2d) -> CrossbarLayer:
        if isinstance(module, nn.Conv2d):
            return CrossbarConv2d(module, crossbar, used)
        return CrossbarLinear(module, crossbar, used)

    found = converted(model, make, digital).eval()
    layers = crossbar_layers(found)
    for layer in layers:
        layer.observing = True
    with torch.inference_mode():
        found(calibration)
        for layer in layers:
            layer.observing = False
        for layer, stream in zip(layers, np.random.SeedSequence(seed).spawn(len(layers)), strict=True):
            random = np.random.default_rng(stream)
            layer.program(random)
            layer.read(time_s, random)
    return found
