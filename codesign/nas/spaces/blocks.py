"""Blocks of convolutional networks, as stages of described spaces repeat them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from codesign.nas.spaces.ofa_mobilenet_v3 import divisible
from codesign.networks import Builder
from codesign.networks.builder import Value

BlockKind = Literal["conv", "sepconv", "mbconv", "basic", "bottleneck"]
Shortcut = Literal["identity", "pool", "none"]
KINDS: tuple[BlockKind, ...] = get_args(BlockKind)
#: Which choices mean something to a kind of block, besides its kernel.
USES: dict[str, tuple[str, ...]] = {
    "conv": ("excite", "shortcut"),
    "sepconv": ("excite", "shortcut"),
    "mbconv": ("expansion", "excite", "shortcut"),
    "basic": (),
    "bottleneck": ("ratio",),
}


@dataclass(frozen=True)
class Block:
    """One block, of ``channels`` outputs.

    ``expansion`` are middle channels over inputs (mbconv), ``ratio`` middle channels over outputs (bottleneck),
    ``excite`` hidden channels of squeeze-excite over middle ones, or over inputs if it is ``excite_from`` them (0 for
    none). Middle and hidden channels are multiples of 8, but hidden ones over inputs whole numbers.
    """

    kind: BlockKind
    channels: int
    kernel: int = 3
    stride: int = 1
    activation: str = "relu"
    expansion: float = 1.0
    ratio: float = 0.25
    excite: float = 0.0
    excite_from: Literal["middle", "input"] = "middle"
    shortcut: Shortcut = "identity"


def build(b: Builder, x: Value, name: str, block: Block) -> Value:
    """Add a block; raises NetworkError for shapes that do not fit."""
    return _KINDS[block.kind](b, x, name, block)


def _conv(b: Builder, x: Value, name: str, block: Block) -> Value:
    """A convolution with normalisation and activation."""
    y = _spatial(b, x, f"{name}.conv", block, block.channels, groups=1)
    return _joined(b, x, _excited(b, y, name, block, x.shape[0]), name, block)


def _sepconv(b: Builder, x: Value, name: str, block: Block) -> Value:
    """A depthwise convolution and a pointwise one without activation (MnasNet)."""
    y = _spatial(b, x, f"{name}.depthwise", block, x.shape[0], groups=x.shape[0])
    y = _excited(b, y, name, block, x.shape[0])
    return _joined(b, x, b.conv(y, f"{name}.pointwise", K=block.channels, kernel=1, bn=True), name, block)


def _mbconv(b: Builder, x: Value, name: str, block: Block) -> Value:
    """An inverted residual (MobileNetV2), with squeeze-excite behind the depthwise convolution (MnasNet)."""
    y, middle = x, divisible(x.shape[0] * block.expansion)
    if block.expansion != 1:
        y = b.conv(x, f"{name}.expand", K=middle, kernel=1, bn=True, activation=block.activation)
    y = _spatial(b, y, f"{name}.depthwise", block, y.shape[0], groups=y.shape[0])
    y = _excited(b, y, name, block, x.shape[0])
    return _joined(b, x, b.conv(y, f"{name}.project", K=block.channels, kernel=1, bn=True), name, block)


def _basic(b: Builder, x: Value, name: str, block: Block) -> Value:
    """Two convolutions around which the input goes (ResNet-18)."""
    y = _spatial(b, x, f"{name}.conv1", block, block.channels, groups=1)
    y = b.conv(
        y, f"{name}.conv2", K=block.channels, kernel=block.kernel, padding=block.kernel // 2, bn=True
    )  # fmt: skip
    return _residual(b, x, y, name, block)


def _bottleneck(b: Builder, x: Value, name: str, block: Block) -> Value:
    """A convolution on fewer channels, around which the input goes (ResNet-50)."""
    middle = divisible(block.channels * block.ratio)
    y = b.conv(x, f"{name}.conv1", K=middle, kernel=1, bn=True, activation=block.activation)
    y = _spatial(b, y, f"{name}.conv2", block, middle, groups=1)
    return _residual(b, x, b.conv(y, f"{name}.conv3", K=block.channels, kernel=1, bn=True), name, block)


def _spatial(b: Builder, x: Value, name: str, block: Block, channels: int, groups: int) -> Value:
    return b.conv(
        x, name, K=channels, kernel=block.kernel, stride=block.stride, padding=block.kernel // 2, groups=groups,
        bn=True, activation=block.activation,
    )  # fmt: skip


def _excited(b: Builder, x: Value, name: str, block: Block, inputs: int) -> Value:
    if not block.excite:
        return x
    if block.excite_from == "input":
        hidden = max(1, int(inputs * block.excite))
    else:
        hidden = divisible(x.shape[0] * block.excite)
    gate = b.global_pool(x, f"{name}.se.pool")
    gate = b.conv(gate, f"{name}.se.reduce", K=hidden, kernel=1, activation="relu")
    gate = b.conv(gate, f"{name}.se.expand", K=x.shape[0], kernel=1, activation="hsigmoid")
    return b.mul(f"{name}.se.mul", x, gate)


def _joined(b: Builder, x: Value, y: Value, name: str, block: Block) -> Value:
    """With the input, or a pooled one, where channels agree."""
    if block.shortcut == "none" or x.shape[0] != y.shape[0]:
        return y
    if block.shortcut == "pool":
        x = b.pool(x, f"{name}.shortcut", kernel=3, stride=block.stride, padding=1, kind="average")
    return b.add(f"{name}.add", y, x) if x.shape == y.shape else y


def _residual(b: Builder, x: Value, y: Value, name: str, block: Block) -> Value:
    if x.shape != y.shape:
        x = b.conv(x, f"{name}.downsample", K=block.channels, kernel=1, stride=block.stride, bn=True)
    return b.activation(b.add(f"{name}.add", y, x), f"{name}.{block.activation}", block.activation)


_KINDS: dict[str, Callable[[Builder, Value, str, Block], Value]] = {
    "conv": _conv,
    "sepconv": _sepconv,
    "mbconv": _mbconv,
    "basic": _basic,
    "bottleneck": _bottleneck,
}
