"""The protocol of zero-shot scores: a number for an untrained network and a random batch; higher is better."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  # its usual name

from codesign.nas.accuracy.scored import NoScoreError
from codesign.networks import computation as compute
from codesign.networks.graph import Network
from codesign.networks.torch_module import NetworkModule

__all__ = [
    "Data", "NoScoreError", "ZeroShotScore", "classes", "features", "gradients", "logits", "loss", "preserved",
    "random_data",
]  # fmt: skip


@dataclass(frozen=True)
class Data:
    """What a score may look at.

    ``inputs`` are the network's inputs, [batch, *shape] each, from N(0, 1) or random indices; ``noise`` are tensors of
    the same shapes from N(0, 1), None for indices; ``labels`` [batch]. A score that draws its own weights takes them
    from ``generator``.
    """

    inputs: tuple[Tensor, ...]
    noise: tuple[Tensor | None, ...]
    labels: Tensor
    generator: torch.Generator


class ZeroShotScore(Protocol):
    """Computes one score.

    The module comes in train mode with weights drawn for it, and is given back as it was (see :func:`preserved`).
    Raises :class:`NoScoreError` where the score has no value for this network.
    """

    def __call__(self, module: NetworkModule, data: Data) -> float:
        """The score, a finite number."""
        ...


def random_data(network: Network, batch: int, generator: torch.Generator, weights: torch.Generator) -> Data:
    """A batch of N(0, 1) noise, and labels that are uniform over the network's outputs."""
    tables = [compute.computed(layer.computation) for layer in network]
    rows = {made.indices: made.rows for made in tables if isinstance(made, compute.Embedding)}
    inputs: list[Tensor] = []
    noise: list[Tensor | None] = []
    for value in network.inputs:
        shape = (batch, *value.shape)
        if value in rows:
            inputs.append(torch.randint(rows[value], shape, generator=generator))
            noise.append(None)
        else:
            inputs.append(torch.randn(shape, generator=generator))
            noise.append(torch.randn(shape, generator=generator))
    labels = torch.randint(classes(network), (batch,), generator=generator)
    return Data(tuple(inputs), tuple(noise), labels, weights)


def classes(network: Network) -> int:
    """Outputs per image, which are taken as classes."""
    operator = [layer.operator for layer in network][-1]
    return operator.words(operator.output) // operator.bound("N")


@contextmanager
def preserved(module: NetworkModule) -> Iterator[None]:
    """Give the module back with the weights, statistics and type that it has now, and without gradients."""
    state = {key: value.clone() for key, value in module.state_dict().items()}
    kind = next(module.parameters()).dtype
    try:
        yield
    finally:
        module.to(kind)
        module.load_state_dict(state)
        module.zero_grad(set_to_none=True)


def loss(module: NetworkModule, inputs: tuple[Tensor, ...], labels: Tensor) -> Tensor:
    """Mean cross-entropy of a batch."""
    return F.cross_entropy(logits(module, inputs), labels)


def logits(module: NetworkModule, inputs: tuple[Tensor, ...]) -> Tensor:
    """Outputs, [batch, classes]."""
    return _run(module, inputs).flatten(1)


def features(module: NetworkModule, inputs: tuple[Tensor, ...]) -> Tensor:
    """What the network's classifier pools, [batch, ..]."""
    return _run(module.features, inputs)


def _run(function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> Tensor:
    try:
        return function(*inputs)
    except ValueError as error:
        # PyTorch's words where a channel has one value: a single image that has shrunk to one pixel.
        if "more than 1 value per channel" not in str(error):
            raise
        raise NoScoreError("batch normalisation of a single value: needs more pixels or images") from None


def gradients(value: Tensor, weights: Sequence[Tensor], create_graph: bool = False) -> list[Tensor]:
    """d value / d weights; zeros for weights on which it does not depend (dead operators)."""
    if not value.requires_grad:
        raise NoScoreError("the output depends on no weight")
    found = torch.autograd.grad(value, weights, allow_unused=True, create_graph=create_graph)
    return [torch.zeros_like(w) if g is None else g for g, w in zip(found, weights, strict=True)]
