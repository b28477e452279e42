"""Analog-to-digital converters: what a conversion costs in energy, time and area, by several models.

The models differ by more than ten times, so every result says which one was used.
"""

from accelerators.crossbar.converters._base import Conversion, Converter, Readout
from accelerators.crossbar.converters.fixed import Fixed
from accelerators.crossbar.converters.integrating import Integrating
from accelerators.crossbar.converters.sram_aimc import SramAimc
from accelerators.crossbar.converters.survey import Survey

__all__ = ["Conversion", "Converter", "Fixed", "Integrating", "Readout", "SramAimc", "Survey"]
