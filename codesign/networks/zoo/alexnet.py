"""AlexNet: the single-tower version that torchvision trains, and the original in two groups."""

from __future__ import annotations

from codesign.networks.builder import Builder, Value
from codesign.networks.graph import Network


def alexnet(*, batch: int = 1, resolution: int = 224, classes: int = 1000) -> Network:
    """AlexNet in one tower (Krizhevsky 2014, "One weird trick"), as in torchvision."""
    b = Builder("alexnet", batch)
    x = b.input(3, resolution, resolution)
    x = b.conv(x, "features.0", K=64, kernel=11, stride=4, padding=2, activation="relu")
    x = b.pool(x, "features.2", kernel=3, stride=2, kind="max")
    x = b.conv(x, "features.3", K=192, kernel=5, padding=2, activation="relu")
    x = b.pool(x, "features.5", kernel=3, stride=2, kind="max")
    x = b.conv(x, "features.6", K=384, kernel=3, padding=1, activation="relu")
    x = b.conv(x, "features.8", K=256, kernel=3, padding=1, activation="relu")
    x = b.conv(x, "features.10", K=256, kernel=3, padding=1, activation="relu")
    x = b.pool(x, "features.12", kernel=3, stride=2, kind="max")
    x = b.adaptive_pool(x, "avgpool", 6)
    return _classifier(b, x, ("classifier.1", "classifier.4", "classifier.6"), classes)


def alexnet_grouped(*, batch: int = 1, resolution: int = 227, classes: int = 1000) -> Network:
    """The original AlexNet (Krizhevsky et al. 2012): conv2, conv4 and conv5 in two groups, 227 x 227 input.

    The chip measurements of Eyeriss and its followers use this one. Layers are named as in Caffe's definition.
    """
    b = Builder("alexnet_grouped", batch)
    x = b.input(3, resolution, resolution)
    x = b.conv(x, "conv1", K=96, kernel=11, stride=4, activation="relu")
    x = b.pool(b.local_response_norm(x, "norm1"), "pool1", kernel=3, stride=2, kind="max")
    x = b.conv(x, "conv2", K=256, kernel=5, padding=2, groups=2, activation="relu")
    x = b.pool(b.local_response_norm(x, "norm2"), "pool2", kernel=3, stride=2, kind="max")
    x = b.conv(x, "conv3", K=384, kernel=3, padding=1, activation="relu")
    x = b.conv(x, "conv4", K=384, kernel=3, padding=1, groups=2, activation="relu")
    x = b.conv(x, "conv5", K=256, kernel=3, padding=1, groups=2, activation="relu")
    x = b.pool(x, "pool5", kernel=3, stride=2, kind="max")
    return _classifier(b, x, ("fc6", "fc7", "fc8"), classes)


def _classifier(b: Builder, x: Value, names: tuple[str, str, str], classes: int) -> Network:
    x = b.flatten(x)
    x = b.linear(x, names[0], K=4096, activation="relu")
    x = b.linear(x, names[1], K=4096, activation="relu")
    b.linear(x, names[2], K=classes)
    return b.network
