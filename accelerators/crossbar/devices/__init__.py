"""Memory devices of analog crossbars: how conductances scatter, drift and fluctuate, and what that computes.

:class:`Device` is the protocol, with one module per kind: phase change (:mod:`pcm`), resistive RAM (:mod:`reram`) and
plain Gaussian noise (:mod:`gaussian`). :class:`AnalogMatrix` maps a weight matrix onto tiles of differential pairs with
converters around them. All of it is arrays and numpy Generators: nothing here knows of networks or frameworks.

Conductances are in microsiemens, times in seconds since the end of programming.
"""

from accelerators.crossbar.devices._base import Device, State
from accelerators.crossbar.devices.converters import IDEAL, Converters, Quantiser
from accelerators.crossbar.devices.gaussian import Gaussian
from accelerators.crossbar.devices.pcm import PhaseChange, hermes
from accelerators.crossbar.devices.reram import ReRam
from accelerators.crossbar.devices.statistics import Moments, draws
from accelerators.crossbar.devices.tile import AnalogMatrix, ProgrammedMatrix, Reading, Tile

__all__ = [
    "IDEAL",
    "AnalogMatrix",
    "Converters",
    "Device",
    "Gaussian",
    "Moments",
    "PhaseChange",
    "ProgrammedMatrix",
    "Quantiser",
    "ReRam",
    "Reading",
    "State",
    "Tile",
    "draws",
    "hermes",
]
