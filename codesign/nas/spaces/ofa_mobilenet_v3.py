"""Once-for-all's MobileNetV3 space (Cai et al. 2020), and the published networks of once-for-all and ProxylessNAS.

A network of the space has five units of 2..4 inverted residual blocks. Its genes are 20 kernel sizes and 20 expansion
ratios, four of each per unit, and five depths; a unit runs its first blocks, and the genes of the others mean nothing.

Published networks come as the dictionaries into which the authors' ``net.config`` files were converted::

    {"stem": 16, "final_expand": 960, "feature_mix": 1280, "classifier_in": 1280, "blocks": [
        {"cin": 16, "cout": 16, "k": 3, "s": 1, "e": 1, "mid": null, "act": "relu", "se": false, "shortcut": true}, ..]}

Sources: mit-han-lab/once-for-all (ofa/model_zoo, elastic_nn/networks/ofa_mbv3.py, networks/mobilenet_v3.py and
proxyless_nets.py). Layer names are those of its modules (``blocks.3.conv.depth_conv.conv``); an activation is named
after its convolution.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, SupportsIndex

from numpy.typing import ArrayLike

from codesign.nas.spaces._base import Code, Gene, Site, Space
from codesign.nas.spaces._genes import chosen, count, positive
from codesign.networks import Builder, Network, NetworkError
from codesign.networks.builder import Value

#: Choices of the genes.
KERNELS = (3, 5, 7)
EXPANSIONS = (3, 4, 6)
DEPTHS = (2, 3, 4)

#: Units, and genes for kernel sizes and for expansion ratios (blocks per unit x units).
UNITS = 5
SLOTS = 20

_NAME = "ofa_mobilenet_v3"
_DEEPEST = SLOTS // UNITS
# Output channels at width 1: stem, first block, the units; then the last two pointwise convolutions.
_WIDTHS = (16, 16, 24, 40, 80, 112, 160)
_LAST = (960, 1280)
_STRIDES = (2, 2, 2, 1, 2)
_ACTIVATIONS = ("relu", "relu", "hswish", "hswish", "hswish")
_EXCITE = (False, True, False, True, True)
_NAMES_OF_ACTIVATIONS = {"relu": "relu", "relu6": "relu6", "h_swish": "hswish"}


@dataclass(frozen=True)
class _Block:
    """An inverted residual block; ``inner`` channels after the expansion, which is left out where it is None."""

    channels: int
    kernel: int
    stride: int
    inner: int | None
    activation: str
    excite: bool
    shortcut: bool


def network(
    ks: Iterable[SupportsIndex],
    e: Iterable[SupportsIndex],
    d: Iterable[SupportsIndex],
    *,
    batch: int = 1,
    classes: int = 1000,
    resolution: int = 224,
    width: float = 1.0,
) -> Network:
    """The network of 20 kernel sizes (3, 5, 7), 20 expansion ratios (3, 4, 6) and 5 depths (2, 3, 4).

    Slot ``4 u + i`` belongs to block i of unit u; slots beyond a unit's depth are ignored, whatever they hold. Images
    are [3, resolution, resolution], the supernet knows 128..224 pixels; odd sizes are rounded up at strides. ``width``
    multiplies all channels, which are then rounded to multiples of 8: 1.0 or 1.2 in the published supernets, 1.2 in the
    GPU latencies that HELP (Lee et al. 2021) publishes.

    Raises NetworkError, naming the gene, for another number of genes, a value that is no choice, options below 1, or a
    width that is not positive.
    """
    stem, blocks, last = _member(ks, e, d, width)
    return _build(_NAME, stem, blocks, *last, batch, classes, resolution)


def _member(
    ks: Iterable[SupportsIndex], e: Iterable[SupportsIndex], d: Iterable[SupportsIndex], width: float
) -> tuple[int, list[_Block], tuple[int, int]]:
    """The stem's channels, the blocks, and the channels of the last two convolutions; see :func:`network`."""
    depths = chosen(f"{_NAME}: d", d, DEPTHS, UNITS)
    used = [_DEEPEST * unit + block for unit, depth in enumerate(depths) for block in range(depth)]
    kernels = chosen(f"{_NAME}: ks", ks, KERNELS, SLOTS, used)
    expansions = chosen(f"{_NAME}: e", e, EXPANSIONS, SLOTS, used)
    width = positive(f"{_NAME}: width", width)
    stem, *channels = (divisible(base * width) for base in _WIDTHS)
    # The first block is the same in all networks of the space.
    blocks = [_Block(channels[0], 3, 1, None, "relu", False, stem == channels[0])]
    for slot, kernel, expansion in zip(used, kernels, expansions, strict=True):
        unit, repetition = divmod(slot, _DEEPEST)
        before, after = blocks[-1].channels, channels[unit + 1]
        stride = 1 if repetition else _STRIDES[unit]
        blocks.append(
            _Block(
                after,
                kernel,
                stride,
                divisible(before * expansion),
                _ACTIVATIONS[unit],
                _EXCITE[unit],
                shortcut=stride == 1 and before == after,
            )
        )
    final_expand, feature_mix = (divisible(base * width) for base in _LAST)
    return stem, blocks, (final_expand, feature_mix)


def specialized(
    net: Mapping[str, Any], *, batch: int = 1, classes: int = 1000, resolution: int | None = None
) -> Network:
    """A published network from its dictionary, or from an entry ``{"name": .., "image_size": .., "net": ..}`` with one.

    Removed blocks are null. A network with ``final_expand`` has MobileNetV3's head (pointwise convolution, pooling, a
    second one on the pooled features) and an hswish stem; one without has ProxylessNAS's (pointwise convolution,
    pooling) and a ReLU6 stem. ``resolution`` in pixels is by default the entry's, or 224.

    Raises NetworkError, naming the block, for missing keys, channels that do not follow on another, an activation that
    is none of relu, relu6 and h_swish, a shortcut between different shapes, and options below 1.
    """
    inner: Mapping[str, Any] = net.get("net", net)
    if resolution is None:
        resolution = net.get("image_size", 224)
    stem = count(f"{_NAME}: stem", _get(inner, "stem", "net"))
    blocks: list[_Block] = []
    channels = stem
    for index, entry in enumerate(_get(inner, "blocks", "net")):
        if entry is not None:
            blocks.append(_block_from(entry, f"blocks[{index}]", channels))
            channels = blocks[-1].channels
    final_expand, feature_mix = _get(inner, "final_expand", "net"), _get(inner, "feature_mix", "net")
    if inner.get("classifier_in", feature_mix) != feature_mix:
        raise NetworkError(f"{_NAME}: classifier_in must be feature_mix, {feature_mix} (got {inner['classifier_in']})")
    return _build(str(net.get("name", _NAME)), stem, blocks, final_expand, feature_mix, batch, classes, resolution)


def _block_from(entry: Mapping[str, Any], place: str, before: int) -> _Block:
    sizes = {key: count(f"{_NAME}: {place}: {key}", _get(entry, key, place)) for key in ("cin", "cout", "k", "s", "e")}
    if sizes["cin"] != before:
        raise NetworkError(f"{_NAME}: {place}: cin must be {before}, the channels before it (got {sizes['cin']})")
    act = _get(entry, "act", place)
    if act not in _NAMES_OF_ACTIVATIONS:
        raise NetworkError(f"{_NAME}: {place}: act must be one of {', '.join(_NAMES_OF_ACTIVATIONS)} (got {act!r})")
    if entry.get("shortcut") and (sizes["s"] != 1 or sizes["cout"] != before):
        raise NetworkError(
            f"{_NAME}: {place}: shortcut needs stride 1 and {before} output channels (got {dict(entry)})"
        )
    inner = None
    if sizes["e"] > 1:
        mid = entry.get("mid")
        inner = before * sizes["e"] if mid is None else count(f"{_NAME}: {place}: mid", mid)
    return _Block(
        sizes["cout"],
        sizes["k"],
        sizes["s"],
        inner,
        _NAMES_OF_ACTIVATIONS[act],
        bool(entry.get("se")),
        bool(entry.get("shortcut")),
    )


def _get(mapping: Mapping[str, Any], key: str, place: str) -> Any:
    if key not in mapping:
        raise NetworkError(f"{_NAME}: {place} has no {key!r}")
    return mapping[key]


def _build(
    name: str,
    stem: int,
    blocks: Sequence[_Block],
    final_expand: int | None,
    feature_mix: int,
    batch: int,
    classes: int,
    resolution: int,
) -> Network:
    resolution = count(f"{_NAME}: resolution", resolution)
    classes = count(f"{_NAME}: classes", classes)
    b = Builder(name, batch)
    activation = "relu6" if final_expand is None else "hswish"
    x = b.input(3, resolution, resolution)
    x = b.conv(x, "first_conv.conv", K=stem, kernel=3, stride=2, padding=1, bn=True, activation=activation)
    for index, block in enumerate(blocks):
        x = _inverted_residual(b, x, f"blocks.{index}", block)
    if final_expand is None:
        x = b.conv(x, "feature_mix_layer.conv", K=feature_mix, kernel=1, bn=True, activation=activation)
        x = b.global_pool(x, "global_avg_pool")
    else:
        x = b.conv(x, "final_expand_layer.conv", K=final_expand, kernel=1, bn=True, activation=activation)
        x = b.global_pool(x, "global_avg_pool")
        x = b.conv(x, "feature_mix_layer.conv", K=feature_mix, kernel=1, bias=False, activation=activation)
    b.linear(b.flatten(x), "classifier.linear", K=classes)
    b.network.description = _describe(stem, blocks, final_expand, feature_mix, resolution)
    return b.network


def _describe(
    stem: int, blocks: Sequence[_Block], final_expand: int | None, feature_mix: int, resolution: int
) -> dict[str, Any]:
    """A network as it is published, which :func:`specialized` takes."""
    written = {kind: name for name, kind in _NAMES_OF_ACTIVATIONS.items()}
    described = []
    before = stem
    for block in blocks:
        described.append(
            {
                "cin": before,
                "cout": block.channels,
                "k": block.kernel,
                "s": block.stride,
                "e": 1 if block.inner is None else round(block.inner / before),
                "mid": block.inner,
                "act": written[block.activation],
                "se": block.excite,
                "shortcut": block.shortcut,
            }
        )
        before = block.channels
    net = {"stem": stem, "final_expand": final_expand, "feature_mix": feature_mix, "blocks": described}
    return {"image_size": resolution, "net": net}


def _inverted_residual(b: Builder, x: Value, name: str, block: _Block) -> Value:
    y = x
    if block.inner is not None:
        y = b.conv(
            y, f"{name}.conv.inverted_bottleneck.conv", K=block.inner, kernel=1, bn=True, activation=block.activation
        )
    inner = y.shape[0]
    y = b.conv(
        y, f"{name}.conv.depth_conv.conv", K=inner, kernel=block.kernel, stride=block.stride,
        padding=block.kernel // 2, groups=inner, bn=True, activation=block.activation,
    )  # fmt: skip
    if block.excite:
        se = f"{name}.conv.depth_conv.se"
        gate = b.global_pool(y, f"{se}.pool")
        gate = b.conv(gate, f"{se}.fc.reduce", K=divisible(inner // 4), kernel=1, activation="relu")
        gate = b.conv(gate, f"{se}.fc.expand", K=inner, kernel=1, activation="hsigmoid")
        y = b.mul(f"{se}.mul", y, gate)
    y = b.conv(y, f"{name}.conv.point_linear.conv", K=block.channels, kernel=1, bn=True)
    return b.add(f"{name}.add", y, x) if block.shortcut else y


def divisible(channels: float) -> int:
    """The nearest multiple of 8, but never more than a tenth below (the rule of all MobileNets)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


#: Image sizes for which the supernets were trained, and those that the authors search.
TRAINED_SIZES = tuple(range(128, 225, 4))
SEARCHED_SIZES = (160, 176, 192, 208, 224)


#: Layers of a block that multiply and accumulate, without and with squeeze-excite.
PLAIN_BLOCK_LAYERS = ("conv.inverted_bottleneck.conv", "conv.depth_conv.conv", "conv.point_linear.conv")
_BLOCK_LAYERS = (
    "conv.inverted_bottleneck.conv", "conv.depth_conv.conv", "conv.depth_conv.se.fc.reduce",
    "conv.depth_conv.se.fc.expand", "conv.point_linear.conv",
)  # fmt: skip


class OfaMobileNetV3(Space):
    """The space of a supernet: ``width`` 1.0 or 1.2, image ``sizes`` in pixels.

    The written form is the authors': ``{"d": 5 depths, "ks": 20 kernel sizes, "e": 20 expansion ratios, "r": size}``.
    """

    name = _NAME

    def __init__(self, *, width: float = 1.2, sizes: Sequence[int] = SEARCHED_SIZES, classes: int = 1000):
        self.width = positive(f"{_NAME}: width", width)
        self.classes = count(f"{_NAME}: classes", classes)
        depths = [Gene(f"d[{unit}]", DEPTHS) for unit in range(UNITS)]
        self.genes = (*depths, *_slots("ks", KERNELS), *_slots("e", EXPANSIONS), size_gene(_NAME, sizes))
        self.sites = (
            Site("first_conv", "stem", ("conv",)),
            Site("first_block", "stem", ("conv.depth_conv.conv", "conv.point_linear.conv")),
            *(
                Site(f"unit{unit}.{i}", f"unit{unit}", layers, unit, depths_from(i))
                for unit in range(UNITS)
                for layers in (_BLOCK_LAYERS if _EXCITE[unit] else PLAIN_BLOCK_LAYERS,)
                for i in range(_DEEPEST)
            ),
            Site("final_expand_layer", "head", ("conv",)),
            Site("feature_mix_layer", "head", ("conv",)),
            Site("classifier", "head", ("linear",), last=True),
        )

    def _build(self, values: dict[str, Any], batch: int) -> Network:
        return network(
            values["ks"], values["e"], values["d"], batch=batch, classes=self.classes, resolution=values["r"],
            width=self.width,
        )  # fmt: skip

    def parts(self, code: Code) -> dict[str, Hashable]:
        """See :class:`~codesign.nas.spaces.Space`: a block depends on its place, its two genes and the image's size."""
        size = code[-1]
        found: dict[str, Hashable] = {"first_conv": ("first_conv", size), "blocks.0": ("blocks.0", size)}
        for unit in range(UNITS):
            for slot in range(_DEEPEST * unit, _DEEPEST * unit + DEPTHS[code[unit]]):
                kernel, expansion = code[UNITS + slot], code[UNITS + SLOTS + slot]
                # Blocks of a unit but the first are alike.
                place = unit, slot == _DEEPEST * unit
                found[f"blocks.{len(found) - 1}"] = (place, kernel, expansion, size)
        return found | {
            "final_expand_layer": ("final", size),
            "global_avg_pool": ("pool", size),
            "feature_mix_layer": "mix",
            "classifier": "classifier",
        }

    def standing(self, code: Code) -> dict[str, str]:
        """See :class:`~codesign.nas.spaces.Space`: a site for every block of every unit."""
        used = [f"unit{unit}.{i}" for unit in range(UNITS) for i in range(DEPTHS[code[unit]])]
        blocks = {f"blocks.{i}": name for i, name in enumerate(["first_block", *used])}
        return {name: name for name in ("first_conv", "final_expand_layer", "feature_mix_layer", "classifier")} | blocks

    def published(self, code: ArrayLike) -> dict[str, Any]:
        """The network in the form of published ones (see :func:`specialized`), as latency tables are asked for it."""
        values = self._values(self.check(code))
        stem, blocks, (final_expand, feature_mix) = _member(values["ks"], values["e"], values["d"], self.width)
        written = {name: theirs for theirs, name in _NAMES_OF_ACTIVATIONS.items()}
        before = [stem, *(block.channels for block in blocks)]
        ratios = [1, *(e for e in values["e"] if e is not None)]
        entries = [
            {
                "cin": cin, "cout": block.channels, "k": block.kernel, "s": block.stride, "e": ratio,
                "mid": block.inner, "act": written[block.activation], "se": block.excite, "shortcut": block.shortcut,
            }
            for cin, block, ratio in zip(before, blocks, ratios, strict=False)
        ]  # fmt: skip
        net = {"stem": stem, "blocks": entries, "final_expand": final_expand, "feature_mix": feature_mix}
        return {"name": _NAME, "image_size": values["r"], "net": net}

    def parse_published(self, entry: Mapping[str, Any]) -> Code:
        """The code of a published network of the space (``{"image_size": .., "net": ..}``, see :func:`specialized`).

        Raises NetworkError for a network that is no member: another width, size, or block.
        """
        net = _get(entry, "net", "entry")
        blocks = [block for block in _get(net, "blocks", "net") if block is not None][1:]
        values: dict[str, Any] = {"d": [], "ks": [], "e": [], "r": _get(entry, "image_size", "entry")}
        starts = [i for i, block in enumerate(blocks) if block["cin"] != block["cout"]]
        for first, end in zip(starts, [*starts[1:], len(blocks)], strict=True):
            unit = blocks[first:end]
            values["d"].append(len(unit))
            filler = [None] * (_DEEPEST - len(unit))
            values["ks"] += [block["k"] for block in unit] + filler
            values["e"] += [block["e"] for block in unit] + filler
        code = self.parse(values)
        member, published = (
            [layer.operator for layer in found]
            for found in (self.network(code), specialized(entry, classes=self.classes))
        )
        if member != published:
            raise NetworkError(f"{_NAME}: {entry.get('name', 'network')} is no member of width {self.width:g}")
        return code


def size_gene(name: str, sizes: Sequence[int]) -> Gene:
    """The gene ``r`` of image sizes; NetworkError for sizes that are no increasing integers >= 1."""
    found = tuple(count(f"{name}: sizes", size) for size in sizes)
    if not found or list(found) != sorted(set(found)):
        raise NetworkError(f"{name}: sizes must be different, in increasing order (got {list(sizes)})")
    return Gene("r", found)


def depths_from(block: int) -> frozenset[int]:
    """Positions of the depths with which a unit has this block."""
    return frozenset(i for i, depth in enumerate(DEPTHS) if depth > block)


def _slots(group: str, options: tuple[int, ...]) -> list[Gene]:
    """A gene per block; it matters where the unit is deep enough."""
    return [
        Gene(
            f"{group}[{slot}]",
            options,
            parent=slot // _DEEPEST,
            when=depths_from(slot % _DEEPEST),
        )
        for slot in range(SLOTS)
    ]
