"""Noise-aware training: the network learns with the noise that it will meet.

Every step draws anew Gaussian noise on the weights, in parts of a tile's largest weight, and gradients pass the
converters straight through; after it, weights are cut off at so many standard deviations of their layer, which keeps
the largest weight, and with it the noise, small (Joshi et al., Nature Communications 2020).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from codesign.analog.layers import AnalogLayer, analog_layers


@dataclass(frozen=True)
class Recipe:
    """How to train: stochastic gradient descent with Nesterov's momentum, its rate falling along a cosine to 0.

    ``weight_noise`` in parts of the largest weight; ``clip_sigmas`` (2 in the paper), None to leave weights alone.
    """

    epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 1e-4
    weight_noise: float = 0.05
    clip_sigmas: float | None = 2.0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1:
            raise ValueError(f"epochs and batch_size must be >= 1 (got {self.epochs} and {self.batch_size})")
        for name in ("learning_rate", "momentum", "weight_decay", "weight_noise"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be >= 0 (got {getattr(self, name)!r})")
        if self.clip_sigmas is not None and not 0 < self.clip_sigmas < math.inf:
            raise ValueError(f"clip_sigmas must be > 0 or None (got {self.clip_sigmas!r})")


def train(model: nn.Module, inputs: Tensor, labels: Tensor, recipe: Recipe | None = None, *, seed: int = 0) -> float:
    """Train a network in place by cross entropy; returns the mean loss of the last epoch.

    Networks without analog layers are trained digitally, without noise and clipping. The network is left in evaluation
    mode. Raises ValueError for labels that do not fit the inputs, and if the loss is no number any more.
    """
    recipe = recipe or Recipe()
    if len(inputs) != len(labels) or not len(inputs):
        raise ValueError(f"inputs and labels must be as many, at least one (got {len(inputs)} and {len(labels)})")
    layers = analog_layers(model)
    generator = torch.Generator().manual_seed(seed)
    for layer in layers:
        layer.erase()
        layer.weight_noise = recipe.weight_noise
        layer.reseed(int(torch.randint(2**62, (), generator=generator)))
    optimiser = torch.optim.SGD(
        model.parameters(),
        recipe.learning_rate,
        recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.momentum > 0,
    )
    # A last batch of one image has no statistics to normalise with.
    batches = max(1, len(inputs) // recipe.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.epochs * batches)
    model.train()
    mean = math.nan
    for _ in range(recipe.epochs):
        order = torch.randperm(len(inputs), generator=generator)
        total = 0.0
        for batch in order[: batches * recipe.batch_size].split(recipe.batch_size):
            optimiser.zero_grad()
            loss = functional.cross_entropy(model(inputs[batch]), labels[batch])
            loss.backward()
            optimiser.step()
            schedule.step()
            _clip(layers, recipe.clip_sigmas)
            total += float(loss.detach())
        mean = total / batches
        if not math.isfinite(mean):
            raise ValueError(f"the loss must stay finite (got {mean}): lower the learning rate")
    model.eval()
    return mean


def _clip(layers: list[AnalogLayer], sigmas: float | None) -> None:
    if sigmas is None:
        return
    with torch.no_grad():
        for layer in layers:
            # One weight has no standard deviation, and cutting all off at 0 would end the training.
            bound = sigmas * layer.weight.std(correction=0)
            if bound > 0:
                layer.weight.clamp_(-bound, bound)
