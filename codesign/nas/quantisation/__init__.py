"""Accuracy that few bits cost: really quantised small networks, and an estimate for other networks."""

from codesign.nas.quantisation.penalty import Bits, BitsOutOfRangeError, Penalty, accuracy_penalty, has_depthwise

__all__ = ["Bits", "BitsOutOfRangeError", "Penalty", "accuracy_penalty", "has_depthwise"]
