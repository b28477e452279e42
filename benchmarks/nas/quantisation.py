"""Measure what few bits cost small networks in accuracy: the table of ``codesign.nas.quantisation``.

    python -m benchmarks.nas.quantisation --out FILE [--networks N] [--epochs N]

Small networks of the spaces are trained on scikit-learn's digits (1,797 images of 8 x 8 pixels, a third of them for
the test), then quantised: all layers with the same bits, without and with fine-tuning, and each with bits of its own.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  # its usual name

from codesign.nas.quantisation import Bits
from codesign.nas.quantisation.fake import quantise
from codesign.nas.spaces import fbnet, nas_bench_201, ofa_mobilenet_v3
from codesign.networks import Network
from codesign.networks.torch_module import NetworkModule, to_torch, weighted_layers

WIDTHS = (2, 3, 4, 5, 6, 8, 16)
_MIXED_WIDTHS = (2, 3, 4, 5, 6, 8)
_TUNED_WIDTHS = (2, 3, 4, 8)
_MIXED, _FINE_TUNED_EPOCHS, _BATCH, _CALIBRATION = 24, 3, 128, 128


@dataclass(frozen=True)
class Digits:
    """Images [n, channels, size, size] of mean 0 and variance 1, and labels, for training and test."""

    images: Tensor
    labels: Tensor
    test_images: Tensor
    test_labels: Tensor


def digits(channels: int, size: int) -> Digits:
    """Scikit-learn's digits, enlarged to ``size`` pixels; the same third of them is for the test always."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.from_numpy(data.images.astype(np.float32))[:, None]
    order = np.random.default_rng(0).permutation(len(images))
    images = (images - images.mean()) / images.std()
    images = F.interpolate(images, size=(size, size), mode="bilinear").expand(-1, channels, -1, -1).contiguous()
    labels = torch.from_numpy(data.target.astype(np.int64))
    test, train = order[: len(order) // 3], order[len(order) // 3 :]
    return Digits(images[train], labels[train], images[test], labels[test])


def train(module: NetworkModule, data: Digits, epochs: int, rate: float, generator: torch.Generator) -> None:
    """Adam with a cosine schedule from ``rate`` to 0."""
    optimiser = torch.optim.Adam(module.parameters(), rate)
    steps = epochs * (len(data.labels) // _BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    module.train()
    for _ in range(epochs):
        order = torch.randperm(len(data.labels), generator=generator)
        for start in range(0, len(order) - _BATCH + 1, _BATCH):
            some = order[start : start + _BATCH]
            optimiser.zero_grad()
            F.cross_entropy(module(data.images[some]), data.labels[some]).backward()
            optimiser.step()
            schedule.step()


def accuracy(module: NetworkModule, data: Digits) -> float:
    """Per cent of the test images."""
    module.eval()
    with torch.no_grad():
        right = sum(
            int((module(images).argmax(1) == labels).sum())
            for images, labels in zip(data.test_images.split(200), data.test_labels.split(200), strict=True)
        )
    return 100 * right / len(data.test_labels)


def networks() -> list[tuple[str, str, Network, Callable[[], Digits]]]:
    """(name, space, network, data) of what is measured: random members of three spaces, made small."""
    rng = np.random.default_rng(0)
    found: list[tuple[str, str, Network, Callable[[], Digits]]] = []
    cells = nas_bench_201.cells()
    # A cell without a path from its input to its output learns nothing.
    alive = [int(i) for i in rng.permutation(len(cells)) if _alive(cells[i].tolist())][:4]
    for index in alive:
        cell = nas_bench_201.network(cells[index], resolution=8, channels=12, cells_per_stage=1, input_channels=1)
        found.append((f"cell {index}", "nas_bench_201", cell, lambda: digits(1, 8)))
    for space, i in (("ofa", 0), ("ofa", 1), ("fbnet", 0), ("ofa", 2), ("ofa", 3)):
        if space == "ofa":
            kernels = rng.choice(ofa_mobilenet_v3.KERNELS, ofa_mobilenet_v3.SLOTS).tolist()
            expansions = rng.choice(ofa_mobilenet_v3.EXPANSIONS, ofa_mobilenet_v3.SLOTS).tolist()
            depths = rng.choice((2, 3), ofa_mobilenet_v3.UNITS).tolist()
            net = ofa_mobilenet_v3.network(kernels, expansions, depths, classes=10, resolution=32, width=0.35)
            found.append((f"random {i}", "ofa_mobilenet_v3", net, lambda: digits(3, 32)))
        else:
            codes = rng.integers(0, len(fbnet.BLOCKS), fbnet.LAYERS).tolist()
            net = fbnet.network(codes, classes=10, resolution=8)
            found.append((f"random {i}", "fbnet", net, lambda: digits(3, 8)))
    return found


def _alive(cell: Sequence[int]) -> bool:
    reached = {0}
    for (node, source), code in zip(nas_bench_201.EDGES, cell, strict=True):
        if source in reached and code:
            reached.add(node)
    return 3 in reached


def measure(network: Network, data: Digits, seed: int, epochs: int) -> dict[str, Any]:
    """Losses of accuracy in points by bits; see the module."""
    streams = np.random.SeedSequence(seed).generate_state(4, np.uint32).tolist()
    module = to_torch(network, seed=streams[0])
    train(module, data, epochs, 3e-3, torch.Generator().manual_seed(streams[1]))
    before = accuracy(module, data)
    calibration = (data.images[:_CALIBRATION],)
    layers = len(weighted_layers(module))

    def loss(bits: Sequence[Bits]) -> float:
        return before - accuracy(quantise(module, bits, calibration), data)

    def fine_tuned(bits: Sequence[Bits] | None) -> float:
        tuned = quantise(module, bits or [Bits(24, 24)] * layers, calibration)
        train(tuned, data, _FINE_TUNED_EPOCHS, 3e-4, torch.Generator().manual_seed(streams[2]))
        return accuracy(tuned, data)

    uniform = [[loss([Bits(w, a)] * layers) for a in WIDTHS] for w in WIDTHS]
    # The same further training without quantisation is what fine-tuned networks are held against.
    longer = fine_tuned(None)
    tuned = [[longer - fine_tuned([Bits(w, a)] * layers) for a in _TUNED_WIDTHS] for w in _TUNED_WIDTHS]
    rng = np.random.default_rng(streams[3])
    mixed = []
    for _ in range(_MIXED):
        # Ranges of widths, so that there are gentle and harsh assignments.
        few, many = sorted(rng.choice(len(_MIXED_WIDTHS), 2, replace=False))
        drawn = rng.integers(few, many + 1, (2, layers))
        weights, activations = ([_MIXED_WIDTHS[i] for i in row] for row in drawn)
        bits = [Bits(w, a) for w, a in zip(weights, activations, strict=True)]
        mixed.append({"weights": weights, "activations": activations, "loss": round(loss(bits), 3)})
    return {
        "layers": layers,
        "parameters": network.parameters,
        "macs": [layer.operator.macs for layer in network if layer.operator.kind in ("conv2d", "depthwise", "matmul")],
        "accuracy": round(before, 3),
        "accuracy_fine_tuned": round(longer, 3),
        "loss": np.round(uniform, 3).tolist(),
        "loss_fine_tuned": np.round(tuned, 3).tolist(),
        "mixed": mixed,
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure and write the file; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.nas.quantisation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--networks", type=int, default=None, help="only the first N networks")
    parser.add_argument("--epochs", type=int, default=40, help="epochs of training (40)")
    options = parser.parse_args(arguments)
    console = Console(highlight=False)
    found = []
    for seed, (name, space, network, data) in enumerate(networks()[: options.networks]):
        entry = {"name": name, "space": space, "seed": seed, **measure(network, data(), seed, options.epochs)}
        found.append(entry)
        eight = entry["loss"][WIDTHS.index(8)][WIDTHS.index(8)]
        four = entry["loss"][WIDTHS.index(4)][WIDTHS.index(4)]
        tuned = entry["loss_fine_tuned"][_TUNED_WIDTHS.index(4)][_TUNED_WIDTHS.index(4)]
        console.print(
            f"{space} {name}: {entry['accuracy']:.2f} %, loses {eight:.2f} points at 8 bits, "
            f"{four:.2f} at 4 ({tuned:.2f} fine-tuned)"
        )
        document = {
            "kind": "measured on small networks",
            "data": "scikit-learn's digits, accuracy on 599 images in per cent",
            "bits": WIDTHS,
            "epochs": options.epochs,
            "bits_fine_tuned": _TUNED_WIDTHS,
            "fine_tuned_epochs": _FINE_TUNED_EPOCHS,
            "torch": torch.__version__,
            "networks": found,
        }
        options.out.write_text(json.dumps(document, separators=(",", ":")) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
