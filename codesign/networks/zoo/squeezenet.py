"""SqueezeNet (Iandola et al. 2016)."""

from __future__ import annotations

from codesign.networks.builder import Builder, Value
from codesign.networks.graph import Network


def squeezenet1_0(*, batch: int = 1, resolution: int = 224, classes: int = 1000) -> Network:
    """SqueezeNet 1.0."""
    b = Builder("squeezenet1_0", batch)
    x = b.input(3, resolution, resolution)
    x = b.conv(x, "features.0", K=96, kernel=7, stride=2, activation="relu")
    x = b.pool(x, "features.2", kernel=3, stride=2, ceil=True, kind="max")
    x = _fire(b, x, "features.3", 16, 64)
    x = _fire(b, x, "features.4", 16, 64)
    x = _fire(b, x, "features.5", 32, 128)
    x = b.pool(x, "features.6", kernel=3, stride=2, ceil=True, kind="max")
    x = _fire(b, x, "features.7", 32, 128)
    x = _fire(b, x, "features.8", 48, 192)
    x = _fire(b, x, "features.9", 48, 192)
    x = _fire(b, x, "features.10", 64, 256)
    x = b.pool(x, "features.11", kernel=3, stride=2, ceil=True, kind="max")
    x = _fire(b, x, "features.12", 64, 256)
    x = b.conv(x, "classifier.1", K=classes, kernel=1, activation="relu")
    b.global_pool(x, "classifier.3")
    return b.network


def _fire(b: Builder, x: Value, name: str, squeeze: int, expand: int) -> Value:
    s = b.conv(x, f"{name}.squeeze", K=squeeze, kernel=1, activation="relu")
    small = b.conv(s, f"{name}.expand1x1", K=expand, kernel=1, activation="relu")
    large = b.conv(s, f"{name}.expand3x3", K=expand, kernel=3, padding=1, activation="relu")
    return b.concat(small, large, name=name)
