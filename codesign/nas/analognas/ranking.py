"""A regressor that learns an order: a small perceptron with a pairwise hinge loss, or the squared error to compare.

It needs PyTorch (``pip install 'codesign[torch]'``).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Loss = Literal["hinge", "squared"]
_LOSSES = ("hinge", "squared")


def pairwise_hinge(scores: ArrayLike, labels: ArrayLike, margin: float = 1.0) -> tuple[float, NDArray[np.float64]]:
    """Mean of max(0, margin - (s_i - s_j)) over all pairs with y_i > y_j, and its gradient by the scores, (n,).

    A pair that is closer than the margin, or in the wrong order, pulls s_i up and s_j down by one over the number of
    pairs. Without a pair, both are 0.
    """
    s, y = np.asarray(scores, np.float64), np.asarray(labels, np.float64)
    better = y[:, None] > y[None, :]
    short = margin - (s[:, None] - s[None, :])
    violated = better & (short > 0)
    pairs = max(1, int(better.sum()))
    return float(short[violated].sum()) / pairs, (violated.sum(axis=0) - violated.sum(axis=1)) / pairs


class Ranker:
    """An ensemble of perceptrons with two hidden layers on standardised features.

    With the hinge loss only the order of labels is learnt. Scores are then brought to the labels' unit by the straight
    line that fits the labels best, which does not change the order.
    """

    def __init__(
        self,
        loss: Loss = "hinge",
        *,
        hidden: int = 32,
        members: int = 5,
        steps: int = 300,
        batch: int = 128,
        learning_rate: float = 0.01,
        weight_decay: float = 1e-2,
        margin: float = 0.5,
        seed: int = 0,
    ):
        if loss not in _LOSSES:
            raise ValueError(f"loss must be one of {', '.join(_LOSSES)} (got {loss!r})")
        if min(hidden, members, steps) < 1 or batch < 2:
            raise ValueError(
                f"hidden, members and steps must be >= 1, batch >= 2 (got {hidden}, {members}, {steps}, {batch})"
            )
        self.loss, self.hidden, self.members, self.steps = loss, hidden, members, steps
        self.batch, self.learning_rate, self.weight_decay = batch, learning_rate, weight_decay
        self.margin, self.seed = margin, seed

    def fit(self, features: ArrayLike, labels: ArrayLike) -> Ranker:
        """Learn from features (n, f) and labels (n,); ValueError for others, and for labels that are all the same."""
        x, y = np.asarray(features, np.float64), np.asarray(labels, np.float64)
        if x.ndim != 2 or y.shape != (len(x),) or len(x) < 2:
            raise ValueError(f"must have features (n, f) and labels (n,), n >= 2 (got {x.shape} and {y.shape})")
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise ValueError("features and labels must be finite")
        if np.ptp(y) == 0:
            raise ValueError(f"labels must differ (got {len(y)} times {y[0]:g})")
        self._mean, self._std = x.mean(axis=0), x.std(axis=0)
        self._std[self._std == 0] = 1.0
        self._line = (1.0, 0.0)
        scaled, target = self._scaled(x), (y - y.mean()) / y.std()
        seeds = np.random.SeedSequence(self.seed).generate_state(self.members)
        self._networks = [self._train(scaled, target, int(seed)) for seed in seeds]
        scores = self._scores(x)
        covariance = float(((scores - scores.mean()) * (y - y.mean())).mean())
        slope = max(covariance, 0.0) / max(float(scores.var()), 1e-12)
        self._line = slope, float(y.mean() - slope * scores.mean())
        return self

    def predict(self, features: ArrayLike) -> NDArray[np.float64]:
        """Labels of features (n, f), (n,)."""
        slope, offset = self._line
        return slope * self._scores(np.asarray(features, np.float64)) + offset

    def _scaled(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return (x - self._mean) / self._std

    def _scores(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        scaled = self._scaled(x)
        each = []
        for network in self._networks:
            values = scaled
            for weights, bias in network[:-1]:
                values = np.maximum(values @ weights + bias, 0.0)
            each.append((values @ network[-1][0] + network[-1][1])[:, 0])
        result: NDArray[np.float64] = np.mean(each, axis=0)
        return result

    def _train(
        self, x: NDArray[np.float64], y: NDArray[np.float64], seed: int
    ) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        try:
            import torch
        except ImportError:
            raise ImportError("surrogates need PyTorch: pip install 'codesign[torch]'") from None
        generator = torch.Generator().manual_seed(seed)
        sizes = (x.shape[1], self.hidden, self.hidden, 1)
        layers = []
        for before, after in pairwise(sizes):
            weights = torch.randn(before, after, generator=generator, dtype=torch.float64) * (2 / before) ** 0.5
            layers.append((weights.requires_grad_(), torch.zeros(after, dtype=torch.float64, requires_grad=True)))
        optimiser = torch.optim.AdamW(
            [tensor for layer in layers for tensor in layer], self.learning_rate, weight_decay=self.weight_decay
        )
        inputs, targets = torch.from_numpy(x), torch.from_numpy(y)
        for _ in range(self.steps):
            # Pairs are those within a batch: all pairs of a large table would take long.
            rows = torch.randperm(len(y), generator=generator)[: self.batch]
            values = inputs[rows]
            for weights, bias in layers[:-1]:
                values = (values @ weights + bias).relu()
            scores = (values @ layers[-1][0] + layers[-1][1])[:, 0]
            optimiser.zero_grad()
            if self.loss == "hinge":
                _, gradient = pairwise_hinge(scores.detach().numpy(), y[rows.numpy()], self.margin)
                scores.backward(torch.from_numpy(gradient))
            else:
                ((scores - targets[rows]) ** 2).mean().backward()
            optimiser.step()
        return [(weights.detach().numpy(), bias.detach().numpy()) for weights, bias in layers]
