"""The residual networks of AnalogNAS (Benmeziane et al. 2023, arXiv 2305.10459), as the figure of its space has them.

A convolution (channels OC0, kernel KS0) is followed by M main blocks. A main block has R residual blocks of B parallel
branches that are added to the shortcut, multiplies the channels by its widening factor WF, and halves the image except
for the first one. Branches are of one of two kinds, convolutions with a ReLU before and batch normalisation behind:

    A   3x3, 3x3
    B   1x1 to a quarter of the channels, 3x3, 1x1

The shortcut is the input itself, or a 1x1 convolution where channels or size change. At the end: ReLU, the average of
each channel, a linear layer. The code that was published with the paper differs: it halves nothing, ignores the kind,
and draws widening factors that narrow.

Networks are encoded as the paper's 22 numbers, in this order: OC0, M, R1..R5, then kind (A is 1, B is 2), WF and B of
each of five main blocks; zeros for those that are not there. KS0 is not among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from codesign.nas.spaces._genes import chosen, count
from codesign.networks import Builder, Network, NetworkError
from codesign.networks.builder import Value

KINDS = ("A", "B")
MOST_BLOCKS = 5

#: Names of the encoding's numbers, those of the columns of the published tables.
FEATURES = (
    "out_channel0",
    "M",
    *(f"R{i}" for i in range(1, MOST_BLOCKS + 1)),
    *(f"{name}{i}" for i in range(1, MOST_BLOCKS + 1) for name in ("convblock", "widenfact", "B")),
)

_NAME = "analog_resnet"


@dataclass(frozen=True)
class MainBlock:
    """``depth`` residual blocks of a kind, with so many branches; channels are multiplied by ``widening``."""

    depth: int
    kind: str = "A"
    widening: int = 1
    branches: int = 1

    def __post_init__(self) -> None:
        for name in ("depth", "widening", "branches"):
            count(f"{_NAME}: {name}", getattr(self, name))
        if self.kind not in KINDS:
            raise NetworkError(f"{_NAME}: kind must be one of {', '.join(KINDS)} (got {self.kind!r})")


@dataclass(frozen=True)
class Architecture:
    """A network of the space: first convolution and main blocks."""

    channels: int
    blocks: tuple[MainBlock, ...]
    kernel: int = 3

    def __post_init__(self) -> None:
        count(f"{_NAME}: channels", self.channels)
        if count(f"{_NAME}: kernel", self.kernel) % 2 == 0:
            raise NetworkError(f"{_NAME}: kernel must be odd (got {self.kernel})")
        if not 1 <= len(self.blocks) <= MOST_BLOCKS:
            raise NetworkError(f"{_NAME}: must have 1 to {MOST_BLOCKS} main blocks (got {len(self.blocks)})")

    def encode(self) -> tuple[int, ...]:
        """The 22 numbers, see :data:`FEATURES`."""
        missing = MOST_BLOCKS - len(self.blocks)
        each = [(KINDS.index(b.kind) + 1, b.widening, b.branches) for b in self.blocks] + [(0, 0, 0)] * missing
        depths = [block.depth for block in self.blocks] + [0] * missing
        return (self.channels, len(self.blocks), *depths, *(number for block in each for number in block))


def decode(features: Iterable[Any], kernel: int = 3) -> Architecture:
    """The architecture of 22 numbers.

    Raises NetworkError, naming the number, for another count, for a main block with a number below 1, and for numbers
    other than 0 behind the last one.
    """
    codes = chosen(f"{_NAME}: features", features, range(2**31), len(FEATURES))
    active = codes[1]
    if not 1 <= active <= MOST_BLOCKS:
        raise NetworkError(f"{_NAME}: M must be 1 to {MOST_BLOCKS} (got {active})")
    blocks = []
    for i in range(MOST_BLOCKS):
        depth, (kind, widening, branches) = codes[2 + i], codes[7 + 3 * i : 10 + 3 * i]
        if i >= active:
            if any((depth, kind, widening, branches)):
                raise NetworkError(f"{_NAME}: main block {i + 1} must be 0 throughout: M is {active}")
        elif not 1 <= kind <= len(KINDS):
            raise NetworkError(f"{_NAME}: convblock{i + 1} must be 1 or 2 (got {kind})")
        else:
            blocks.append(MainBlock(depth, KINDS[kind - 1], widening, branches))
    return Architecture(codes[0], tuple(blocks), kernel)


@dataclass(frozen=True)
class Space:
    """What may be chosen; by default the choices of the figure and of the published tables."""

    channels: Sequence[int] = (8, 12, 16, 32, 48, 64)
    kernels: Sequence[int] = (3, 5, 7)
    main_blocks: Sequence[int] = (1, 2, 3, 4, 5)
    depths: Sequence[int] = tuple(range(1, 17))
    kinds: Sequence[str] = KINDS
    widenings: Sequence[int] = (1, 2, 3, 4)
    branches: Sequence[int] = tuple(range(1, 13))

    @property
    def size(self) -> int:
        """Number of architectures, exactly: |OC0| |KS0| sum_M (|R| |kinds| |WF| |B|)^M."""
        block = len(self.depths) * len(self.kinds) * len(self.widenings) * len(self.branches)
        return len(self.channels) * len(self.kernels) * sum(block**number for number in self.main_blocks)

    def __contains__(self, architecture: object) -> bool:
        return (
            isinstance(architecture, Architecture)
            and architecture.channels in self.channels
            and architecture.kernel in self.kernels
            and len(architecture.blocks) in self.main_blocks
            and all(
                b.depth in self.depths
                and b.kind in self.kinds
                and b.widening in self.widenings
                and b.branches in self.branches
                for b in architecture.blocks
            )
        )

    def sample(self, random: np.random.Generator) -> Architecture:
        """An architecture: first the number of main blocks, then each choice, all alike."""
        number = _one(self.main_blocks, random)
        blocks = tuple(self.sample_block(random) for _ in range(number))
        return Architecture(_one(self.channels, random), blocks, _one(self.kernels, random))

    def sample_block(self, random: np.random.Generator) -> MainBlock:
        """A main block."""
        return MainBlock(
            _one(self.depths, random),
            _one(self.kinds, random),
            _one(self.widenings, random),
            _one(self.branches, random),
        )


def _one(choices: Sequence[Any], random: np.random.Generator) -> Any:
    return choices[int(random.integers(len(choices)))]


def parameters(architecture: Architecture, *, input_channels: int = 3, classes: int = 10) -> int:
    """Trained values, in closed form: convolutions without bias, two per channel and normalisation, a linear layer."""
    channels = architecture.channels
    total = architecture.kernel**2 * input_channels * channels + 2 * channels
    for index, block in enumerate(architecture.blocks):
        for repetition in range(block.depth):
            before, channels = channels, channels * (block.widening if repetition == 0 else 1)
            convolutions = branch_convolutions(block.kind, before, channels)
            total += block.branches * sum(k * k * c_in * c_out + 2 * c_out for c_in, c_out, k in convolutions)
            if projected(before, channels, index, repetition):
                total += before * channels + 2 * channels
    return total + (channels + 1) * classes


def branch_convolutions(kind: str, before: int, after: int) -> list[tuple[int, int, int]]:
    """(input channels, output channels, kernel) of the convolutions of a branch; the first 3x3 one has the stride."""
    if kind == "A":
        return [(before, after, 3), (after, after, 3)]
    middle = max(1, after // 4)
    return [(before, middle, 1), (middle, middle, 3), (middle, after, 1)]


def stride(index: int, repetition: int) -> int:
    """Stride of a residual block: the first one of each main block but the first halves the image."""
    return 2 if index and not repetition else 1


def projected(before: int, after: int, index: int, repetition: int) -> bool:
    """Whether the shortcut of a residual block is a convolution."""
    return before != after or stride(index, repetition) != 1


def network(
    architecture: Architecture | Iterable[Any],
    *,
    batch: int = 1,
    classes: int = 10,
    resolution: int = 32,
    input_channels: int = 3,
) -> Network:
    """The network of an architecture or of its 22 numbers; layers are named as in :mod:`codesign.nas.analognas.module`.

    Raises NetworkError for numbers that are no architecture, and for options below 1.
    """
    if not isinstance(architecture, Architecture):
        architecture = decode(architecture)
    resolution = count(f"{_NAME}: resolution", resolution)
    b = Builder(_NAME, batch)
    x = b.input(count(f"{_NAME}: input_channels", input_channels), resolution, resolution)
    kernel = architecture.kernel
    x = b.conv(x, "stem.0", K=architecture.channels, kernel=kernel, padding=kernel // 2, bn=True)
    for index, block in enumerate(architecture.blocks):
        for repetition in range(block.depth):
            x = _residual(b, x, f"blocks.{index}.{repetition}", block, index, repetition)
    x = b.activation(x, "relu", "relu")
    x = b.global_pool(x, "pool")
    b.linear(b.flatten(x), "classifier", K=count(f"{_NAME}: classes", classes))
    return b.network


def _residual(b: Builder, x: Value, name: str, block: MainBlock, index: int, repetition: int) -> Value:
    before = x.shape[0]
    after = before * (block.widening if repetition == 0 else 1)
    rectified = b.activation(x, f"{name}.relu", "relu")
    branches = []
    for branch in range(block.branches):
        y, step = rectified, stride(index, repetition)
        for position, (_, channels, kernel) in enumerate(branch_convolutions(block.kind, before, after)):
            if position:
                y = b.activation(y, f"{name}.branches.{branch}.{3 * position - 1}", "relu")
            y = b.conv(
                y, f"{name}.branches.{branch}.{3 * position}", K=channels, kernel=kernel,
                stride=step if kernel == 3 else 1, padding=kernel // 2, bn=True,
            )  # fmt: skip
            step = 1 if kernel == 3 else step
        branches.append(y)
    shortcut = x
    if projected(before, after, index, repetition):
        shortcut = b.conv(x, f"{name}.shortcut.0", K=after, kernel=1, stride=stride(index, repetition), bn=True)
    return b.add(f"{name}.add", *branches, shortcut)
