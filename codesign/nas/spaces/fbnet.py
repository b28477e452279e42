"""FBNet's space (Wu et al. 2019) as HW-NAS-Bench (Li et al. 2021) defines it: 22 layers, 9 blocks, 9^22 networks.

A network is written as 22 codes, positions in :data:`BLOCKS`. A block is a pointwise convolution to ``expansion`` times
as many channels, a depthwise one, and a pointwise one to the layer's output channels, with an addition where input and
output have one shape. Blocks with two groups shuffle the channels after the first convolution. ``skip`` is nothing, or
where the shape changes a pointwise convolution with normalisation and ReLU.

Sources: the authors' library (GATECH-EIC/HW-NAS-Bench, hw_nas_bench_api: fbnet_models.py and the key of every block in
its lookup tables). They were checked against the latencies of 5,000 networks that HELP (Lee et al. 2021) publishes for
the CIFAR-100 variant. On Eyeriss, FPGA, Raspberry Pi 4 and Pixel 3, these are sums of one cost per layer and block, to
within the rounding of single precision, and the costs are equal for layers of equal shape here. The correlation of
latencies with multiply-accumulates is .97, .98, .94 and .95 there, and for Eyeriss and FPGA no other assignment of the
codes to the blocks gives a higher one. (GPUs and phones: .2 to .7; they wait for launches or are noisy.)

Layer names are those of the authors' modules (``cells.4.conv2``).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, SupportsIndex

from codesign.nas.spaces._base import Code, Gene, Site, Space
from codesign.nas.spaces._genes import chosen, count
from codesign.networks import Builder, Network, NetworkError
from codesign.networks.builder import Value

#: Blocks of a layer; a code is a position here. Kernel size, expansion, groups of the pointwise convolutions.
BLOCKS = ("k3_e1", "k3_e1_g2", "k3_e3", "k3_e6", "k5_e1", "k5_e1_g2", "k5_e3", "k5_e6", "skip")

#: Searched layers.
LAYERS = 22

_NAME = "fbnet"
_SKIP = BLOCKS.index("skip")
_SHAPES = ((3, 1, 1), (3, 1, 2), (3, 3, 1), (3, 6, 1), (5, 1, 1), (5, 1, 2), (5, 3, 1), (5, 6, 1))
_STEM = 16
_REPETITIONS = (1, 4, 4, 4, 4, 4, 1)
_CHANNELS = (16, 24, 32, 64, 112, 184, 352)


@dataclass(frozen=True)
class _Variant:
    stem_stride: int
    strides: tuple[int, ...]
    header: int
    resolution: int
    classes: int


_VARIANTS = {
    "cifar100": _Variant(1, (1, 1, 2, 2, 1, 2, 1), 1504, 32, 100),
    "imagenet": _Variant(2, (1, 2, 2, 2, 1, 2, 1), 1984, 224, 1000),
}


class _Place(NamedTuple):
    """Where a searched layer is: its stage, channels before and after it."""

    stage: int
    before: int
    channels: int
    stride: int

    @property
    def changes(self) -> bool:
        """Whether output and input differ in shape, so that something must run."""
        return self.stride != 1 or self.channels != self.before


def _places(kind: _Variant) -> list[_Place]:
    found: list[_Place] = []
    for stage, repetitions in enumerate(_REPETITIONS):
        for repetition in range(repetitions):
            before = found[-1].channels if found else _STEM
            found.append(_Place(stage, before, _CHANNELS[stage], 1 if repetition else kind.strides[stage]))
    return found


def network(
    codes: Iterable[SupportsIndex],
    *,
    variant: str = "cifar100",
    batch: int = 1,
    classes: int | None = None,
    resolution: int | None = None,
) -> Network:
    """The network of 22 codes 0..8 (see :data:`BLOCKS`).

    ``variant`` is "cifar100", the one of the published latencies, or "imagenet"; they differ in strides and in the last
    convolution's channels. Images are [3, resolution, resolution] pixels; resolution and classes are by default those
    of the data set (32 and 100, 224 and 1000). Odd sizes are rounded up at strides.

    Raises NetworkError for another number of codes, a code out of range, an unknown variant, or options below 1.
    """
    blocks = chosen(f"{_NAME}: codes", codes, range(len(BLOCKS)), LAYERS)
    if variant not in _VARIANTS:
        raise NetworkError(f"{_NAME}: variant must be one of {', '.join(_VARIANTS)} (got {variant!r})")
    kind = _VARIANTS[variant]
    resolution = count(f"{_NAME}: resolution", kind.resolution if resolution is None else resolution)
    classes = count(f"{_NAME}: classes", kind.classes if classes is None else classes)
    b = Builder(_NAME, batch)
    x = b.input(3, resolution, resolution)
    x = b.conv(x, "stem.conv", K=_STEM, kernel=3, stride=kind.stem_stride, padding=1, bn=True, activation="relu")
    for layer, place in enumerate(_places(kind)):
        x = _block(b, x, f"cells.{layer}", blocks[layer], place.channels, place.stride)
    x = b.conv(x, "header.conv", K=kind.header, kernel=1, bn=True, activation="relu")
    b.linear(b.flatten(b.global_pool(x, "avgpool")), "fc", K=classes)
    return b.network


def _block(b: Builder, x: Value, name: str, code: int, channels: int, stride: int) -> Value:
    if BLOCKS[code] == "skip":
        if stride == 1 and channels == x.shape[0]:
            return x
        return b.conv(x, f"{name}.conv", K=channels, kernel=1, stride=stride, bn=True, activation="relu")
    kernel, expansion, groups = _SHAPES[code]
    inner = x.shape[0] * expansion
    y = b.conv(x, f"{name}.conv1", K=inner, kernel=1, groups=groups, bn=True, activation="relu")
    if groups > 1:
        y = b.shuffle(y, f"{name}.shuffle", groups=groups)
    y = b.conv(
        y, f"{name}.conv2", K=inner, kernel=kernel, stride=stride, padding=kernel // 2, groups=inner, bn=True,
        activation="relu",
    )  # fmt: skip
    y = b.conv(y, f"{name}.conv3", K=channels, kernel=1, groups=groups, bn=True)
    return b.add(f"{name}.add", y, x) if x.shape == y.shape and stride == 1 else y


class FbNet(Space):
    """The 9^22 networks of a variant; the written form names the block of every layer (see :data:`BLOCKS`)."""

    name = _NAME

    def __init__(self, variant: str = "cifar100"):
        if variant not in _VARIANTS:
            raise NetworkError(f"{_NAME}: variant must be one of {', '.join(_VARIANTS)} (got {variant!r})")
        self.variant = variant
        self.genes = tuple(Gene(f"blocks[{layer}]", BLOCKS, ordered=False) for layer in range(LAYERS))
        self._places = _places(_VARIANTS[variant])
        sites = [Site("stem", "stem", ("conv",))]
        for layer, place in enumerate(self._places):
            name, stage = f"cells.{layer}", f"stage{place.stage}"
            sites.append(Site(name, stage, ("conv1", "conv2", "conv3"), layer, frozenset(range(_SKIP))))
            if place.changes:
                sites.append(Site(f"{name}.skip", stage, ("conv",), layer, frozenset({_SKIP})))
        self.sites = (*sites, Site("header", "head", ("conv",)), Site("fc", "head", ("",), last=True))

    def _build(self, values: dict[str, Any], batch: int) -> Network:
        return network([BLOCKS.index(block) for block in values["blocks"]], variant=self.variant, batch=batch)

    def parts(self, code: Code) -> dict[str, Hashable]:
        """See :class:`~codesign.nas.spaces.Space`: a layer depends on its place and its block."""
        found: dict[str, Hashable] = {"stem": "stem"}
        for layer, (block, place) in enumerate(zip(code, self._places, strict=True)):
            if block != _SKIP or place.changes:
                found[f"cells.{layer}"] = (place, block)
        return found | {name: name for name in ("header", "avgpool", "fc")}

    def standing(self, code: Code) -> dict[str, str]:
        """See :class:`~codesign.nas.spaces.Space`: a site for a layer's block, another for what stands for none."""
        found = {name: name for name in ("stem", "header", "fc")}
        for layer, (block, place) in enumerate(zip(code, self._places, strict=True)):
            if block != _SKIP or place.changes:
                found[f"cells.{layer}"] = f"cells.{layer}.skip" if block == _SKIP else f"cells.{layer}"
        return found
