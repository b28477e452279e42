"""Energy, area, leakage and access time of memories, arithmetic and wires by technology node.

Every result carries a ``source`` that names table or law, node and whatever interpolation or scaling took place. What
the tables do not cover raises :class:`TechnologyError`; nothing falls back to a default. Units: pJ, mW at 300 K, mm2,
ns, bytes, bits, nm. The tables and their sources are in ``data/`` and are read when first needed.
"""

from accelerators.technology._base import DramCost, MemoryCost, TechnologyError, UnitCost, WireCost
from accelerators.technology.compute import adder, mac, multiplier
from accelerators.technology.dram import dram, dram_kinds
from accelerators.technology.leakage import leakage_factor
from accelerators.technology.memory import memory
from accelerators.technology.registers import registers
from accelerators.technology.scaling import scale
from accelerators.technology.sram import sram
from accelerators.technology.wires import wire

__all__ = [
    "DramCost",
    "MemoryCost",
    "TechnologyError",
    "UnitCost",
    "WireCost",
    "adder",
    "dram",
    "dram_kinds",
    "leakage_factor",
    "mac",
    "memory",
    "multiplier",
    "registers",
    "scale",
    "sram",
    "wire",
]
