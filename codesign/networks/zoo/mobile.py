"""Networks of inverted residual blocks: MobileNetV2 and V3, MnasNet, EfficientNet, all as in torchvision.

Layer names follow torchvision's modules (``features.3.conv.1.0``); an activation is named after its convolution.
"""

from __future__ import annotations

from codesign.networks.builder import Builder, Value
from codesign.networks.graph import Network


def mobilenet_v2(*, batch: int = 1, resolution: int = 224, classes: int = 1000) -> Network:
    """MobileNetV2 1.0 (Sandler et al. 2018)."""
    b = Builder("mobilenet_v2", batch)
    x = b.input(3, resolution, resolution)
    x = b.conv(x, "features.0.0", K=32, kernel=3, stride=2, padding=1, bn=True, activation="relu6")
    # expansion, output channels, repetitions, stride of the first
    stages = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    index = 1
    for expansion, channels, repetitions, first_stride in stages:
        for i in range(repetitions):
            name, stride = f"features.{index}", first_stride if i == 0 else 1
            inner, y, part = x.shape[0] * expansion, x, 0
            if expansion > 1:
                y = b.conv(y, f"{name}.conv.0.0", K=inner, kernel=1, bn=True, activation="relu6")
                part = 1
            y = _depthwise(b, y, f"{name}.conv.{part}.0", 3, stride, "relu6")
            y = b.conv(y, f"{name}.conv.{part + 1}", K=channels, kernel=1, bn=True)
            x = _residual(b, x, y, name)
            index += 1
    x = b.conv(x, f"features.{index}.0", K=1280, kernel=1, bn=True, activation="relu6")
    x = b.global_pool(x, "avgpool")
    b.linear(b.flatten(x), "classifier.1", K=classes)
    return b.network


def mnasnet1_0(*, batch: int = 1, resolution: int = 224, classes: int = 1000) -> Network:
    """MnasNet-B1 1.0 (Tan et al. 2019; no squeeze-excite)."""
    b = Builder("mnasnet1_0", batch)
    x = b.input(3, resolution, resolution)
    x = b.conv(x, "layers.0", K=32, kernel=3, stride=2, padding=1, bn=True, activation="relu")
    x = _depthwise(b, x, "layers.3", 3, 1, "relu")
    x = b.conv(x, "layers.6", K=16, kernel=1, bn=True)
    # output channels, kernel, stride of the first, expansion, repetitions
    stages = [
        (24, 3, 2, 3, 3),
        (40, 5, 2, 3, 3),
        (80, 5, 2, 6, 3),
        (96, 3, 1, 6, 2),
        (192, 5, 2, 6, 4),
        (320, 3, 1, 6, 1),
    ]
    for index, (channels, kernel, first_stride, expansion, repetitions) in enumerate(stages, start=8):
        for i in range(repetitions):
            name, stride = f"layers.{index}.{i}", first_stride if i == 0 else 1
            y = b.conv(x, f"{name}.layers.0", K=x.shape[0] * expansion, kernel=1, bn=True, activation="relu")
            y = _depthwise(b, y, f"{name}.layers.3", kernel, stride, "relu")
            y = b.conv(y, f"{name}.layers.6", K=channels, kernel=1, bn=True)
            x = _residual(b, x, y, name)
    x = b.conv(x, "layers.14", K=1280, kernel=1, bn=True, activation="relu")
    x = b.global_pool(x, "avgpool")
    b.linear(b.flatten(x), "classifier.1", K=classes)
    return b.network


def mobilenet_v3_large(*, batch: int = 1, resolution: int = 224, classes: int = 1000) -> Network:
    """MobileNetV3-Large 1.0 (Howard et al. 2019)."""
    b = Builder("mobilenet_v3_large", batch)
    x = b.input(3, resolution, resolution)
    x = b.conv(x, "features.0.0", K=16, kernel=3, stride=2, padding=1, bn=True, activation="hswish")
    # kernel, expanded channels, output channels, squeeze-excite, activation, stride
    blocks = [
        (3, 16, 16, False, "relu", 1),
        (3, 64, 24, False, "relu", 2),
        (3, 72, 24, False, "relu", 1),
        (5, 72, 40, True, "relu", 2),
        (5, 120, 40, True, "relu", 1),
        (5, 120, 40, True, "relu", 1),
        (3, 240, 80, False, "hswish", 2),
        (3, 200, 80, False, "hswish", 1),
        (3, 184, 80, False, "hswish", 1),
        (3, 184, 80, False, "hswish", 1),
        (3, 480, 112, True, "hswish", 1),
        (3, 672, 112, True, "hswish", 1),
        (5, 672, 160, True, "hswish", 2),
        (5, 960, 160, True, "hswish", 1),
        (5, 960, 160, True, "hswish", 1),
    ]
    for index, (kernel, inner, channels, excite, activation, stride) in enumerate(blocks, start=1):
        # The squeeze layer's width is a multiple of 8 near a quarter of the expanded channels.
        squeeze = _divisible(inner // 4) if excite else 0
        x = _block(
            b, x, f"features.{index}", inner, channels, kernel, stride, activation, squeeze, ("relu", "hsigmoid")
        )
    x = b.conv(x, "features.16.0", K=960, kernel=1, bn=True, activation="hswish")
    x = b.global_pool(x, "avgpool")
    x = b.linear(b.flatten(x), "classifier.0", K=1280, activation="hswish")
    b.linear(x, "classifier.3", K=classes)
    return b.network


def efficientnet_b0(*, batch: int = 1, resolution: int = 224, classes: int = 1000) -> Network:
    """EfficientNet-B0 (Tan and Le 2019)."""
    b = Builder("efficientnet_b0", batch)
    x = b.input(3, resolution, resolution)
    x = b.conv(x, "features.0.0", K=32, kernel=3, stride=2, padding=1, bn=True, activation="swish")
    # expansion, kernel, stride of the first, output channels, repetitions
    stages = [
        (1, 3, 1, 16, 1),
        (6, 3, 2, 24, 2),
        (6, 5, 2, 40, 2),
        (6, 3, 2, 80, 3),
        (6, 5, 1, 112, 3),
        (6, 5, 2, 192, 4),
        (6, 3, 1, 320, 1),
    ]
    for index, (expansion, kernel, first_stride, channels, repetitions) in enumerate(stages, start=1):
        for i in range(repetitions):
            # Squeeze to a quarter of the block's *input* channels, unlike MobileNetV3.
            x = _block(
                b, x, f"features.{index}.{i}", x.shape[0] * expansion, channels, kernel,
                first_stride if i == 0 else 1, "swish", x.shape[0] // 4, ("swish", "sigmoid"),
            )  # fmt: skip
    x = b.conv(x, "features.8.0", K=1280, kernel=1, bn=True, activation="swish")
    x = b.global_pool(x, "avgpool")
    b.linear(b.flatten(x), "classifier.1", K=classes)
    return b.network


def _block(
    b: Builder,
    x: Value,
    name: str,
    inner: int,
    channels: int,
    kernel: int,
    stride: int,
    activation: str,
    squeeze: int,
    gates: tuple[str, str],
) -> Value:
    """Expand (if wider), depthwise, squeeze-excite (if ``squeeze`` > 0), project; numbered as in torchvision."""
    y, part = x, 0
    if inner != x.shape[0]:
        y = b.conv(y, f"{name}.block.{part}.0", K=inner, kernel=1, bn=True, activation=activation)
        part += 1
    y = _depthwise(b, y, f"{name}.block.{part}.0", kernel, stride, activation)
    part += 1
    if squeeze:
        gate = b.global_pool(y, f"{name}.block.{part}.avgpool")
        gate = b.conv(gate, f"{name}.block.{part}.fc1", K=squeeze, kernel=1, activation=gates[0])
        gate = b.conv(gate, f"{name}.block.{part}.fc2", K=inner, kernel=1, activation=gates[1])
        y = b.mul(f"{name}.block.{part}.mul", y, gate)
        part += 1
    y = b.conv(y, f"{name}.block.{part}.0", K=channels, kernel=1, bn=True)
    return _residual(b, x, y, name)


def _depthwise(b: Builder, x: Value, name: str, kernel: int, stride: int, activation: str) -> Value:
    return b.conv(
        x, name, K=x.shape[0], kernel=kernel, stride=stride, padding=kernel // 2, groups=x.shape[0], bn=True,
        activation=activation,
    )  # fmt: skip


def _residual(b: Builder, x: Value, y: Value, name: str) -> Value:
    return b.add(f"{name}.add", y, x) if x.shape == y.shape else y


def _divisible(channels: int, divisor: int = 8) -> int:
    """The nearest multiple of the divisor, but never more than a tenth below (MobileNet's rule)."""
    rounded = max(divisor, (channels + divisor // 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * channels else rounded + divisor
