"""What few bits cost in accuracy, from a table measured on small networks."""

from __future__ import annotations

from typing import NamedTuple


class Bits(NamedTuple):
    """Bits of a layer's weights and of its input activations."""

    weights: int
    activations: int
