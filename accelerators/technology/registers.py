"""Small storage made of flip-flops: registers and register files below the floor of the SRAM tables."""

from __future__ import annotations

import math

from accelerators.technology import _base
from accelerators.technology._base import MemoryCost
from accelerators.technology._tables import citation, rows
from accelerators.technology.scaling import logic_note, scale

#: Deepest register file among the references of the law (Eyeriss, 256 x 16 bit).
MAX_DEPTH = 256

#: Read multiplexers: energy per doubling of the depth relative to one flip-flop access, and area. Assumed, unvalidated.
_READ_PER_DOUBLING = 0.25
_MULTIPLEXER_AREA = 1.3


def registers(capacity_bytes: float, width_bits: int, node_nm: float) -> MemoryCost:
    """Flip-flops with a read multiplexer: ``capacity_bytes`` (may be a fraction) in words of ``width_bits``.

    With e the energy of a clocked flip-flop (9.0 fJ at 40 nm) and depth = 8 capacity / width: write = width e, read =
    width e (1 + log2(depth) / 4), leakage = bits x a flip-flop's, area = bits x 1.3 flip-flops. Energy and area go to
    other nodes by :func:`scale`, leakage with the area: constant leakage per area at all nodes is an assumption. The
    clock of idle bits (9 fJ each when not gated) is left to the caller, and the law has no access time.

    The law is derived and unvalidated. At 64 B x 16 bit and 40 nm it reads with 0.32 pJ where the SRAM table at 45 nm
    says 0.30 (itrs-hp) and 0.33 (itrs-lstp). All along the floor, at 22 to 90 nm, it reads with 0.4 to 1.9 times and
    writes with 0.15 to 0.6 times the energy of these two tables, in 3 to 17 times the area (CACTI's smallest macros are
    too small). Another source's flip-flop (28 nm, 1.7 fJ) is three times lighter.

    Raises TechnologyError unless 1 <= depth <= 256 words and the node lies in 7 to 180 nm.
    Source: flip-flop of Aladdin, a commercial 40 nm process.
    """
    node = _base.node(node_nm)
    width = _base.integer("width_bits", width_bits, 1, math.inf, "bit")
    depths = f"1 to {MAX_DEPTH} words of {width} bit; deeper storage is SRAM"
    bits = 8.0 * _base.number("capacity_bytes", capacity_bytes, width / 8, MAX_DEPTH * width / 8, "bytes", depths)
    (row,) = (row for row in rows("logic_40nm") if row["unit"] == "flipflop_bit")
    home = float(row["node_nm"])
    write = width * float(row["energy_pj"]) * scale("energy", home, node)
    area_factor = scale("area", home, node)
    return MemoryCost(
        read_energy_pj=write * (1.0 + _READ_PER_DOUBLING * math.log2(bits / width)),
        write_energy_pj=write,
        leakage_mw=bits * float(row["leakage_mw"]) * area_factor,
        area_mm2=bits * float(row["area_um2"]) * _MULTIPLEXER_AREA * area_factor * 1e-6,
        access_ns=None,
        source=f"flip-flop law (unvalidated; {citation(row['source'])}){logic_note(home, node)}",
    )
