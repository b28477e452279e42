"""VGG (Simonyan and Zisserman 2015)."""

from __future__ import annotations

from codesign.networks.builder import Builder
from codesign.networks.graph import Network

#: Channels of the convolutions; None is a pooling layer.
_VGG16 = (64, 64, None, 128, 128, None, 256, 256, 256, None, 512, 512, 512, None, 512, 512, 512, None)


def vgg16(*, batch: int = 1, resolution: int = 224, classes: int = 1000) -> Network:
    """VGG16 without batch normalisation (configuration D)."""
    b = Builder("vgg16", batch)
    x = b.input(3, resolution, resolution)
    index = 0  # torchvision numbers convolutions, activations and pooling layers in one sequence
    for channels in _VGG16:
        if channels is None:
            x = b.pool(x, f"features.{index}", kernel=2, stride=2, kind="max")
            index += 1
        else:
            x = b.conv(x, f"features.{index}", K=channels, kernel=3, padding=1, activation="relu")
            index += 2
    x = b.flatten(b.adaptive_pool(x, "avgpool", 7))
    x = b.linear(x, "classifier.0", K=4096, activation="relu")
    x = b.linear(x, "classifier.3", K=4096, activation="relu")
    b.linear(x, "classifier.6", K=classes)
    return b.network
