"""A small task on which AnalogNAS can really be run: scikit-learn's 8x8 digits on tiles of phase-change devices.

600 images to train, 600 to choose by, 597 to test. Converters of 6 bits, aihwkit's output noise and drift model, tiles
of 256 x 256 with global compensation. Networks are those of the space with 4 to 12 channels at first and 2,000 to
40,000 parameters, trained for 20 epochs with noise on the weights.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from accelerators.crossbar.devices import Converters, PhaseChange, Tile
from benchmarks._common import BadInputError
from codesign.analog import DriftAccuracy, Recipe, evaluate, to_analog, train
from codesign.nas.analognas.module import AnalogResNetModule
from codesign.nas.spaces.analog_resnet import AnalogResNet, Architecture, parameters

SPACE = AnalogResNet(
    channels=(4, 6, 8, 12),
    kernels=(3,),
    main_blocks=(1, 2, 3),
    depths=(1, 2, 3),
    widenings=(1, 2),
    branches=(1, 2, 3),
)
PARAMETERS = (2_000, 40_000)
DEVICE = PhaseChange()
CONVERTERS = Converters(dac_bits=6, adc_bits=6)
TILE = Tile()
RECIPE = Recipe(epochs=20, batch_size=100, learning_rate=0.1, weight_noise=0.05)
PROGRAMMINGS = 10


class Split(NamedTuple):
    """Images (n, 1, 8, 8) in 0..1 and their digits (n,)."""

    images: Tensor
    labels: Tensor


@lru_cache(maxsize=1)
def splits() -> dict[str, Split]:
    """The parts ``train``, ``validation`` and ``test``, always the same."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise BadInputError("the digits are scikit-learn's: pip install 'codesign[predict]'") from None
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    images = torch.tensor(digits.images[order] / 16, dtype=torch.float32)[:, None]
    labels = torch.tensor(digits.target[order])
    ends = {"train": (0, 600), "validation": (600, 1200), "test": (1200, len(order))}
    return {name: Split(images[start:end], labels[start:end]) for name, (start, end) in ends.items()}


def size(architecture: Architecture) -> int:
    """Parameters of a network for the digits."""
    return parameters(architecture, input_channels=1)


def sample(random: np.random.Generator) -> Architecture:
    """A network of the space within the range of parameters."""
    while True:
        architecture = SPACE.draw(random)
        if PARAMETERS[0] <= size(architecture) <= PARAMETERS[1]:
            return architecture


def measure(architecture: Architecture, seed: int, split: str, programmings: int = PROGRAMMINGS) -> DriftAccuracy:
    """Train a network from ``seed`` and evaluate it as its devices drift."""
    data = splits()
    model = to_analog(
        AnalogResNetModule(architecture, input_channels=1, seed=seed), DEVICE, CONVERTERS, TILE, seed=seed
    )
    train(model, *data["train"], RECIPE, seed=seed)
    return evaluate(model, *data[split], programmings=programmings, batch_size=600, seed=seed)
