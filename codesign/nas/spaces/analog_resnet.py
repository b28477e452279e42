"""The residual networks of AnalogNAS (Benmeziane et al. 2023, arXiv 2305.10459), as the figure of its space has them.

A convolution (channels OC0, kernel KS0) is followed by M main blocks. A main block has R residual blocks of B parallel
branches that are added to the shortcut, multiplies the channels by its widening factor WF, and halves the image except
for the first one. Branches are of one of two kinds, convolutions with a ReLU before and batch normalisation behind:

    A   3x3, 3x3
    B   1x1 to a quarter of the channels, 3x3, 1x1

The shortcut is the input itself, or a 1x1 convolution where channels or size change. At the end: ReLU, the average of
each channel, a linear layer. The code that was published with the paper differs: it halves nothing, ignores the kind,
and draws widening factors that narrow.

The written form has the figure's names, with a value per main block, null for those that are not there::

    {"OC0": 8, "KS0": 3, "M": 2, "R": [1, 2, null, ..], "kind": ["A", "B", ..], "WF": [1, 2, ..], "B": [1, 4, ..]}

or it is the paper's encoding, 22 numbers in this order: OC0, M, R1..R5, then kind (A is 1, B is 2), WF and B of each of
five main blocks; zeros for those that are not there. KS0 is not among them, and is 3.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from codesign.nas.spaces._base import Code, Gene, Site, Space
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


#: Position of the gene on which those of the main blocks depend.
_MAIN_BLOCKS = 2


class AnalogResNet(Space):
    """Residual networks of parallel branches, AnalogNAS' space; by default the choices of the figure and the tables.

    The options are what may be chosen (OC0, KS0, M, R, kind, WF, B), the pixels, channels and classes of the images.
    Raises NetworkError for choices that are no increasing integers >= 1, even kernels, and more than five main blocks.
    """

    name = _NAME

    def __init__(
        self,
        *,
        channels: Sequence[int] = (8, 12, 16, 32, 48, 64),
        kernels: Sequence[int] = (3, 5, 7),
        main_blocks: Sequence[int] = tuple(range(1, MOST_BLOCKS + 1)),
        depths: Sequence[int] = tuple(range(1, 17)),
        kinds: Sequence[str] = KINDS,
        widenings: Sequence[int] = (1, 2, 3, 4),
        branches: Sequence[int] = tuple(range(1, 13)),
        resolution: int = 32,
        input_channels: int = 3,
        classes: int = 10,
    ):
        self.channels = _choices("channels", channels)
        self.kernels = _choices("kernels", kernels)
        self.main_blocks = _choices("main_blocks", main_blocks)
        self.depths = _choices("depths", depths)
        self.widenings = _choices("widenings", widenings)
        self.branches = _choices("branches", branches)
        self.kinds = tuple(kind for kind in KINDS if kind in kinds)
        if not self.kinds or list(kinds) != list(self.kinds):
            raise NetworkError(f"{_NAME}: kinds must be some of {', '.join(KINDS)}, in this order (got {kinds!r})")
        for kernel in self.kernels:
            if kernel % 2 == 0:
                raise NetworkError(f"{_NAME}: kernels must be odd (got {kernel})")
        if self.main_blocks[-1] > MOST_BLOCKS:
            raise NetworkError(f"{_NAME}: main_blocks must be at most {MOST_BLOCKS} (got {self.main_blocks[-1]})")
        self.resolution = count(f"{_NAME}: resolution", resolution)
        self.input_channels = count(f"{_NAME}: input_channels", input_channels)
        self.classes = count(f"{_NAME}: classes", classes)
        of_blocks = {"R": self.depths, "kind": self.kinds, "WF": self.widenings, "B": self.branches}
        there = [
            frozenset(k for k, number in enumerate(self.main_blocks) if number > i) for i in range(self.main_blocks[-1])
        ]
        self.genes = (
            Gene("OC0", self.channels),
            Gene("KS0", self.kernels),
            Gene("M", self.main_blocks),
            *(
                Gene(f"{name}[{i}]", options, name != "kind", _MAIN_BLOCKS, when)
                for name, options in of_blocks.items()
                for i, when in enumerate(there)
            ),
        )
        # Which layers a residual block has depends on its kind, its branches and more.
        self.sites = (
            Site("stem", "stem", ()),
            *(Site(f"blocks.{i}", f"block{i + 1}", (), _MAIN_BLOCKS, when) for i, when in enumerate(there)),
            Site("classifier", "head", (), last=True),
        )

    def _build(self, values: dict[str, Any], batch: int) -> Network:
        return network(
            _architecture(values), batch=batch, classes=self.classes, resolution=self.resolution,
            input_channels=self.input_channels,
        )  # fmt: skip

    def parts(self, code: Code) -> dict[str, Hashable]:
        """See :class:`~codesign.nas.spaces.Space`: a residual block depends on its channels, kind and branches, on
        where it strides, and by the main blocks before it on the image's size."""
        architecture = self.architecture(code)
        channels = architecture.channels
        found: dict[str, Hashable] = {"stem": ("stem", channels, architecture.kernel)}
        for index, block in enumerate(architecture.blocks):
            for repetition in range(block.depth):
                before, channels = channels, channels * (block.widening if repetition == 0 else 1)
                place = index, stride(index, repetition)
                found[f"blocks.{index}.{repetition}"] = (*place, before, channels, block.kind, block.branches)
        end = len(architecture.blocks), channels
        return found | {"relu": ("relu", *end), "pool": ("pool", *end), "classifier": ("classifier", channels)}

    def parse(self, written: Any) -> Code:
        """The code of what :meth:`write` gives, of the paper's 22 numbers, or of JSON of either; raises NetworkError,
        naming the value, for anything else."""
        written = self._decoded(written)
        if isinstance(written, list | tuple | np.ndarray):
            return self.code(decode(written))
        return super().parse(written)

    def architecture(self, code: ArrayLike) -> Architecture:
        """What a code stands for."""
        return _architecture(self._values(self.check(code)))

    def code(self, architecture: Architecture) -> Code:
        """The code of an architecture, inverse of :meth:`architecture`; raises NetworkError, naming the choice, for one
        outside the space."""
        most = self.main_blocks[-1]
        blocks = [*architecture.blocks, *[None] * most][:most]
        return super().parse(
            {
                "OC0": architecture.channels,
                "KS0": architecture.kernel,
                "M": len(architecture.blocks),
                "R": [block and block.depth for block in blocks],
                "kind": [block and block.kind for block in blocks],
                "WF": [block and block.widening for block in blocks],
                "B": [block and block.branches for block in blocks],
            }
        )

    def draw(self, random: np.random.Generator) -> Architecture:
        """An architecture: first the number of main blocks, then each choice, all alike."""
        number = _one(self.main_blocks, random)
        blocks = tuple(self.draw_block(random) for _ in range(number))
        return Architecture(_one(self.channels, random), blocks, _one(self.kernels, random))

    def draw_block(self, random: np.random.Generator) -> MainBlock:
        """A main block."""
        return MainBlock(
            _one(self.depths, random),
            _one(self.kinds, random),
            _one(self.widenings, random),
            _one(self.branches, random),
        )


def _choices(name: str, values: Sequence[int]) -> tuple[int, ...]:
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise NetworkError(f"{_NAME}: {name} must be a list of integers (got {values!r})")
    found = tuple(count(f"{_NAME}: {name}", value) for value in values)
    if list(found) != sorted(set(found)):
        raise NetworkError(f"{_NAME}: {name} must be different, in increasing order (got {list(values)})")
    return found


def _architecture(values: dict[str, Any]) -> Architecture:
    """The architecture of a written one."""
    blocks = zip(values["R"], values["kind"], values["WF"], values["B"], strict=True)
    return Architecture(
        values["OC0"], tuple(MainBlock(*block) for block in blocks if block[0] is not None), values["KS0"]
    )


def _one(choices: Sequence[Any], random: np.random.Generator) -> Any:
    return choices[int(random.integers(len(choices)))]
