"""SynFlow (Tanaka et al., NeurIPS 2020), as a score by Abdelfattah et al., ICLR 2021."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from codesign.nas.zero_shot._base import Data, NoScoreError, gradients, logits, preserved
from codesign.networks.torch_module import NetworkModule, weighted_layers

#: Of the sum of outputs: a score below is what rounding leaves of 0.
_LEAST = 1e-9


@dataclass(frozen=True)
class SynFlow:
    """Sum of w dR/dw over the weights of convolutions and linear layers, R the sum of outputs for an input of ones.

    All parameters are replaced by their absolute values; batch normalisation is left out, or kept with
    ``batch_norm``. The score grows exponentially with depth (1e61 is usual): double precision, and with ``log`` its
    natural logarithm.
    """

    batch_norm: bool = False
    log: bool = False

    def __call__(self, module: NetworkModule, data: Data) -> float:
        """The score; NoScoreError where it overflows, the input is indices, or the output does not depend on weights.

        Networks without a path from the input to the output are of the last kind, and those that end in a softmax,
        whose outputs always add up to 1.
        """
        if not all(x.is_floating_point() for x in data.inputs):
            raise NoScoreError("the inputs are indices, not ones")
        hooks = []
        if not self.batch_norm:
            norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
            hooks = [norm.register_forward_hook(lambda part, inputs, output: inputs[0]) for norm in norms]
        training = module.training
        try:
            with preserved(module):
                module.double()
                with torch.no_grad():
                    for value in module.state_dict().values():
                        value.abs_()
                weights = [layer.weight for layer in weighted_layers(module)]
                ones = tuple(torch.ones_like(x[:1], dtype=torch.float64) for x in data.inputs)
                # Statistics of one image are no use; the normalisation's output is not looked at.
                module.train(training and self.batch_norm)
                total = logits(module, ones).sum()
                found = gradients(total, weights)
                score = sum(float((w.detach() * g).abs().sum()) for w, g in zip(weights, found, strict=True))
        finally:
            module.train(training)
            for hook in hooks:
                hook.remove()
        if not math.isfinite(score):
            raise NoScoreError("overflows double precision")
        if score <= _LEAST * abs(float(total.detach())):
            raise NoScoreError("the sum of outputs depends on no weight: no path from the input, or a softmax")
        return math.log(score) if self.log else score
