"""Spaces that a YAML file describes: a stem, stages of blocks, a head.

Example::

    name: small_mobile
    resolution: [128, 160, 192]               # one value, or several to choose from
    classes: 10
    stem: {channels: 16, stride: 2, activation: hswish}
    stages:
      - {block: mbconv, width: 16, expansion: 1}
      - {block: mbconv, width: [24, 32], depth: [1, 2, 3], stride: 2, kernel: [3, 5], expansion: [3, 6]}
      - block: [mbconv, sepconv]              # every layer chooses, unless the stage has one choice for all
        one_choice: true
        width: [48, 64]
        depth: [0, 1, 2]
        excite: [0, 0.25]
    head: {channels: 512}

A stage's first layer strides. Genes go by the stage's name (``stage1``, ..) and what is chosen: ``stage2.kernel[0]``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from accelerators.documents import Document, DocumentError, StrictModel, json_schema, parse, read
from codesign.nas.spaces._base import Gene, Site, Space
from codesign.nas.spaces.blocks import USES, Block, BlockKind, Shortcut, build
from codesign.networks import Builder, Network
from codesign.networks.builder import ACTIVATIONS

_MOST_LAYERS = 64
_KERNELS = tuple(range(1, 16, 2))


def _several(value: object) -> object:
    return value if isinstance(value, list) else [value]


def _different(values: list[Any]) -> list[Any]:
    for i, value in enumerate(values):
        if value in values[:i]:
            raise ValueError(f"options must differ (got {value!r} twice)")
    return values


def _kernel(value: int) -> int:
    if value not in _KERNELS:
        raise ValueError(f"must be odd, from 1 to {_KERNELS[-1]} (got {value})")
    return value


def _activation(value: str) -> str:
    if value not in ACTIVATIONS:
        raise ValueError(f"must be one of {', '.join(sorted(ACTIVATIONS))} (got {value!r})")
    return value


Channels = Annotated[int, Field(ge=1, le=65536)]
Kernel = Annotated[int, AfterValidator(_kernel)]
Part = Annotated[float, Field(ge=0, le=1)]
Activation = Annotated[str, AfterValidator(_activation)]
# One value stands for a list of one.
_Size = Annotated[int, Field(ge=1, le=16384)]
_LISTED = (Field(min_length=1, max_length=100), AfterValidator(_different))
Sizes = Annotated[list[_Size], BeforeValidator(_several, json_schema_input_type=_Size | list[_Size]), *_LISTED]
Kinds = Annotated[
    list[BlockKind], BeforeValidator(_several, json_schema_input_type=BlockKind | list[BlockKind]), *_LISTED
]
Widths = Annotated[
    list[Channels], BeforeValidator(_several, json_schema_input_type=Channels | list[Channels]), *_LISTED
]
_Depth = Annotated[int, Field(ge=0, le=_MOST_LAYERS)]
Depths = Annotated[list[_Depth], BeforeValidator(_several, json_schema_input_type=_Depth | list[_Depth]), *_LISTED]
Kernels = Annotated[list[Kernel], BeforeValidator(_several, json_schema_input_type=Kernel | list[Kernel]), *_LISTED]
_Expansion = Annotated[float, Field(ge=1, le=64)]
Expansions = Annotated[
    list[_Expansion], BeforeValidator(_several, json_schema_input_type=_Expansion | list[_Expansion]), *_LISTED
]
_Ratio = Annotated[float, Field(gt=0, le=4)]
Ratios = Annotated[list[_Ratio], BeforeValidator(_several, json_schema_input_type=_Ratio | list[_Ratio]), *_LISTED]
Excites = Annotated[list[Part], BeforeValidator(_several, json_schema_input_type=Part | list[Part]), *_LISTED]
Shortcuts = Annotated[
    list[Shortcut], BeforeValidator(_several, json_schema_input_type=Shortcut | list[Shortcut]), *_LISTED
]


class StemSheet(StrictModel):
    """The first convolution."""

    channels: Channels
    kernel: Kernel = 3
    stride: Annotated[int, Field(ge=1, le=4)] = 2
    activation: Activation = "relu"


class StageSheet(StrictModel):
    """Blocks one after the other; every key but the last four may have several values to choose from."""

    name: Annotated[str | None, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")] = None
    block: Kinds
    width: Annotated[Widths, Field(description="output channels of every block")]
    depth: Depths = Field([1], description="blocks")
    kernel: Kernels = Field([3])
    expansion: Expansions = Field([6.0], description="middle channels over inputs, of mbconv")
    ratio: Ratios = Field([0.25], description="middle channels over outputs, of bottleneck")
    excite: Excites = Field([0.0], description="squeeze-excite: hidden channels over middle ones; 0 for none")
    shortcut: Shortcuts = Field(["identity"], description="of conv, sepconv and mbconv, where shapes agree")
    stride: Annotated[int, Field(ge=1, le=4, description="of the first block")] = 1
    activation: Activation = "relu"
    excite_from: Annotated[Literal["middle", "input"], Field(description="what excite is a part of")] = "middle"
    one_choice: Annotated[bool, Field(description="all blocks of the stage choose alike")] = False


class HeadSheet(StrictModel):
    """What is behind the stages: maybe a pointwise convolution, then average pooling and a linear classifier."""

    channels: Channels | None = None
    activation: Activation = "relu"


class SpaceSheet(StrictModel):
    """A space of networks."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=100)]
    description: str = ""
    source: str = ""
    resolution: Annotated[Sizes, Field(description="pixels per side of the image")]
    input_channels: Channels = 3
    classes: Channels = 1000
    stem: StemSheet
    stages: Annotated[list[StageSheet], Field(min_length=1, max_length=100)]
    head: HeadSheet = HeadSheet()


#: What a block chooses.
_PER_BLOCK = ("kernel", "expansion", "ratio", "excite", "shortcut")


class StagedSpace(Space):
    """The space that a sheet describes; only what has several options is a gene."""

    def __init__(self, sheet: SpaceSheet):
        self.sheet = sheet
        self.name = sheet.name
        self.genes = ()
        self._add("resolution", sheet.resolution)
        self.sites = (Site("stem", "stem", ()),)
        for number, stage in enumerate(sheet.stages, start=1):
            self._add_stage(_name(stage, number), stage)
        if sheet.head.channels is not None:
            self.sites = (*self.sites, Site("head", "head", ()))
        self.sites = (*self.sites, Site("classifier", "head", (), last=True))

    def _add(
        self, name: str, options: list[Any], parent: int | None = None, when: frozenset[int] = frozenset()
    ) -> int | None:
        """A gene, and its position; None for what leaves nothing to choose."""
        if len(options) == 1:
            return None
        ordered = not isinstance(options[0], str)
        self.genes = (*self.genes, Gene(name, tuple(options), ordered, parent, when))
        return len(self.genes) - 1

    def _add_stage(self, name: str, stage: StageSheet) -> None:
        depth = self._add(f"{name}.depth", stage.depth)
        deeper = [frozenset(i for i, d in enumerate(stage.depth) if d > layer) for layer in range(max(stage.depth))]
        if not deeper:
            return
        self.sites = (*self.sites, Site(name, name, (), *self._parent(depth, deeper[0])))
        self._add(f"{name}.width", stage.width, *self._parent(depth, deeper[0]))
        for layer in range(1 if stage.one_choice else len(deeper)):
            at = "" if stage.one_choice else f"[{layer}]"
            parent = self._parent(depth, deeper[layer])
            block = self._add(f"{name}.block{at}", stage.block, *parent)
            for choice in _PER_BLOCK:
                users = frozenset(i for i, b in enumerate(stage.block) if choice == "kernel" or choice in USES[b])
                if users:
                    here = parent if block is None or len(users) == len(stage.block) else (block, users)
                    self._add(f"{name}.{choice}{at}", getattr(stage, choice), *here)

    @staticmethod
    def _parent(depth: int | None, when: frozenset[int]) -> tuple[int | None, frozenset[int]]:
        return (None, frozenset()) if depth is None else (depth, when)

    def _build(self, values: dict[str, Any], batch: int) -> Network:
        sheet = self.sheet
        b = Builder(sheet.name, batch)
        resolution = values.get("resolution", sheet.resolution[0])
        x = b.input(sheet.input_channels, resolution, resolution)
        stem = sheet.stem
        x = b.conv(
            x, "stem", K=stem.channels, kernel=stem.kernel, stride=stem.stride, padding=stem.kernel // 2, bn=True,
            activation=stem.activation,
        )  # fmt: skip
        for number, stage in enumerate(sheet.stages, start=1):
            name = _name(stage, number)
            for layer, block in enumerate(_blocks(stage, name, values)):
                x = build(b, x, f"{name}.{layer}", block)
        head = sheet.head
        if head.channels is not None:
            x = b.conv(x, "head", K=head.channels, kernel=1, bn=True, activation=head.activation)
        b.linear(b.flatten(b.global_pool(x, "avgpool")), "classifier", K=sheet.classes)
        return b.network


def _name(stage: StageSheet, number: int) -> str:
    return stage.name or f"stage{number}"


def _blocks(stage: StageSheet, name: str, values: dict[str, Any]) -> Iterator[Block]:
    """The blocks of a stage in a network."""

    def chosen(what: str, layer: int | None) -> Any:
        found = values.get(f"{name}.{what}")
        if isinstance(found, list) and layer is not None:
            found = found[layer]
        return getattr(stage, what)[0] if found is None else found

    for layer in range(chosen("depth", None)):
        yield Block(
            kind=chosen("block", layer),
            channels=chosen("width", None),
            stride=1 if layer else stage.stride,
            activation=stage.activation,
            excite_from=stage.excite_from,
            **{choice: chosen(choice, layer) for choice in _PER_BLOCK},
        )


def load(path: Path | str) -> StagedSpace:
    """The space of a YAML file; raises :class:`~accelerators.documents.DocumentError` with all that is wrong."""
    return _space(read(path))


def from_text(text: str) -> StagedSpace:
    """The space of YAML text; raises like :func:`load`."""
    return _space(parse(text))


def _space(document: Document) -> StagedSpace:
    sheet = document.validate(SpaceSheet)
    problems = list(_contradictions(document, sheet))
    if problems:
        raise DocumentError(problems)
    return StagedSpace(sheet)


def _contradictions(document: Document, sheet: SpaceSheet) -> Iterator[str]:
    """Rules that span several keys."""
    names: list[str] = []
    for i, stage in enumerate(sheet.stages):
        at = ("stages", i)
        name = _name(stage, i + 1)
        if name in names:
            yield document.problem((*at, "name"), f"must differ from the others (got {name!r})")
        names.append(name)
        if max(stage.depth) == 0:
            yield document.problem((*at, "depth"), "must leave a block in some network (got 0 only)")
        if min(stage.depth) == 0 and stage.stride > 1:
            rule = f"must be at least 1 in a stage of stride {stage.stride}, which would be lost (got 0)"
            yield document.problem((*at, "depth"), rule)
        used = {"kernel", *(choice for kind in stage.block for choice in USES[kind])}
        for choice in _PER_BLOCK:
            if choice in stage.model_fields_set and choice not in used:
                rule = f"means nothing to {', '.join(stage.block)}"
                yield document.problem((*at, choice), rule, key=True)


def schema() -> dict[str, Any]:
    """JSON schema of the sheet, for editors."""
    return json_schema(SpaceSheet)


__all__ = ["SpaceSheet", "StagedSpace", "from_text", "load", "schema"]
