"""GradSign (Zhang and Jia, ICLR 2022): how well the gradients of single images agree in sign."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from codesign.nas.zero_shot._base import Data, gradients, loss, preserved
from codesign.networks.torch_module import NetworkModule, weighted_layers


@dataclass(frozen=True)
class GradSign:
    """Sum over the weights of convolutions and linear layers of | sum over images of sign(gradient) |.

    One image at a time, so batch normalisation uses that image's statistics alone. The authors' two copies differ:
    ``mean`` divides by the number of weights, as the one in their fork of zero-cost-nas does, which hardly ranks
    networks (NAS-Bench-201: Kendall's tau -0.05 instead of 0.63).
    """

    mean: bool = False

    def __call__(self, module: NetworkModule, data: Data) -> float:
        """The score."""
        weights = [layer.weight for layer in weighted_layers(module)]
        signs = [torch.zeros_like(weight) for weight in weights]
        with preserved(module):
            for i in range(len(data.labels)):
                image = tuple(x[i : i + 1] for x in data.inputs)
                found = gradients(loss(module, image, data.labels[i : i + 1]), weights)
                for total, gradient in zip(signs, found, strict=True):
                    total += gradient.sign()
        score = sum(float(total.abs().nansum(dtype=torch.float64)) for total in signs)
        return score / sum(weight.numel() for weight in weights) if self.mean else score
