"""From digital to analog layers."""

from __future__ import annotations

import copy
from collections.abc import Collection

import numpy as np
import torch
from torch import nn

from accelerators.crossbar.devices import Converters, Device, Tile
from codesign.analog.layers import AnalogConv2d, AnalogLayer, AnalogLinear


def to_analog(
    model: nn.Module,
    device: Device,
    converters: Converters | None = None,
    tile: Tile | None = None,
    *,
    digital: Collection[str] = (),
    seed: int = 0,
) -> nn.Module:
    """A copy of the network with its linear layers and convolutions on crossbars of ``device``.

    ``digital`` names modules that stay as they are, with all that is in them. Vectors of parameters (biases, batch
    normalisation) are digital in any case; a module with other parameters is refused unless it is named there.

    Raises ValueError, naming the module, for one that cannot be converted and for weights that are no numbers.
    """
    converted = copy.deepcopy(model)
    modules = dict(converted.named_modules())
    unknown = sorted(set(digital) - set(modules))
    if unknown:
        raise ValueError(f"digital: no module is named {unknown[0]!r}")
    seeds = np.random.SeedSequence(seed)
    made: dict[nn.Module, AnalogLayer] = {}
    for name, module in modules.items():
        if any(name == kept or name.startswith(f"{kept}.") for kept in digital):
            continue
        if type(module) in (nn.Linear, nn.Conv2d):
            try:
                made[module] = _analog(
                    module,
                    device,
                    converters or Converters(),
                    tile or Tile(),
                    int(seeds.spawn(1)[0].generate_state(1)[0]),
                )
            except ValueError as error:
                raise ValueError(f"{name or 'the network'}: {error}") from None
            continue
        for parameter, values in module.named_parameters(recurse=False):
            if values.ndim > 1:
                raise ValueError(
                    f"{name or 'the network'}: {type(module).__name__} with parameter {parameter} {list(values.shape)} "
                    "cannot be converted, only Linear and Conv2d can (keep it with digital=[...])"
                )
    for parent in [converted, *converted.modules()]:
        for child, module in list(parent.named_children()):
            if module in made:
                setattr(parent, child, made[module])
    return made.get(converted, converted)


def _analog(module: nn.Module, device: Device, converters: Converters, tile: Tile, seed: int) -> AnalogLayer:
    if not module.weight.dtype.is_floating_point:
        raise ValueError(f"weights must be real numbers (got {module.weight.dtype})")
    if isinstance(module, nn.Conv2d):
        if module.padding_mode != "zeros":
            raise ValueError(f"padding_mode must be 'zeros' (got {module.padding_mode!r})")
        return AnalogConv2d(module, device, converters, tile, seed=seed)
    assert isinstance(module, nn.Linear)
    bias: torch.Tensor | None = module.bias
    return AnalogLinear(module.weight, bias, device, converters, tile, seed=seed)
