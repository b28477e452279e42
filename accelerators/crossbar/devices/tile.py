"""Weight matrices on tiles of differential pairs, with converters around them and their gain compensated.

A matrix [G groups, K outputs, C inputs] is cut into tiles of at most ``rows`` inputs and ``columns`` outputs; groups
share no tile. A weight is a pair of devices, g+ = g_max max(w, 0) / s and g- = g_max max(-w, 0) / s, and reads as
(g+ - g-) s / g_max, where s is the largest weight of the tile or of the column. Inputs are converted once per tile row,
outputs once per tile; the sums over tile rows, the compensation and the bias are digital.

Compensation is global: after programming, and again at each time, one-hot inputs of the largest size are read through
the same noisy converters; outputs of a tile are multiplied by the ratio of the mean magnitudes. A read-out that falls
between two steps of the ADC is therefore lost to it as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from accelerators.crossbar.devices._base import Device, Floats, State, checked_weights
from accelerators.crossbar.devices.converters import Converters

#: Mean magnitudes of read-outs below this count as this much (aihwkit), in units of the largest weight.
_LEAST_READOUT = 1e-4
_LEAST_SCALE = 1e-30


@dataclass(frozen=True)
class Tile:
    """The size of a tile, what its scale belongs to, and whether its gain is compensated."""

    rows: int = 256
    columns: int = 256
    scale: Literal["tile", "column"] = "tile"
    compensated: bool = True

    def __post_init__(self) -> None:
        for name in ("rows", "columns"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ValueError(f"{name} must be an integer >= 1 (got {getattr(self, name)!r})")
        if self.scale not in ("tile", "column"):
            raise ValueError(f"scale must be tile or column (got {self.scale!r})")


class Reading(NamedTuple):
    """What a matrix computes at one time: the weights as they are, and what outputs are multiplied by."""

    #: (G, K, C), in units of the weights.
    weights: Floats
    #: (G, T, K) per tile row, the same within a tile.
    gain: Floats


class AnalogMatrix:
    """A weight matrix that is to be programmed.

    ``weights`` are [K, C] or [G, K, C]; raises ValueError for other shapes and for weights that are no numbers.
    ``scale``, (G, T, K), is the weight for which a device is at g_max, per tile row and output; 0 where all are 0.
    """

    def __init__(
        self, weights: ArrayLike, device: Device, converters: Converters | None = None, tile: Tile | None = None
    ):
        self.weights: Floats = checked_weights(weights)
        self.device, self.converters, self.tile = device, converters or Converters(), tile or Tile()
        #: First input of each tile row, first output of each tile column.
        self.row_starts: NDArray[np.int64] = np.arange(0, self.weights.shape[2], self.tile.rows)
        self.column_starts: NDArray[np.int64] = np.arange(0, self.weights.shape[1], self.tile.columns)
        per_output = np.maximum.reduceat(np.abs(self.weights), self.row_starts, axis=2).transpose(0, 2, 1)
        self.scale: Floats = per_output if self.tile.scale == "column" else self._over_tiles(np.maximum, per_output)

    @property
    def tiles(self) -> int:
        """Number of tiles."""
        return self.weights.shape[0] * len(self.row_starts) * len(self.column_starts)

    def program(self, random: np.random.Generator) -> ProgrammedMatrix:
        """The matrix on devices, programmed once."""
        scale = self._per_weight(self.scale)
        # Weights are at most the scale: the quotient is at most 1, also after rounding.
        x = np.divide(self.weights, scale, out=np.zeros_like(self.weights), where=scale > 0)
        x *= self.device.g_max_usiemens
        pairs = np.stack([np.maximum(x, 0.0), np.maximum(-x, 0.0)])
        return ProgrammedMatrix(self, self.device.program(pairs, random), random)

    def multiply(self, inputs: Floats, reading: Reading, random: np.random.Generator, unit: float = 1.0) -> Floats:
        """Outputs (n, G, K) for inputs (n, G, C) that pass the converters; ``unit`` is the input that counts as 1."""
        codes = self.converters.dac(inputs, unit)
        outputs = np.zeros((len(inputs), *self.weights.shape[:2]))
        ends = [*self.row_starts[1:], self.weights.shape[2]]
        for t, (start, end) in enumerate(zip(self.row_starts, ends, strict=True)):
            part = np.einsum("ngc,gkc->ngk", codes[:, :, start:end], reading.weights[:, :, start:end], optimize=True)
            outputs += self._converted(part, unit * self.scale[:, t], random) * reading.gain[:, t]
        return outputs

    def _converted(self, values: Floats, unit: Floats, random: np.random.Generator) -> Floats:
        """Values behind the output noise and the ADC."""
        if self.converters.output_noise:
            values = values + self.converters.output_noise * unit * random.standard_normal(values.shape)
        # Lines without weights carry nothing but noise, which counts for nothing.
        return self.converters.adc(values, np.maximum(unit, _LEAST_SCALE))

    def _per_weight(self, per_tile_row: Floats) -> Floats:
        """(G, T, K) per tile row spread over the inputs, (G, K, C)."""
        lengths = np.diff([*self.row_starts, self.weights.shape[2]])
        return np.repeat(per_tile_row, lengths, axis=1).transpose(0, 2, 1)

    def _over_tiles(self, reduce: np.ufunc, per_output: Floats) -> Floats:
        """(G, T, K) reduced over the outputs of each tile, and spread over them again."""
        lengths = np.diff([*self.column_starts, self.weights.shape[1]])
        return np.repeat(reduce.reduceat(per_output, self.column_starts, axis=2), lengths, axis=2)


class ProgrammedMatrix:
    """A matrix on devices. ``state`` has the conductances of both devices of each pair, (2, G, K, C)."""

    def __init__(self, matrix: AnalogMatrix, state: State, random: np.random.Generator):
        self.matrix, self.state = matrix, state
        self._reference = (
            self._readout(self._weights(state.programmed_usiemens), random) if matrix.tile.compensated else None
        )

    def at(self, time_s: float, random: np.random.Generator) -> Reading:
        """Weights and gains at a time after programming; both are drawn anew by every call."""
        weights = self._weights(self.matrix.device.read(self.state, time_s, random))
        if self._reference is None:
            shape = (len(weights), len(self.matrix.row_starts), weights.shape[1])
            return Reading(weights, np.ones(shape))
        return Reading(weights, self._reference / self._readout(weights, random))

    def _weights(self, conductances: Floats) -> Floats:
        difference = conductances[0] - conductances[1]
        difference *= self.matrix._per_weight(self.matrix.scale) / self.matrix.device.g_max_usiemens
        return difference

    def _readout(self, weights: Floats, random: np.random.Generator) -> Floats:
        """Mean magnitude of the outputs of each tile for one-hot inputs, in units of its scale, (G, T, K).

        An input of 1 at one row gives that row's weights at the outputs; what matters is only how they are converted.
        """
        matrix = self.matrix
        unit = matrix._per_weight(matrix.scale)
        largest = matrix.converters.dac(np.ones(()))
        outputs = np.abs(matrix._converted(weights * largest, unit, random))
        relative = np.divide(outputs, unit, out=np.zeros_like(outputs), where=unit > 0)
        rows = np.diff([*matrix.row_starts, weights.shape[2]])
        columns = np.diff([*matrix.column_starts, weights.shape[1]])
        sums = matrix._over_tiles(np.add, np.add.reduceat(relative, matrix.row_starts, axis=2).transpose(0, 2, 1))
        return np.maximum(sums / (rows[:, None] * np.repeat(columns, columns)), _LEAST_READOUT)
