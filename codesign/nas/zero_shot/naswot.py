"""NASWOT (Mellor et al., Neural architecture search without training, ICML 2021): do ReLUs tell images apart?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from codesign.nas.zero_shot._base import Data, NoScoreError, logits, preserved
from codesign.networks.torch_module import NetworkModule


@dataclass(frozen=True)
class Naswot:
    """log |det K|, K = sum over ReLUs of A A^T + (1 - A)(1 - A)^T, A [batch, units] being 1 where a unit is on.

    The authors count a ReLU once a backward pass has visited it, which leaves out those whose results do not reach the
    output; with ``every`` all are counted, as in NASLib and ZenNAS. ReLU6 counts, other activations have no such code.
    """

    every: bool = False

    def __call__(self, module: NetworkModule, data: Data) -> float:
        """The score; NoScoreError without ReLUs, and where two images switch the same units (K is singular)."""
        kernels: dict[nn.Module, Any] = {}
        visited: set[nn.Module] = set()

        def count(part: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            on = (inputs[0].detach().flatten(1) > 0).float()
            kernels[part] = (on @ on.T + (1 - on) @ (1 - on).T).double().numpy()
            if output.requires_grad:
                output.register_hook(lambda gradient: visited.add(part))

        relus = [part for part in module.modules() if isinstance(part, nn.ReLU | nn.ReLU6)]
        if not relus:
            raise NoScoreError("has no ReLU")
        hooks = [part.register_forward_hook(count) for part in relus]
        try:
            with preserved(module):
                outputs = logits(module, data.inputs)
                if not self.every:
                    outputs.sum().backward()
        finally:
            for hook in hooks:
                hook.remove()
        counted = [kernel for part, kernel in kernels.items() if self.every or part in visited]
        if not counted:
            raise NoScoreError("no ReLU reaches the output")
        log_determinant = float(np.linalg.slogdet(np.sum(counted, axis=0))[1])
        if not math.isfinite(log_determinant):
            raise NoScoreError("two images switch the same units on")
        return log_determinant
