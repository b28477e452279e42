"""Residual networks (He et al. 2016), with the stride on the 3x3 convolution as in torchvision ("v1.5")."""

from __future__ import annotations

from collections.abc import Callable

from codesign.networks.builder import Builder, Value
from codesign.networks.graph import Network

_Block = Callable[[Builder, Value, str, int, int], Value]


def resnet18(*, batch: int = 1, resolution: int = 224, classes: int = 1000) -> Network:
    """ResNet-18: two basic blocks in each of four stages."""
    return _resnet(Builder("resnet18", batch), (2, 2, 2, 2), _basic, resolution, classes)


def resnet50(*, batch: int = 1, resolution: int = 224, classes: int = 1000) -> Network:
    """ResNet-50: 3, 4, 6 and 3 bottleneck blocks."""
    return _resnet(Builder("resnet50", batch), (3, 4, 6, 3), _bottleneck, resolution, classes)


def _resnet(b: Builder, depths: tuple[int, ...], block: _Block, resolution: int, classes: int) -> Network:
    x = b.input(3, resolution, resolution)
    x = b.conv(x, "conv1", K=64, kernel=7, stride=2, padding=3, bn=True, activation="relu")
    x = b.pool(x, "maxpool", kernel=3, stride=2, padding=1, kind="max")
    for stage, depth in enumerate(depths):
        for i in range(depth):
            stride = 2 if stage and not i else 1
            x = block(b, x, f"layer{stage + 1}.{i}", 64 << stage, stride)
    x = b.global_pool(x, "avgpool")
    b.linear(b.flatten(x), "fc", K=classes)
    return b.network


def _basic(b: Builder, x: Value, name: str, width: int, stride: int) -> Value:
    y = b.conv(x, f"{name}.conv1", K=width, kernel=3, stride=stride, padding=1, bn=True, activation="relu")
    y = b.conv(y, f"{name}.conv2", K=width, kernel=3, padding=1, bn=True)
    return _residual(b, x, y, name, stride)


def _bottleneck(b: Builder, x: Value, name: str, width: int, stride: int) -> Value:
    y = b.conv(x, f"{name}.conv1", K=width, kernel=1, bn=True, activation="relu")
    y = b.conv(y, f"{name}.conv2", K=width, kernel=3, stride=stride, padding=1, bn=True, activation="relu")
    y = b.conv(y, f"{name}.conv3", K=4 * width, kernel=1, bn=True)
    return _residual(b, x, y, name, stride)


def _residual(b: Builder, x: Value, y: Value, name: str, stride: int) -> Value:
    if x.shape != y.shape:
        x = b.conv(x, f"{name}.downsample.0", K=y.shape[0], kernel=1, stride=stride, bn=True)
    return b.activation(b.add(f"{name}.add", y, x), f"{name}.relu", "relu")
