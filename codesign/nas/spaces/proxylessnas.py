"""ProxylessNAS' space (Cai, Zhu, Han, ICLR 2019), and the one that once-for-all's supernet of this shape has.

Six units of inverted residuals with ReLU6, by default of 24, 40, 80, 96, 192 and 320 channels; five of four blocks, and
a last one of one. In ProxylessNAS every block has one of six operators, or none ("zero") where a shortcut can stand for
it, which is anywhere but at the start of a unit. In once-for-all a unit runs its first 2..4 blocks.

Sources: mit-han-lab/proxylessnas, mit-han-lab/once-for-all (elastic_nn/networks/ofa_proxyless.py).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from codesign.nas.spaces._base import Code, Gene, Site, Space
from codesign.nas.spaces._genes import count, positive
from codesign.nas.spaces.ofa_mobilenet_v3 import (
    PLAIN_BLOCK_LAYERS,
    SEARCHED_SIZES,
    depths_from,
    divisible,
    size_gene,
    specialized,
)
from codesign.networks import Network, NetworkError

#: Operators of a block of ProxylessNAS: expansion ratio and kernel size.
OPERATORS = ("e3_k3", "e3_k5", "e3_k7", "e6_k3", "e6_k5", "e6_k7")
#: No block at all.
ZERO = "zero"
#: Blocks of the units.
SLOTS = (4, 4, 4, 4, 4, 1)
#: Choices of once-for-all's genes.
KERNELS = (3, 5, 7)
EXPANSIONS = (3, 4, 6)
DEPTHS = (2, 3, 4)

_STEM, _FIRST, _LAST = 32, 16, 1280
#: Channels of the units where nothing else is said (the authors' search); their mobile network begins with 32.
CHANNELS = (24, 40, 80, 96, 192, 320)
_STRIDES = (2, 2, 2, 1, 2, 1)

#: Kernel size and expansion ratio of a block, None for none.
_Block = tuple[int, int] | None


def _network(
    name: str, blocks: Sequence[_Block], units: Sequence[int], width: float, resolution: int, classes: int, batch: int
) -> Network:  # fmt: skip
    stem, before = divisible(_STEM * width), divisible(_FIRST * width)
    written: list[dict[str, Any] | None] = [_written(stem, before, 3, 1, 1)]
    slot = 0
    for channels, slots, stride in zip(units, SLOTS, _STRIDES, strict=True):
        after = divisible(channels * width)
        for i, block in enumerate(blocks[slot : slot + slots]):
            if block is None:
                written.append(None)
            else:
                written.append(_written(before, after, *block, 1 if i else stride))
                before = after
        slot += slots
    net = {"stem": stem, "blocks": written, "final_expand": None, "feature_mix": divisible(_LAST * width)}
    entry = {"name": name, "image_size": resolution, "net": net}
    return specialized(entry, batch=batch, classes=classes)


def _written(before: int, after: int, kernel: int, expansion: int, stride: int) -> dict[str, Any]:
    return {
        "cin": before, "cout": after, "k": kernel, "s": stride, "e": expansion, "mid": divisible(before * expansion),
        "act": "relu6", "se": False, "shortcut": stride == 1 and before == after,
    }  # fmt: skip


#: Unit of every slot, and which block of the unit it is.
_PLACES = [(unit, i) for unit, slots in enumerate(SLOTS) for i in range(slots)]


def _sites(there: Sequence[tuple[int | None, frozenset[int]]]) -> tuple[Site, ...]:
    """Sites of a space whose slots are there as of some genes."""
    return (
        Site("first_conv", "stem", ("conv",)),
        Site("first_block", "stem", ("conv.depth_conv.conv", "conv.point_linear.conv")),
        *(
            Site(f"unit{unit}.{i}", f"unit{unit}", PLAIN_BLOCK_LAYERS, parent, when)
            for (unit, i), (parent, when) in zip(_PLACES, there, strict=True)
        ),
        Site("feature_mix_layer", "head", ("conv",)),
        Site("classifier", "head", ("linear",), last=True),
    )


def _standing(there: Sequence[bool]) -> dict[str, str]:
    """The sites of a network whose slots are there or not."""
    used = [f"unit{unit}.{i}" for (unit, i), here in zip(_PLACES, there, strict=True) if here]
    blocks = {f"blocks.{i}": name for i, name in enumerate(["first_block", *used])}
    return {name: name for name in ("first_conv", "feature_mix_layer", "classifier")} | blocks


def _parts(blocks: Sequence[Hashable | None], size: int) -> dict[str, Hashable]:
    """The parts of a network of blocks by slot, None for none; of a unit's blocks but the first all are alike."""
    used = [(unit, i > 0, block) for (unit, i), block in zip(_PLACES, blocks, strict=True) if block is not None]
    found: dict[str, Hashable] = {"first_conv": ("first_conv", size)}
    found |= {f"blocks.{i}": (block, size) for i, block in enumerate([None, *used])}
    return found | {"feature_mix_layer": ("mix", size), "global_avg_pool": ("pool", size), "classifier": "classifier"}


class ProxylessNas(Space):
    """ProxylessNAS' own space: 21 blocks, for images of ``resolution`` pixels.

    The written form is ``{"blocks": [..]}`` with one of :data:`OPERATORS` or "zero" each.
    """

    name = "proxylessnas"

    def __init__(
        self,
        *,
        channels: Sequence[int] = CHANNELS,
        width: float = 1.0,
        resolution: int = 224,
        classes: int = 1000,
    ):
        if len(channels) != len(SLOTS):
            raise NetworkError(f"{self.name}: channels must have {len(SLOTS)} values (got {len(channels)})")
        self.channels = tuple(count(f"{self.name}: channels", value) for value in channels)
        self.width = positive(f"{self.name}: width", width)
        self.resolution = count(f"{self.name}: resolution", resolution)
        self.classes = count(f"{self.name}: classes", classes)
        self.genes = tuple(
            Gene(f"blocks[{slot}]", (*OPERATORS, ZERO) if i else OPERATORS, ordered=False)
            for slot, (_, i) in enumerate(_PLACES)
        )
        some = frozenset(range(len(OPERATORS)))
        self.sites = _sites([(slot, some) if i else (None, frozenset()) for slot, (_, i) in enumerate(_PLACES)])

    def _build(self, values: dict[str, Any], batch: int) -> Network:
        blocks = [None if op == ZERO else (int(op[4]), int(op[1])) for op in values["blocks"]]
        return _network(self.name, blocks, self.channels, self.width, self.resolution, self.classes, batch)

    def parts(self, code: Code) -> dict[str, Hashable]:
        """See :class:`~codesign.nas.spaces.Space`: a block depends on its place and its operator."""
        return _parts([op if op < len(OPERATORS) else None for op in code], self.resolution)

    def standing(self, code: Code) -> dict[str, str]:
        """See :class:`~codesign.nas.spaces.Space`: a site for every block of every unit."""
        return _standing([op < len(OPERATORS) for op in code])


#: Genes for depths, of all units but the last.
_DEPTHS = len(SLOTS) - 1


class OfaProxylessNas(Space):
    """The space of once-for-all's supernet of width 1.3, for some image ``sizes`` in pixels.

    The written form is ``{"d": 5 depths, "ks": 21 kernel sizes, "e": 21 expansion ratios, "r": size}``.
    """

    name = "ofa_proxylessnas"

    def __init__(self, *, width: float = 1.3, sizes: Sequence[int] = SEARCHED_SIZES, classes: int = 1000):
        self.width = positive(f"{self.name}: width", width)
        self.classes = count(f"{self.name}: classes", classes)
        there = [(unit, depths_from(i)) if SLOTS[unit] > 1 else (None, frozenset[int]()) for unit, i in _PLACES]
        genes = [Gene(f"d[{unit}]", DEPTHS) for unit in range(_DEPTHS)]
        for group, options in (("ks", KERNELS), ("e", EXPANSIONS)):
            genes += [
                Gene(f"{group}[{slot}]", options, parent=parent, when=when) for slot, (parent, when) in enumerate(there)
            ]
        self.genes = (*genes, size_gene(self.name, sizes))
        self.sites = _sites(there)

    def _build(self, values: dict[str, Any], batch: int) -> Network:
        blocks = [
            None if kernel is None else (kernel, expansion)
            for kernel, expansion in zip(values["ks"], values["e"], strict=True)
        ]
        return _network(self.name, blocks, CHANNELS, self.width, values["r"], self.classes, batch)

    def parts(self, code: Code) -> dict[str, Hashable]:
        """See :class:`~codesign.nas.spaces.Space`: a block depends on its place, its two genes and the image's size."""
        kernels, expansions = code[_DEPTHS : _DEPTHS + len(_PLACES)], code[_DEPTHS + len(_PLACES) : -1]
        there = self._there(code)
        blocks = [
            genes if here else None for genes, here in zip(zip(kernels, expansions, strict=True), there, strict=True)
        ]
        return _parts(blocks, code[-1])

    def standing(self, code: Code) -> dict[str, str]:
        """See :class:`~codesign.nas.spaces.Space`: a site for every block of every unit."""
        return _standing(self._there(code))

    @staticmethod
    def _there(code: Code) -> list[bool]:
        """Of every slot, whether the unit is deep enough."""
        return [unit >= _DEPTHS or DEPTHS[code[unit]] > i for unit, i in _PLACES]
