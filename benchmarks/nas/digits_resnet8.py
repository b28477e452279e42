"""Train the network that comes with the program: a ResNet-8 on scikit-learn's 8x8 digits, with noise on its weights.

    python -m benchmarks.nas.digits_resnet8 [--out FILE] [--seed S]

Trained on 1,200 images for 60 epochs with 8-bit converters and Gaussian noise of 6 % of the largest weight; the other
597 images, which nothing was chosen by, are in the file to be classified. 200 of the training images are there to set
the ranges of converters. Weights are kept in half precision. The same seed gives the same file.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from accelerators.crossbar.devices import Converters, PhaseChange
from benchmarks._common import BadInputError
from benchmarks.nas._analog_digits import splits
from codesign.analog import Recipe, to_analog, train
from codesign.analog.trained import save
from codesign.nas.spaces.analog_resnet import Architecture, MainBlock, network
from codesign.networks.torch_module import to_torch

DEFAULT = Path(__file__).parents[2] / "codesign" / "analog" / "data" / "digits_resnet8.npz"
ARCHITECTURE = Architecture(8, (MainBlock(1), MainBlock(1, "A", 2), MainBlock(1, "A", 2)))
OPTIONS = {"resolution": 8, "input_channels": 1}
RECIPE = Recipe(epochs=60, batch_size=100, learning_rate=0.1, weight_noise=0.06)
CALIBRATION = 200


def main(arguments: list[str] | None = None) -> int:
    """Train and write; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nas.digits_resnet8", description=__doc__)
    parser.add_argument("--out", type=Path, default=DEFAULT)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.seed < 0:
        raise BadInputError("--seed must be at least 0")
    torch.set_num_threads(1)
    data = splits()
    images, labels = (torch.cat([data["train"][i], data["validation"][i]]) for i in (0, 1))
    test_images, test_labels = data["test"]
    digital = to_torch(network(ARCHITECTURE, **OPTIONS), seed=options.seed)
    analog = to_analog(digital, PhaseChange(), Converters(8, 8, output_noise=0.0), seed=options.seed)
    train(analog, images, labels, RECIPE, seed=options.seed)
    digital.load_state_dict({k: v for k, v in analog.state_dict().items() if not k.endswith("input_range")})
    found = save(
        options.out,
        f"analog_resnet:{json.dumps(ARCHITECTURE.encode())}",
        digital,
        test_images,
        test_labels,
        calibration=images[:CALIBRATION],
        options=OPTIONS,
        half=True,
    )
    print(
        f"{options.out.name}: {found.network.parameters:,} parameters, {found.digital_accuracy:.2f} % of "
        f"{len(test_labels)} images, seed {options.seed}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(BadInputError.guard(main))
