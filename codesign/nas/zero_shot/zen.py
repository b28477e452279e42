"""Zen-score (Lin et al., Zen-NAS, ICCV 2021): how far features move if the input does, with Gaussian weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from codesign.nas.zero_shot._base import Data, NoScoreError, features, preserved
from codesign.networks.torch_module import NetworkModule, initialise


@dataclass(frozen=True)
class Zen:
    """The authors' code (idstcv/ZenNAS, compute_zen_score.py), not their paper.

    log of the batch mean of the L1 norm of f(x) - f(x + ``gamma`` e), f being the features before global pooling, plus
    log sqrt of the mean running variance of every batch normalisation. Weights are from N(0, 1), anew for each of
    ``repeats``, of which the mean is taken. Running variances are moving averages that begin at one and are *not* reset
    between repeats, so 1 and 32 repeats give different scores: compare only such with the same number.

    With ``batch_variance`` the L2 norm, as in the paper, and the biased variance of the batch x itself instead of the
    moving average: independent of repeats; dead operators do not count. With ``redraw`` off, the weights that the
    module has.
    """

    repeats: int = 1
    gamma: float = 0.01
    batch_variance: bool = False
    redraw: bool = True

    def __call__(self, module: NetworkModule, data: Data) -> float:
        """The score; NoScoreError where features do not depend on the input, or the input is indices."""
        if all(noise is None for noise in data.noise):
            raise NoScoreError("the inputs are indices, which cannot be moved a little")
        norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
        seen: dict[nn.Module, Tensor] = {}

        def keep(part: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen.setdefault(part, inputs[0].var((0, 2, 3), correction=0))

        hooks = [norm.register_forward_pre_hook(keep) for norm in norms if self.batch_variance]
        scores = []
        try:
            with preserved(module), torch.no_grad():
                for repeat in range(self.repeats):
                    seen.clear()
                    if self.redraw:
                        initialise(module, data.generator, gaussian=True, statistics=False)
                    inputs, noise = (data.inputs, data.noise) if not repeat else _fresh(data)
                    moved = tuple(x if e is None else x + self.gamma * e for x, e in zip(inputs, noise, strict=True))
                    difference = (features(module, inputs) - features(module, moved)).flatten(1)
                    distance = difference.norm(dim=1) if self.batch_variance else difference.abs().sum(1)
                    # Dead operators normalise nothing but zeros, which have a running variance, but none of the batch.
                    variances = [v for v in seen.values() if v.any()] if self.batch_variance else map(_running, norms)
                    terms = [float(distance.mean()), *(float(variance.mean().sqrt()) for variance in variances)]
                    if terms[0] == 0:
                        raise NoScoreError("features do not depend on the input")
                    if not all(map(math.isfinite, terms)):
                        raise NoScoreError("features overflow single precision")
                    scores.append(sum(map(math.log, terms)))
        finally:
            for hook in hooks:
                hook.remove()
        return sum(scores) / len(scores)


def _running(norm: nn.BatchNorm2d) -> Tensor:
    assert norm.running_var is not None
    return norm.running_var


def _fresh(data: Data) -> tuple[tuple[Tensor, ...], tuple[Tensor | None, ...]]:
    inputs = tuple(
        x if e is None else torch.randn(x.shape, generator=data.generator)
        for x, e in zip(data.inputs, data.noise, strict=True)
    )
    noise = tuple(None if e is None else torch.randn(e.shape, generator=data.generator) for e in data.noise)
    return inputs, noise
