"""Zero-shot scores: what an untrained network promises, from one random batch. Higher is better.

    score("resnet18", ["zen", "naswot"], resolution=64)["zen"].mean

Scores rank networks of one space; they are proxies of accuracy, in no unit. Importing this needs torch.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from accelerators.suggestions import did_you_mean
from codesign.nas.zero_shot._base import Data, NoScoreError, ZeroShotScore, random_data
from codesign.nas.zero_shot.gradsign import GradSign
from codesign.nas.zero_shot.jacobian import JacobianCovariance
from codesign.nas.zero_shot.naswot import Naswot
from codesign.nas.zero_shot.saliency import Fisher, GradientSum, Grasp, grad_norm, plain, snip
from codesign.nas.zero_shot.synflow import SynFlow
from codesign.nas.zero_shot.zen import Zen
from codesign.networks import Network, NetworkError, load
from codesign.networks.torch_module import NetworkModule, initialise, to_torch


@dataclass(frozen=True)
class Parameters:
    """Trained values: the score to beat."""

    def __call__(self, module: NetworkModule, data: Data) -> float:
        """The count."""
        return float(module.network.parameters)


@dataclass(frozen=True)
class Flops:
    """Multiply-accumulate operations of the network, which papers on NAS call FLOPs."""

    def __call__(self, module: NetworkModule, data: Data) -> float:
        """The count."""
        return float(module.network.macs)


#: All scores by name.
SCORES: dict[str, ZeroShotScore] = {
    "zen": Zen(),
    # One draw of weights, many of inputs: another scale than the mean over repeats.
    "zen_32": Zen(repeats=32),
    "zen_batch_variance": Zen(batch_variance=True),
    "gradsign": GradSign(),
    "gradsign_mean": GradSign(mean=True),
    "synflow": SynFlow(),
    "synflow_log": SynFlow(log=True),
    "synflow_bn": SynFlow(batch_norm=True),
    "synflow_bn_log": SynFlow(batch_norm=True, log=True),
    "naswot": Naswot(),
    "naswot_every": Naswot(every=True),
    "snip": GradientSum(snip),
    "plain": GradientSum(plain),
    "grad_norm": GradientSum(grad_norm),
    "grasp": Grasp(),
    "fisher": Fisher(),
    "jacob_cov": JacobianCovariance(),
    "params": Parameters(),
    "flops": Flops(),
}


@dataclass(frozen=True)
class Score:
    """A score over several drawings of weights and batch: ``values`` in order, their mean and standard deviation.

    ``reason`` says why there is no score, if there is none in one of the drawings; then the mean is None. ``std`` is
    None for fewer than two values.
    """

    name: str
    values: tuple[float, ...]
    reason: str | None = None

    @property
    def mean(self) -> float | None:
        """Mean of the values, None where there is a reason."""
        return None if self.reason else statistics.fmean(self.values)

    @property
    def std(self) -> float | None:
        """Sample standard deviation of the values."""
        return statistics.stdev(self.values) if len(self.values) > 1 and not self.reason else None


def score(
    network: Network | str | Path,
    names: Iterable[str],
    *,
    batch: int = 16,
    resolution: int | None = None,
    repeats: int = 1,
    seed: int = 0,
    batch_norm_eps: float = 1e-5,
    shortcuts: bool = True,
) -> dict[str, Score]:
    """Scores of a network by name (see :data:`SCORES`).

    ``network`` is a network or a name of the zoo, to which ``resolution`` in pixels belongs. Weights (PyTorch's
    defaults, but Gaussian for Zen), ``batch`` images and labels are drawn anew for each of ``repeats``, from ``seed``
    alone; a value does not depend on which other scores are asked for. ``batch_norm_eps`` and ``shortcuts`` are those
    of :func:`~codesign.networks.torch_module.to_torch`; Zen-NAS has 1e-3 and no shortcuts.

    Raises NetworkError for an unknown score, a network that cannot be run, and counts below 1.
    """
    wanted = list(dict.fromkeys(names))
    for name in wanted:
        if name not in SCORES:
            raise NetworkError(
                f"no score is called {name!r}{did_you_mean(name, SCORES)} (there are {', '.join(SCORES)})"
            )
    for option, value, least in (("batch", batch, 1), ("repeats", repeats, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise NetworkError(f"{option} must be an integer >= {least} (got {value!r})")
    if not isinstance(network, Network):
        options: dict[str, Any] = {} if resolution is None else {"resolution": resolution}
        network = load(network, **options)
    elif resolution is not None:
        raise NetworkError(f"{network.name}: resolution belongs to networks of the zoo, a Network has its own")
    module = to_torch(network, batch_norm_eps=batch_norm_eps, seed=0, shortcuts=shortcuts).train()
    found: dict[str, list[float]] = {name: [] for name in wanted}
    reasons: dict[str, str] = {}
    for repeat in range(repeats):
        initialise(module, generator(seed, repeat, 0))
        for name in wanted:
            data = random_data(network, batch, generator(seed, repeat, 1), generator(seed, repeat, 2))
            try:
                number = SCORES[name](module, data)
            except NoScoreError as error:
                reasons.setdefault(name, str(error))
                continue
            if np.isfinite(number):
                found[name].append(number)
            else:
                reasons.setdefault(name, f"is {number}")
    return {name: Score(name, tuple(values), reasons.get(name)) for name, values in found.items()}


def generator(seed: int, *stream: int) -> torch.Generator:
    """A torch generator of its own for every seed and stream."""
    state = np.random.SeedSequence(seed, spawn_key=stream).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


__all__ = ["SCORES", "Data", "NoScoreError", "Score", "Zen", "ZeroShotScore", "generator", "random_data", "score"]
