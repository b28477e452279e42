"""Keyword spotting on microcontrollers."""

from __future__ import annotations

from codesign.networks.builder import Builder
from codesign.networks.graph import Network


def ds_cnn(*, batch: int = 1, classes: int = 12, width: int = 64, blocks: int = 4) -> Network:
    """DS-CNN (Zhang et al. 2017, "Hello Edge"; small version) as in MLPerf Tiny: 49 frames of 10 coefficients.

    Convolutions keep their biases although batch normalisation follows, as in the reference implementation.
    """
    b = Builder("ds_cnn", batch)
    x = b.input(1, 49, 10)
    x = b.conv(x, "conv", K=width, kernel=(10, 4), stride=2, padding="same", bias=True, bn=True, activation="relu")
    for i in range(1, blocks + 1):
        x = b.conv(
            x, f"block{i}.depthwise", K=width, kernel=3, padding="same", groups=width, bias=True, bn=True,
            activation="relu",
        )  # fmt: skip
        x = b.conv(x, f"block{i}.pointwise", K=width, kernel=1, bias=True, bn=True, activation="relu")
    x = b.pool(x, "pool", kernel=(24, 5), kind="average")
    b.softmax(b.linear(b.flatten(x), "dense", K=classes), "softmax")
    return b.network
