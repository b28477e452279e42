"""Scores that pruning at initialisation gave: sums over weights of one batch (Abdelfattah et al., ICLR 2021).

All sums are over the weights of convolutions and linear layers, as in SamsungLabs/zero-cost-nas.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from codesign.nas.zero_shot._base import Data, gradients, loss, preserved
from codesign.networks.torch_module import NetworkModule, weighted_layers


@dataclass(frozen=True)
class GradientSum:
    """Sum over layers of a function of a layer's weights and their gradients of the loss."""

    of: Callable[[Tensor, Tensor], Tensor]

    def __call__(self, module: NetworkModule, data: Data) -> float:
        """The score."""
        weights = [layer.weight for layer in weighted_layers(module)]
        with preserved(module):
            found = gradients(loss(module, data.inputs, data.labels), weights)
            return float(sum(self.of(w.detach(), g) for w, g in zip(weights, found, strict=True)))


def snip(weights: Tensor, gradient: Tensor) -> Tensor:
    """SNIP (Lee et al., ICLR 2019): |w dL/dw|."""
    return (weights * gradient).abs().sum()


def plain(weights: Tensor, gradient: Tensor) -> Tensor:
    """Signed: w dL/dw."""
    return (weights * gradient).sum()


def grad_norm(weights: Tensor, gradient: Tensor) -> Tensor:
    """The layer's L2 norm; norms of layers are added, which is not the norm of the whole gradient."""
    return gradient.norm()


@dataclass(frozen=True)
class Grasp:
    """GraSP (Wang et al., ICLR 2020): sum of -w (H g), g the gradient and H the Hessian of the loss."""

    def __call__(self, module: NetworkModule, data: Data) -> float:
        """The score."""
        weights = [layer.weight for layer in weighted_layers(module)]
        with preserved(module):
            along = gradients(loss(module, data.inputs, data.labels), weights, create_graph=True)
            product = sum((g.detach() * g).sum() for g in along)
            assert isinstance(product, Tensor)
            curved = gradients(product, weights)
            return float(sum((-w.detach() * h).sum() for w, h in zip(weights, curved, strict=True)))


@dataclass(frozen=True)
class Fisher:
    """Fisher (Turner et al., ICLR 2020): per output channel half the batch mean of (sum of activation x gradient)^2.

    The sum inside is over positions. A channel counts once for each of its weights.
    """

    def __call__(self, module: NetworkModule, data: Data) -> float:
        """The score."""
        layers = weighted_layers(module)
        outputs: dict[nn.Module, Tensor] = {}
        hooks = [
            layer.register_forward_hook(lambda part, inputs, output: outputs.__setitem__(part, output))
            for layer in layers
        ]
        try:
            with preserved(module):
                value = loss(module, data.inputs, data.labels)
                found = torch.autograd.grad(value, list(outputs.values()), allow_unused=True)
        finally:
            for hook in hooks:
                hook.remove()
        score = 0.0
        for (layer, output), gradient in zip(outputs.items(), found, strict=True):
            if gradient is None:
                continue
            channel = 1 if isinstance(layer, nn.Conv2d) else output.dim() - 1
            positions = [axis for axis in range(1, output.dim()) if axis != channel]
            product = output.detach() * gradient
            per_image = product.sum(positions) if positions else product
            assert isinstance(layer, nn.Conv2d | nn.Linear)
            score += float(per_image.square().mean(0).sum()) / 2 * layer.weight[0].numel()
        return score
