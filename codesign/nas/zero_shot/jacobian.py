"""Jacobian covariance (Mellor et al., first version of Neural architecture search without training, 2020)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from codesign.nas.zero_shot._base import Data, NoScoreError, logits, preserved
from codesign.networks.torch_module import NetworkModule

_K = 1e-5


@dataclass(frozen=True)
class JacobianCovariance:
    """-sum of log(l + k) + 1 / (l + k) over the eigenvalues l of the images' correlations, k = 1e-5.

    What is correlated are the gradients of the sum of outputs with respect to each image.
    """

    def __call__(self, module: NetworkModule, data: Data) -> float:
        """The score; NoScoreError where a gradient is constant, for one image, or if the input is indices."""
        if not all(x.is_floating_point() for x in data.inputs):
            raise NoScoreError("the inputs are indices, which have no gradient")
        if len(data.labels) < 2:
            raise NoScoreError("correlations need at least two images")
        images = [x.clone().requires_grad_() for x in data.inputs]
        with preserved(module):
            total = logits(module, tuple(images)).sum()
            found = torch.autograd.grad(total, images, allow_unused=True)
        rows = [g.flatten(1).double() for g in found if g is not None]
        if not rows:
            raise NoScoreError("the output does not depend on the input")
        jacobian = torch.cat(rows, 1).numpy()
        if not (jacobian.std(1) > 0).all():
            raise NoScoreError("an image whose gradient is constant")
        eigenvalues = np.linalg.eigvalsh(np.corrcoef(jacobian)).clip(0.0) + _K
        return float(-np.sum(np.log(eigenvalues) + 1 / eigenvalues))
