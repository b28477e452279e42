"""U-Net (Ronneberger et al. 2015)."""

from __future__ import annotations

from codesign.networks.builder import Builder, Value
from codesign.networks.graph import Network, NetworkError


def unet(*, batch: int = 1, resolution: int = 572, channels: int = 1, classes: int = 2, width: int = 64) -> Network:
    """The original U-Net: 3x3 convolutions without padding, 2x2 up-convolutions, no batch normalisation.

    An input of 572 x 572 gives an output of 388 x 388; after every pooling step the size must have been even.
    """
    b = Builder("unet", batch)
    x = _double(b, b.input(channels, resolution, resolution), "down0", width)
    skips = []
    for depth in range(1, 5):
        if x.shape[1] % 2:
            # An odd size would lose a row here and shift the two halves of the U against each other.
            raise NetworkError(
                f"unet: pool{depth}: needs an even size (got {x.shape[1]}): choose a resolution of 188 + 16 n"
            )
        skips.append(x)
        x = _double(b, b.pool(x, f"pool{depth}", kernel=2, kind="max"), f"down{depth}", width << depth)
    for depth in range(3, -1, -1):
        x = b.conv_transpose(x, f"up{depth}", K=width << depth, kernel=2, stride=2)
        # The middle, whose rows are those that the other half still has.
        start = [(whole - part) // 2 for whole, part in zip(skips[depth].shape, x.shape, strict=True)]
        skip = b.crop(skips[depth], *x.shape, start=[0, *start[1:]], name=f"crop{depth}")
        x = _double(b, b.concat(skip, x), f"merge{depth}", width << depth)
    b.conv(x, "out", K=classes, kernel=1)
    return b.network


def _double(b: Builder, x: Value, name: str, channels: int) -> Value:
    x = b.conv(x, f"{name}.conv1", K=channels, kernel=3, activation="relu")
    return b.conv(x, f"{name}.conv2", K=channels, kernel=3, activation="relu")
