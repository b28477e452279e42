"""One array: what a product of a vector and the matrix that it holds costs, and how large it is."""

from accelerators.crossbar.arrays import analog, digital
from accelerators.crossbar.arrays._base import Product, Usage
from accelerators.crossbar.crossbar import Crossbar
from accelerators.crossbar.gates import FULL_ADDER, gates

__all__ = ["Product", "Usage", "addition_pj", "area_mm2", "product"]


def product(crossbar: Crossbar, usage: Usage) -> Product:
    """What one product costs on one array of which a part is used."""
    return digital.product(crossbar, usage) if crossbar.is_digital else analog.product(crossbar, usage)


def area_mm2(crossbar: Crossbar) -> dict[str, float]:
    """Area of one array by parts, without ``area_factor``."""
    return digital.area_mm2(crossbar) if crossbar.is_digital else analog.area_mm2(crossbar)


def addition_pj(crossbar: Crossbar, bits: int) -> float:
    """Energy of adding two partial sums of random bits."""
    return 0.5 * bits * FULL_ADDER[1] * gates(crossbar.node_nm, crossbar.supply_v).energy_pj
