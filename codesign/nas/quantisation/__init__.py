"""Accuracy that few bits cost: really quantised small networks, and an estimate for other networks."""

from codesign.nas.quantisation.penalty import Bits

__all__ = ["Bits"]
