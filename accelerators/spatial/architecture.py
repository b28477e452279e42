"""SpatialAccelerator: storage levels from the outermost to the innermost, fanouts between them, MACs at the end.

Everything here is resolved: energies in pJ, widths in bits. How a datasheet in YAML becomes one of these, with energies
"from technology", is :mod:`accelerators.spatial.datasheet`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from accelerators.operators import ROLES
from accelerators.spatial.constraints import Constraints

#: Dimensions that the operators of this project reduce over; an axis that may unroll one needs adders.
REDUCTION_DIMS = frozenset({"C", "R", "S"})


@dataclass(frozen=True)
class Axis:
    """One axis of a fanout: how many children, and which dimensions may be unrolled along it (None: any)."""

    name: str
    size: int
    dims: frozenset[str] | None = None

    @property
    def reduces(self) -> bool:
        """Whether partial sums may be added along this axis."""
        return self.dims is None or bool(self.dims & REDUCTION_DIMS)


@dataclass(frozen=True)
class Level:
    """One storage level; figures are per instance.

    ``capacity_bytes`` None is unbounded. An access moves ``width_bits``; ``fill_energy_pj`` is a write that comes from
    the parent, ``update_energy_pj`` one that comes from the children. Bandwidths count everything that is read, written
    (fills and updates) or both; None is unlimited. With ``multiple_buffering`` 2 a tile may take half the capacity.
    ``fanout`` are the axes over which the level's children (the next level, or the MACs) are spread.
    """

    name: str
    keeps: frozenset[str] = frozenset(ROLES)
    capacity_bytes: float | None = None
    width_bits: int = 16
    read_energy_pj: float = 0.0
    fill_energy_pj: float = 0.0
    update_energy_pj: float = 0.0
    read_bandwidth_bytes_per_cycle: float | None = None
    write_bandwidth_bytes_per_cycle: float | None = None
    shared_bandwidth_bytes_per_cycle: float | None = None
    multiple_buffering: int = 1
    fanout: tuple[Axis, ...] = ()
    leakage_mw: float = 0.0
    area_mm2: float = 0.0
    source: str = ""

    @property
    def children(self) -> int:
        """Children per instance."""
        return math.prod(axis.size for axis in self.fanout)

    @property
    def adders(self) -> int:
        """Adders that the fanout needs to reduce partial sums, per instance."""
        if not any(axis.reduces for axis in self.fanout):
            return 0
        return self.children - math.prod(axis.size for axis in self.fanout if not axis.reduces)


class Mode(NamedTuple):
    """Operands of at most these widths, and what a MAC of them takes in a precision-scalable unit."""

    weight_bits: int
    input_bits: int
    energy_pj: float


@dataclass(frozen=True)
class Compute:
    """The multiply-accumulate unit: native widths, energy per MAC and per addition in the array, area, leakage.

    ``energy_pj`` is that of operands of the native widths. A precision-scalable unit takes less for narrower ones, as
    ``modes`` say; it does one MAC per cycle in every mode.
    """

    energy_pj: float
    weight_bits: int = 16
    input_bits: int = 16
    output_bits: int = 16
    accumulator_bits: int = 16
    add_energy_pj: float = 0.0
    area_mm2: float = 0.0
    adder_area_mm2: float = 0.0
    leakage_mw: float = 0.0
    adder_leakage_mw: float = 0.0
    modes: tuple[Mode, ...] = ()
    source: str = ""

    def mac_energy_pj(self, weight_bits: int, input_bits: int) -> float:
        """Energy of a MAC of operands of these widths: that of the cheapest mode which holds both."""
        return min(
            (m.energy_pj for m in self.modes if weight_bits <= m.weight_bits and input_bits <= m.input_bits),
            default=self.energy_pj,
        )

    def bits(self, role: str) -> int:
        """Native width of a tensor by role."""
        return {"weights": self.weight_bits, "inputs": self.input_bits, "outputs": self.output_bits}[role]


@dataclass(frozen=True)
class SpatialAccelerator:
    """A chain of storage levels, outermost first, and the MACs at its end.

    ``wire_energy_pj_per_bit_mm`` charges the networks between parents and children. ``area_factor`` multiplies all
    areas, for wires and control. ``ramp_cycles`` adds, for a level, cycles for every tile that it works through (fill
    and drain of a pipeline).
    """

    name: str
    levels: tuple[Level, ...]
    compute: Compute
    clock_hz: float
    node_nm: float | None = None
    wire_energy_pj_per_bit_mm: float = 0.0
    area_factor: float = 1.0
    dataflow: Constraints = field(default_factory=Constraints)
    ramp_cycles: Mapping[str, float] = field(default_factory=dict)
    description: str = ""
    source: str = ""
    notes: tuple[str, ...] = ()

    kind = "spatial"

    @cached_property
    def instances(self) -> tuple[int, ...]:
        """Physical instances of every level, and last of the MACs."""
        counts = [1]
        for level in self.levels:
            counts.append(counts[-1] * level.children)
        return tuple(counts)

    @property
    def macs(self) -> int:
        """Number of MAC units."""
        return self.instances[-1]

    @cached_property
    def child_area_mm2(self) -> tuple[float, ...]:
        """For every level the area of one child with all that is below it."""
        areas = [self.area_factor * self.compute.area_mm2]
        for level in reversed(self.levels):
            own = level.area_mm2 + level.adders * self.compute.adder_area_mm2
            areas.append(self.area_factor * own + level.children * areas[-1])
        return tuple(reversed(areas[:-1]))

    @property
    def area_mm2(self) -> float:
        """Area of the chip (levels that are off chip have no area)."""
        outermost = self.levels[0]
        own = outermost.area_mm2 + outermost.adders * self.compute.adder_area_mm2
        return self.area_factor * own + outermost.children * self.child_area_mm2[0]

    @property
    def leakage_mw(self) -> float:
        """Leakage of every instance on the chip, used or not."""
        total = self.compute.leakage_mw * self.macs
        for level, count in zip(self.levels, self.instances, strict=False):
            total += count * (level.leakage_mw + level.adders * self.compute.adder_leakage_mw)
        return total

    @property
    def on_chip_bytes(self) -> float:
        """Capacity of all bounded levels, over all instances."""
        return sum(n * (level.capacity_bytes or 0) for level, n in zip(self.levels, self.instances, strict=False))

    def level(self, name: str) -> Level:
        """The level with this name (KeyError if there is none)."""
        for level in self.levels:
            if level.name == name:
                return level
        raise KeyError(name)
