"""Logic by the gate: area, delay and capacitance of adders and registers made of NAND2 gates.

One calibrated gate stands for a standard-cell library: 0.614 um2, 47.8 ps and 0.7 fF (both inputs) at 28 nm. An XOR2 is
2.4 gates in area and delay and 1.5 in capacitance, a flip-flop 6 gates in area and 3 in capacitance, a full adder two
XOR2 and three NAND2. Source of these: KULeuven-MICAS/zigzag-imc @df34a6f, imc_model_validation, figures only (BSD-3).

Ours: a half adder (XOR2 and NAND2) where nothing is carried in; the four gate delays of a flip-flop that is two latches
(two to set up, two from clock to output; the source has none); toggle rates that grow along an adder tree.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from accelerators.technology import scale

SOURCE = "gates of zigzag-imc @df34a6f at 28 nm (NAND2 0.614 um2, 47.8 ps, 0.7 fF)"
_NODE_NM = 28.0
#: Down to here area is linear in the node and delay constant, as that source has it for its 22 nm chips.
_LINEAR_TO_NM = 22.0
_AREA_UM2 = 0.614
_DELAY_S = 47.8e-12
_CAPACITANCE_FF = 0.7
#: Transistors of the gate whose area is given.
_GATE_TRANSISTORS = 4

#: In gates: area, switched capacitance.
XOR = (2.4, 1.5)
FULL_ADDER = (2 * XOR[0] + 3, 2 * XOR[1] + 3)
HALF_ADDER = (XOR[0] + 1, XOR[1] + 1)
FLIP_FLOP = (6.0, 3.0)
#: In gates of delay: an adder from operand to sum and to carry, from carry to carry; a flip-flop.
TO_SUM, TO_CARRY, RIPPLE, REGISTERED = 4.8, 4.4, 2.0, 4.0


@dataclass(frozen=True)
class Gates:
    """A gate at a node and supply: area, delay, and the energy of switching all of its inputs once."""

    area_um2: float
    delay_s: float
    energy_pj: float

    def area_mm2(self, gates: float) -> float:
        """Area of so many gates."""
        return gates * self.area_um2 * 1e-6

    @property
    def cell_area_um2(self) -> float:
        """A six-transistor memory cell that obeys the rules of logic (no pushed rules)."""
        return self.area_um2 * 6 / _GATE_TRANSISTORS


@lru_cache(maxsize=4096)
def gates(node_nm: float, supply_v: float) -> Gates:
    """The gate at a node (7 to 180 nm) and a supply.

    Capacitance is linear in the node and energy C V^2. From 22 to 28 nm area is linear too and delay constant; beyond,
    both take the factors of :func:`accelerators.technology.scale`. Raises TechnologyError for other nodes.
    """
    edge = min(max(node_nm, _LINEAR_TO_NM), _NODE_NM)
    return Gates(
        area_um2=_AREA_UM2 * edge / _NODE_NM * scale("area", edge, node_nm),
        delay_s=_DELAY_S * scale("delay", edge, node_nm),
        energy_pj=_CAPACITANCE_FF * node_nm / _NODE_NM * supply_v**2 * 1e-3,
    )


@dataclass(frozen=True)
class Adders:
    """A circuit of ripple-carry adders, in gates.

    ``switched`` is the capacitance that switches per operation, toggle rates included; ``depth`` the adders in series;
    ``width`` the bits of the result; ``toggle`` the rate at which these change.
    """

    area: float
    switched: float
    depth: int
    width: int
    toggle: float


def toggle_of_sum(toggle: float) -> float:
    """Toggle rate of the exclusive or of two independent bits that both have the given rate."""
    return 2 * toggle * (1 - toggle)


@lru_cache(maxsize=65536)
def adder_tree(operands: int, bits: int, toggle: float, shift: int = 0) -> Adders:
    """A tree that adds ``operands`` numbers of ``bits``, whose bits change at the rate ``toggle`` per operation.

    With ``shift`` neighbours differ in weight by so many bits, doubling from level to level (over bit positions). An
    adder of w bits is w - 1 full adders and a half adder. The bits of a sum change more often than those of its
    operands, as an exclusive or does; so a tree works the more the deeper it is.
    """
    area = switched = 0.0
    depth, width, left = 0, bits, operands
    while left > 1:
        adders = left // 2
        # The lowest bits of the less significant operand pass by.
        area += adders * ((width - 1) * FULL_ADDER[0] + HALF_ADDER[0])
        switched += adders * toggle * ((width - 1) * FULL_ADDER[1] + HALF_ADDER[1])
        left -= adders
        width += 1 + shift
        shift *= 2
        depth += 1
        toggle = max(toggle, toggle_of_sum(toggle))
    return Adders(area, switched, depth, width, toggle)


def accumulator(bits: int, toggle: float) -> Adders:
    """An adder with a register for its result, clocked in every operation."""
    area = bits * (FULL_ADDER[0] + FLIP_FLOP[0])
    switched = bits * (toggle * FULL_ADDER[1] + FLIP_FLOP[1])
    return Adders(area, switched, 1, bits, toggle)


def ripple_gates(depth: int, width: int) -> float:
    """Gate delays of ``depth`` adders in series with a result of ``width`` bits.

    Sums ripple in a wave: every adder adds the delay of one bit, only the last one that of its carries.
    """
    return 0.0 if depth == 0 else (depth - 1) * TO_SUM + TO_CARRY + (width - 1) * RIPPLE
