"""A controller that learns by REINFORCE which options to draw (Williams 1992), as MnasNet's and NAS-Bench-201's do.

The policy is a logit per gene and option, and draws genes independently, as Dong and Yang (ICLR 2020) do on
NAS-Bench-201; MnasNet (Tan et al., CVPR 2019) draws them in turn from a recurrent network. Rewards are the scores with
their sign turned (:class:`codesign.nas.objectives.MnasNetReward`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from codesign.nas.spaces import Codes, Space
from codesign.nas.strategies._base import Admits, Strategy
from codesign.search._base import Seed, fingerprint

#: Adam (Kingma and Ba 2015), and how much of the moving average of rewards stays.
_BETAS, _EPSILON, _STAYS = (0.9, 0.999), 1e-8, 0.9


class Reinforce(Strategy):
    """Draws ``population`` networks at once; ``rate`` is the step of the logits."""

    name = "reinforce"

    def __init__(
        self,
        space: Space,
        *,
        population: int = 10,
        seed: Seed = 0,
        admits: Admits | None = None,
        rate: float = 0.3,
    ):
        super().__init__(space, population=population, seed=seed, admits=admits)
        if not rate > 0:
            raise ValueError(f"rate must be > 0 (got {rate})")
        self.rate = rate
        widest = int(space.counts.max())
        # (genes, options); what is no option never comes.
        self._exists = np.arange(widest)[None] < space.counts[:, None]
        self._logits = np.zeros((len(space.genes), widest))
        self._first, self._second = np.zeros_like(self._logits), np.zeros_like(self._logits)
        #: Moving averages of the reward and of its square's distance, and the worst that worked.
        self._baseline, self._spread, self._worst = 0.0, 0.0, np.inf

    def ask(self) -> Codes:
        """The next networks."""
        return self._admitted(self.population, self._drawn)

    def _drawn(self, count: int) -> Codes:
        reached = self._policy().cumsum(axis=1)
        below = self.random.random((count, len(reached), 1)) >= reached[None]
        return self.space.canonical(np.minimum(below.sum(axis=2), self.space.counts - 1))

    def _policy(self) -> NDArray[np.float64]:
        """(genes, options) how likely each option is."""
        weights = np.where(self._exists, np.exp(self._logits - self._logits.max(axis=1, keepdims=True)), 0.0)
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))

    def _learn(self, codes: Codes, scores: NDArray[np.float64]) -> None:
        rewards = -scores[:, 0]
        works = np.isfinite(rewards)
        if works.any():
            self._worst = min(self._worst, float(rewards[works].min()))
        if not np.isfinite(self._worst):
            return
        # What cannot work is as bad as the worst that does.
        rewards = np.where(works, rewards, self._worst)
        mean = float(rewards.mean())
        if self._spread == 0.0:
            self._baseline, self._spread = mean, float(rewards.std())
        advantages = (rewards - self._baseline) / (self._spread or 1.0)
        self._baseline += (1 - _STAYS) * (mean - self._baseline)
        self._spread += (1 - _STAYS) * (float(np.abs(rewards - self._baseline).mean()) - self._spread)
        taken = (codes[:, :, None] == np.arange(self._logits.shape[1])) & self._exists
        matters = self.space.active(codes)[:, :, None]
        gradient = (advantages[:, None, None] * matters * (taken - self._policy())).mean(axis=0)
        self._step(gradient)

    def _step(self, gradient: NDArray[np.float64]) -> None:
        self._first = _BETAS[0] * self._first + (1 - _BETAS[0]) * gradient
        self._second = _BETAS[1] * self._second + (1 - _BETAS[1]) * gradient**2
        steps = self.generation + 1
        first, second = self._first / (1 - _BETAS[0] ** steps), self._second / (1 - _BETAS[1] ** steps)
        self._logits = self._logits + self.rate * first / (np.sqrt(second) + _EPSILON)

    def _state(self) -> dict[str, Any]:
        averages = np.array([self._baseline, self._spread, self._worst])
        return {"policy": fingerprint(self._logits, self._first, self._second, averages)}
