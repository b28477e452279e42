"""Once-for-all's ResNet50 space (Cai et al. 2020), in the shape of ResNet-50-D, and the part of it that NAAS searches.

A network has a stem, four stages of bottleneck blocks, and three image-level choices of the authors' genes:

* ``d``: five values. The first, 0 or 2, says whether the stem has its residual block, which only 2 keeps. The others,
  0..2, are blocks beyond the least depth of a stage, (2, 2, 4, 2); a stage runs its first blocks.
* ``e``: 18 ratios of a block's middle channels to its outputs: slots of the stages with 4, 4, 6 and 4 blocks.
* ``w``: six positions in (0.65, 0.8, 1.0): inner and outer channels of the stem, and those of the stages.

Channels are multiples of 8. A stage's first block has average pooling and a pointwise convolution as its shortcut.

Source: mit-han-lab/once-for-all (elastic_nn/networks/ofa_resnets.py, networks/resnets.py). Layer names are those of its
modules. NAAS (Lin et al., DAC 2021) takes sizes of 128..256 in steps of 16.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any, SupportsIndex

from codesign.nas.spaces._base import Code, Gene, Site, Space
from codesign.nas.spaces._genes import chosen, count
from codesign.nas.spaces.ofa_mobilenet_v3 import divisible, size_gene
from codesign.networks import Builder, Network, NetworkError
from codesign.networks.builder import Value

#: Choices of the genes.
STEM_DEPTHS = (0, 2)
DEPTHS = (0, 1, 2)
RATIOS = (0.2, 0.25, 0.35)
WIDTHS = (0.65, 0.8, 1.0)

#: Blocks that every stage has, and slots for its blocks.
LEAST_DEPTHS = (2, 2, 4, 2)
SLOTS = tuple(depth + DEPTHS[-1] for depth in LEAST_DEPTHS)

#: Image sizes of the authors' predictor, and of NAAS.
PREDICTOR_SIZES = (128, 144, 160, 176, 192, 224, 240, 256)
NAAS_SIZES = tuple(range(128, 257, 16))

_NAME = "ofa_resnet50"
_STEM = 64
_CHANNELS = (256, 512, 1024, 2048)
_STRIDES = (1, 2, 2, 2)


def network(
    d: Iterable[SupportsIndex],
    e: Iterable[Any],
    w: Iterable[SupportsIndex],
    *,
    batch: int = 1,
    classes: int = 1000,
    resolution: int = 224,
) -> Network:
    """The network of 5 depths, 18 ratios and 6 positions of widths; see the module.

    Ratios of slots beyond a stage's depth are ignored. Images are [3, resolution, resolution].

    Raises NetworkError, naming the gene, for another number of genes, a value that is no choice, or options below 1.
    """
    depths = chosen(f"{_NAME}: d", d, DEPTHS, 1 + len(SLOTS))
    if depths[0] not in STEM_DEPTHS:
        raise NetworkError(f"{_NAME}: d[0] must be one of 0, 2 (got {depths[0]})")
    ratios = _ratios(e, depths[1:])
    widths = [WIDTHS[i] for i in chosen(f"{_NAME}: w", w, range(len(WIDTHS)), 2 + len(SLOTS))]
    b = Builder(_NAME, batch)
    size = count(f"{_NAME}: resolution", resolution)
    x = b.input(3, size, size)
    inner = divisible(divisible(_STEM * widths[0]) // 2)
    x = b.conv(x, "input_stem.0.conv", K=inner, kernel=3, stride=2, padding=1, bn=True, activation="relu")
    if depths[0] == STEM_DEPTHS[-1]:
        y = b.conv(x, "input_stem.1.conv.conv", K=inner, kernel=3, padding=1, bn=True, activation="relu")
        x = b.add("input_stem.1.add", y, x)
    stem = divisible(_STEM * widths[1])
    x = b.conv(x, "input_stem.2.conv", K=stem, kernel=3, padding=1, bn=True, activation="relu")
    x = b.pool(x, "max_pooling", kernel=3, stride=2, padding=1, kind="max")
    slot = 0
    for stage, slots in enumerate(SLOTS):
        channels = divisible(_CHANNELS[stage] * widths[2 + stage])
        for i in range(LEAST_DEPTHS[stage] + depths[1 + stage]):
            middle = divisible(round(channels * ratios[slot + i]))
            x = _bottleneck(b, x, f"blocks.{slot + i}", middle, channels, 1 if i else _STRIDES[stage])
        slot += slots
    x = b.global_pool(x, "global_avg_pool")
    b.linear(b.flatten(x), "classifier.linear", K=count(f"{_NAME}: classes", classes))
    return b.network


def _ratios(e: Iterable[Any], depths: Sequence[int]) -> list[float]:
    values = list(e)
    if len(values) != sum(SLOTS):
        raise NetworkError(f"{_NAME}: e must have {sum(SLOTS)} values (got {len(values)})")
    found = [RATIOS[0]] * len(values)
    slot = 0
    for least, slots, depth in zip(LEAST_DEPTHS, SLOTS, depths, strict=True):
        for i in range(slot, slot + least + depth):
            value = values[i]
            near = [r for r in RATIOS if isinstance(value, int | float) and abs(r - value) < 1e-6]
            if not near:
                raise NetworkError(f"{_NAME}: e[{i}] must be one of {', '.join(map(str, RATIOS))} (got {value!r})")
            found[i] = near[0]
        slot += slots
    return found


def _bottleneck(b: Builder, x: Value, name: str, middle: int, channels: int, stride: int) -> Value:
    y = b.conv(x, f"{name}.conv1.conv", K=middle, kernel=1, bn=True, activation="relu")
    y = b.conv(
        y, f"{name}.conv2.conv", K=middle, kernel=3, stride=stride, padding=1, bn=True, activation="relu"
    )  # fmt: skip
    y = b.conv(y, f"{name}.conv3.conv", K=channels, kernel=1, bn=True)
    if stride > 1 or x.shape[0] != channels:
        if stride > 1:
            x = b.pool(x, f"{name}.downsample.avg_pool", kernel=stride, stride=stride, ceil=True, kind="average")
        x = b.conv(x, f"{name}.downsample.conv", K=channels, kernel=1, bn=True)
    return b.activation(b.add(f"{name}.add", y, x), f"{name}.final_act", "relu")


class OfaResNet50(Space):
    """The supernet's space with some image ``sizes`` in pixels; :meth:`naas` is the part that NAAS searches.

    The written form is the authors': ``{"d": .., "w": .., "e": .., "r": size}``, see the module.
    """

    name = _NAME

    def __init__(self, *, sizes: Sequence[int] = PREDICTOR_SIZES, classes: int = 1000):
        self.classes = count(f"{_NAME}: classes", classes)
        depths = [Gene("d[0]", STEM_DEPTHS), *(Gene(f"d[{1 + stage}]", DEPTHS) for stage in range(len(SLOTS)))]
        widths = [Gene(f"w[{i}]", tuple(range(len(WIDTHS)))) for i in range(2 + len(SLOTS))]
        ratios: list[Gene] = []
        for stage, (least, slots) in enumerate(zip(LEAST_DEPTHS, SLOTS, strict=True)):
            for i in range(slots):
                when = frozenset(k for k, depth in enumerate(DEPTHS) if least + depth > i)
                ratios.append(Gene(f"e[{len(ratios)}]", RATIOS, parent=1 + stage, when=when))
        self.genes = (*depths, *widths, *ratios, size_gene(_NAME, sizes))
        sites = [
            Site("input_stem.0", "stem", ("conv",)),
            Site("input_stem.1", "stem", ("conv.conv",), 0, frozenset({len(STEM_DEPTHS) - 1})),
            Site("input_stem.2", "stem", ("conv",)),
        ]
        for stage, (least, slots) in enumerate(zip(LEAST_DEPTHS, SLOTS, strict=True)):
            for i in range(slots):
                layers = ("conv1.conv", "conv2.conv", "conv3.conv", *(() if i else ("downsample.conv",)))
                when = frozenset(k for k, depth in enumerate(DEPTHS) if least + depth > i)
                sites.append(Site(f"blocks.{sum(SLOTS[:stage]) + i}", f"stage{stage}", layers, 1 + stage, when))
        self.sites = (*sites, Site("classifier", "head", ("linear",), last=True))

    @classmethod
    def naas(cls) -> OfaResNet50:
        """NAAS's space: up to 18 blocks, three widths and ratios, sizes of 128 to 256 pixels in steps of 16."""
        found = cls(sizes=NAAS_SIZES)
        found.name = "naas_resnet50"
        return found

    def _build(self, values: dict[str, Any], batch: int) -> Network:
        found = network(
            values["d"], values["e"], values["w"], batch=batch, classes=self.classes, resolution=values["r"]
        )  # fmt: skip
        found.name = self.name
        return found

    def parts(self, code: Code) -> dict[str, Hashable]:
        """See :class:`~codesign.nas.spaces.Space`: a block depends on its place, its ratio, its stage's width, in a
        stage's first block that of the stage before, and on the image's size."""
        size = code[-1]
        inner, stem, *widths = code[1 + len(SLOTS) :][: 2 + len(SLOTS)]
        found: dict[str, Hashable] = {"input_stem.0": ("stem", inner, size)}
        if STEM_DEPTHS[code[0]] == STEM_DEPTHS[-1]:
            found["input_stem.1"] = ("residual", inner, size)
        found["input_stem.2"] = ("stem", inner, stem, size)
        found["max_pooling"] = ("pool", stem, size)
        slot = 0
        for stage, slots in enumerate(SLOTS):
            before = widths[stage - 1] if stage else stem
            for i in range(slot, slot + LEAST_DEPTHS[stage] + DEPTHS[code[1 + stage]]):
                ratio = code[3 + 2 * len(SLOTS) + i]
                found[f"blocks.{i}"] = (stage, before if i == slot else None, widths[stage], ratio, size)
            slot += slots
        return found | {"global_avg_pool": ("average", widths[-1], size), "classifier": ("classifier", widths[-1])}
