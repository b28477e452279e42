"""From digital to analog layers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection

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

    Raises ValueError, naming the module, for one that cannot be converted and for values that are no numbers.
    """
    seeds = np.random.SeedSequence(seed)

    def make(module: nn.Linear | nn.Conv2d) -> AnalogLayer:
        own = int(seeds.spawn(1)[0].generate_state(1)[0])
        settings = device, converters or Converters(), tile or Tile()
        if isinstance(module, nn.Conv2d):
            return AnalogConv2d(module, *settings, seed=own)
        return AnalogLinear(module.weight, module.bias, *settings, seed=own)

    return converted(model, make, digital)


def converted(
    model: nn.Module, make: Callable[[nn.Linear | nn.Conv2d], nn.Module], digital: Collection[str]
) -> nn.Module:
    """A copy of the network with what ``make`` gives for its linear layers and convolutions, see :func:`to_analog`.

    Layers that are shared stay shared. A ValueError of ``make`` gets the name of the module.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"the network must be a torch module (got {type(model).__name__})")
    names = [name for name, _ in model.named_modules()]
    unknown = sorted(set(digital) - set(names))
    if unknown:
        raise ValueError(f"digital: no module is named {unknown[0]!r}")
    wanted = [name for name in names if not any(name == kept or name.startswith(f"{kept}.") for kept in digital)]
    for name in wanted:
        # Before the copy: lazy modules cannot be copied.
        try:
            _check(model.get_submodule(name))
        except ValueError as error:
            raise ValueError(f"{name or 'the network'}: {error}") from None
    found = copy.deepcopy(model)
    made: dict[nn.Module, nn.Module] = {}
    for name in wanted:
        module = found.get_submodule(name)
        try:
            if type(module) in (nn.Linear, nn.Conv2d):
                assert isinstance(module, nn.Linear | nn.Conv2d)
                made[module] = make(module)
        except ValueError as error:
            raise ValueError(f"{name or 'the network'}: {error}") from None
    for parent in [found, *found.modules()]:
        for child, module in list(parent.named_children()):
            if module in made:
                setattr(parent, child, made[module])
    return made.get(found, found)


def _check(module: nn.Module) -> None:
    """ValueError for a module that can neither be converted nor stay digital."""
    kind = type(module).__name__
    if isinstance(module, nn.modules.lazy.LazyModuleMixin) and module.has_uninitialized_params():
        raise ValueError(f"{kind} has no weights yet: run the network on an input first")
    if isinstance(module, torch.jit.ScriptModule):
        raise ValueError(f"{kind} cannot be converted: scripted modules do not show their layers")
    convertible = type(module) in (nn.Linear, nn.Conv2d)
    parameters = dict(module.named_parameters(recurse=False))
    for name, values in [*parameters.items(), *module.named_buffers(recurse=False)]:
        if values.is_meta:
            raise ValueError(f"{name} must have values (it is on the meta device)")
        if convertible and name == "weight":
            # Its layer has a closer look.
            continue
        if name in parameters and values.ndim > 1:
            raise ValueError(
                f"{kind} with parameter {name} {list(values.shape)} cannot be converted, only Linear and Conv2d can "
                "(keep it with digital=[...])"
            )
        if values.is_floating_point() and not torch.isfinite(values).all():
            at = [int(i) for i in torch.nonzero(~torch.isfinite(values))[0]]
            raise ValueError(f"{name} must be finite (got {float(values.detach()[tuple(at)])} at {at})")
    if convertible:
        assert isinstance(module, nn.Linear | nn.Conv2d)
        if not module.weight.dtype.is_floating_point:
            raise ValueError(f"weights must be real numbers (got {module.weight.dtype})")
        if isinstance(module, nn.Conv2d) and module.padding_mode != "zeros":
            raise ValueError(f"padding_mode must be 'zeros' (got {module.padding_mode!r})")
