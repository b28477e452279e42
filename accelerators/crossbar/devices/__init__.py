"""Memory devices of analog crossbars: how conductances scatter, drift and fluctuate, and what that computes.

:class:`Device` is the protocol, with one module per kind: phase change (:mod:`pcm`), resistive RAM (:mod:`reram`) and
plain Gaussian noise (:mod:`gaussian`). :class:`AnalogMatrix` maps a weight matrix onto tiles of differential pairs with
converters around them. All of it is arrays and numpy Generators: nothing here knows of networks or frameworks.

Conductances are in microsiemens, times in seconds since the end of programming. Datasheets name devices by the names of
:data:`DEVICES`, or as ``gaussian`` with its figures.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from accelerators.crossbar.devices._base import Device, State, checked_weights
from accelerators.crossbar.devices.converters import IDEAL, Converters, Quantiser
from accelerators.crossbar.devices.gaussian import Gaussian
from accelerators.crossbar.devices.pcm import PhaseChange, hermes
from accelerators.crossbar.devices.reram import ReRam
from accelerators.crossbar.devices.statistics import Moments, draws
from accelerators.crossbar.devices.tile import AnalogMatrix, ProgrammedMatrix, Reading, Tile

#: Devices with published constants, by the name that datasheets give them.
DEVICES: Mapping[str, Callable[[], Device]] = {"pcm": PhaseChange, "hermes": hermes, "reram": ReRam}


def name_of(device: Device) -> str:
    """The name of a device, whatever its largest conductance; "gaussian" with its figures, or that of its class."""
    for name, make in DEVICES.items():
        known = make()
        if type(known) is type(device) and scaled(device, known.g_max_usiemens) == known:
            return name
    if isinstance(device, Gaussian):
        figures = {"programming": device.programming_sigma, "read": device.read_sigma, "drift": device.drift_mean}
        said = ", ".join(f"{what} {value:g}" for what, value in figures.items() if value)
        return f"gaussian ({said})" if said else "gaussian (no noise)"
    return type(device).__name__


def scaled(device: Device, g_max_usiemens: float) -> Device:
    """The same kind of device with another largest conductance; its noise goes with it."""
    return replace(device, g_max_usiemens=g_max_usiemens)  # type: ignore[type-var]


__all__ = [
    "DEVICES",
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
    "checked_weights",
    "draws",
    "hermes",
    "name_of",
    "scaled",
]
