"""What a design may use at most."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from accelerators.catalog import Hardware
from accelerators.costs import Infeasible
from accelerators.crossbar import area as crossbar_area
from accelerators.crossbar.crossbar import Crossbar
from accelerators.spatial.architecture import SpatialAccelerator


class _Use(NamedTuple):
    """How much of a quantity a design has: None is without limit."""

    name: str
    value: float | None
    limit: float | None
    unit: str


@dataclass(frozen=True)
class Budget:
    """What a design may use at most; None is unlimited.

    ``noc_bytes_per_cycle`` is what the on-chip levels outside the array may send to it (or exchange with it, where
    reads and writes share a port), ``power_mw`` holds for energy over latency of every network. Crossbars have no MACs
    and no such network: their buffers, off-chip memory and area count. Of processors only the power is known.
    """

    macs: int | None = None
    on_chip_bytes: float | None = None
    noc_bytes_per_cycle: float | None = None
    dram_bytes_per_s: float | None = None
    area_mm2: float | None = None
    power_mw: float | None = None

    @classmethod
    def like(cls, hardware: Hardware) -> Budget:
        """The MACs, on-chip bytes and bandwidths of an accelerator; area, buffers and memory of a crossbar.

        Raises ValueError for a processor.
        """
        if isinstance(hardware, SpatialAccelerator):
            noc, dram = noc_bytes_per_cycle(hardware), dram_bytes_per_s(hardware)
            return cls(hardware.macs, hardware.on_chip_bytes, noc, dram)
        if isinstance(hardware, Crossbar):
            found = {name: value for name, value, _, _ in cls()._crossbar(hardware)}
            return cls(on_chip_bytes=found["on_chip_bytes"], dram_bytes_per_s=found["dram"], area_mm2=found["area_mm2"])
        raise ValueError(f"no budget follows from a processor (got {hardware.name})")

    def excess(self, hardware: Hardware) -> Infeasible | None:
        """The first quantity of which a design has too much, if any; power shows only when a network runs."""
        for name, value, limit, unit in self._uses(hardware):
            if limit is None:
                continue
            if value is None:
                return Infeasible("budget", f"unlimited, the budget is {limit:g} {unit}", {"quantity": name})
            if value > limit * (1 + 1e-9):
                text = f"{value:g} {unit}, the budget is {limit:g}"
                return Infeasible("budget", text, {"quantity": name, "excess": value - limit})
        return None

    def _uses(self, hardware: Hardware) -> Iterator[_Use]:
        if isinstance(hardware, SpatialAccelerator):
            yield from self._spatial(hardware)
        elif isinstance(hardware, Crossbar):
            yield from self._crossbar(hardware)

    def _spatial(self, accelerator: SpatialAccelerator) -> Iterator[_Use]:
        yield _Use("macs", accelerator.macs, self.macs, "MACs")
        yield _Use("on_chip_bytes", accelerator.on_chip_bytes, self.on_chip_bytes, "bytes on chip")
        yield _Use("noc", noc_bytes_per_cycle(accelerator), self.noc_bytes_per_cycle, "bytes per cycle to the array")
        yield _Use("dram", dram_bytes_per_s(accelerator), self.dram_bytes_per_s, "bytes per second from DRAM")
        yield _Use("area_mm2", accelerator.area_mm2, self.area_mm2, "mm2")

    def _crossbar(self, crossbar: Crossbar) -> Iterator[_Use]:
        held = 0.0 if crossbar.buffer is None else crossbar_area.buffers(crossbar) * crossbar.buffer.capacity_bytes
        rate = 0.0 if crossbar.memory is None else crossbar.memory.bandwidth_bytes_per_s
        yield _Use("on_chip_bytes", held, self.on_chip_bytes, "bytes of buffers")
        yield _Use("dram", rate, self.dram_bytes_per_s, "bytes per second from DRAM")
        yield _Use("area_mm2", crossbar_area.area_mm2(crossbar), self.area_mm2, "mm2")


def noc_bytes_per_cycle(accelerator: SpatialAccelerator) -> float | None:
    """Bandwidth of the on-chip levels down to the first with a fanout: reads, or shared; None if none has a limit."""
    total = 0.0
    for level in accelerator.levels:
        rate = level.read_bandwidth_bytes_per_cycle or level.shared_bandwidth_bytes_per_cycle
        if level.capacity_bytes is not None and rate is not None:
            total += rate
        if level.children > 1:
            break
    return total or None


def dram_bytes_per_s(accelerator: SpatialAccelerator) -> float | None:
    """Bandwidth of the outermost level, or None if it is unlimited."""
    level = accelerator.levels[0]
    rate = level.shared_bandwidth_bytes_per_cycle or level.read_bandwidth_bytes_per_cycle
    return None if rate is None else rate * accelerator.clock_hz
