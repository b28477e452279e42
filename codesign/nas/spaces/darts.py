"""DARTS' space of cells (Liu, Simonyan, Yang, ICLR 2019): a normal and a reduction cell, repeated.

A cell reads the outputs of the two cells before it (nodes 0 and 1). Each of its four nodes is the sum of two operators,
on two different earlier nodes; the output is all four side by side. A reduction cell strides where it reads its inputs.
The written form is the authors' genotype, operators and nodes that they read in pairs per node::

    {"normal": [["sep_conv_3x3", 0], ["sep_conv_3x3", 1], ..], "reduce": [["max_pool_3x3", 0], ..]}

Around the cells is the authors' network for CIFAR-10 (20 cells from 36 channels) or for ImageNet (14 cells from 48),
without the auxiliary classifier, which only helps training. Source: quark0/darts (cnn/model.py, cnn/operations.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike

from codesign.nas.spaces._base import Code, Gene, Site, Space
from codesign.networks import Builder, Network, NetworkError
from codesign.networks.builder import Value
from codesign.networks.computation import Pooling

#: Operators; "none", which only the search itself uses, is none of a final cell.
OPS = (
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
NODES = 4
CELLS = ("normal", "reduce")

_NAME = "darts"


@dataclass(frozen=True)
class _Variant:
    cells: int
    channels: int
    resolution: int
    classes: int


_VARIANTS = {"cifar10": _Variant(20, 36, 32, 10), "imagenet": _Variant(14, 48, 224, 1000)}


def _reductions(variant: str) -> tuple[int, int]:
    """Numbers of the reduction cells."""
    cells = _VARIANTS[variant].cells
    return cells // 3, 2 * cells // 3


#: Of a node by its number: pairs of nodes that it may read.
_PAIRS = [tuple(itertools.combinations(range(node + 2), 2)) for node in range(NODES)]


class Darts(Space):
    """(180 x 7^8)^2 networks, about 10^18; ``variant`` is "cifar10" or "imagenet"."""

    name = _NAME

    def __init__(self, variant: str = "cifar10"):
        if variant not in _VARIANTS:
            raise NetworkError(f"{_NAME}: variant must be one of {', '.join(_VARIANTS)} (got {variant!r})")
        self.variant = variant
        genes: list[Gene] = []
        for cell in CELLS:
            genes += [Gene(f"{cell}_inputs[{node}]", _PAIRS[node], ordered=False) for node in range(NODES)]
            genes += [Gene(f"{cell}_ops[{i}]", OPS, ordered=False) for i in range(2 * NODES)]
        self.genes = tuple(genes)
        # Cells up to the next reduction are a stage.
        stems = ("stem",) if variant == "cifar10" else ("stem0", "stem1")
        self.sites = (
            *(Site(stem, "stem", ()) for stem in stems),
            *(
                Site(f"cells.{cell}", f"stage{sum(cell >= at for at in _reductions(variant))}", ())
                for cell in range(_VARIANTS[variant].cells)
            ),
            Site("classifier", "head", (), last=True),
        )

    def write(self, code: ArrayLike) -> dict[str, list[list[Any]]]:
        """The genotype, see the module."""
        return _genotype(self._values(self.check(code)))

    def parse(self, written: Any) -> Code:
        """The code of a genotype, whose two edges of a node may come in any order."""
        written = self._decoded(written)
        if not isinstance(written, Mapping) or set(written) != set(CELLS):
            raise NetworkError(f"{_NAME}: a genotype must be a mapping with normal and reduce (got {written!r})")
        values: dict[str, Any] = {}
        for cell in CELLS:
            edges = written[cell]
            if not isinstance(edges, list | tuple) or len(edges) != 2 * NODES:
                raise NetworkError(f"{_NAME}: {cell} must be a list of {2 * NODES} edges (got {edges!r})")
            inputs, ops = [], []
            for i, edge in enumerate(edges):
                if (
                    not isinstance(edge, list | tuple)
                    or len(edge) != 2
                    or isinstance(edge[1], bool)
                    or not isinstance(edge[1], int)
                ):
                    raise NetworkError(f"{_NAME}: {cell}[{i}] must be [operator, node that it reads] (got {edge!r})")
            for node in range(NODES):
                pair = sorted(edges[2 * node : 2 * node + 2], key=lambda edge: edge[1])
                inputs.append(tuple(edge[1] for edge in pair))
                ops += [edge[0] for edge in pair]
                if inputs[-1] not in _PAIRS[node]:
                    raise NetworkError(
                        f"{_NAME}: {cell}[{2 * node}] and [{2 * node + 1}] must read two different nodes of "
                        f"0..{node + 1} (got {inputs[-1][0]} and {inputs[-1][1]})"
                    )
            values[f"{cell}_inputs"], values[f"{cell}_ops"] = inputs, ops
        return super().parse(values)

    def _build(self, values: dict[str, Any], batch: int) -> Network:
        variant, genotype = _VARIANTS[self.variant], _genotype(values)
        b = Builder(_NAME, batch)
        x = b.input(3, variant.resolution, variant.resolution)
        channels = variant.channels
        if self.variant == "imagenet":
            x = b.conv(x, "stem0.0", K=channels // 2, kernel=3, stride=2, padding=1, bn=True, activation="relu")
            before = b.conv(x, "stem0.3", K=channels, kernel=3, stride=2, padding=1, bn=True)
            x = b.activation(before, "stem1.0", "relu")
            x = b.conv(x, "stem1.1", K=channels, kernel=3, stride=2, padding=1, bn=True)
        else:
            before = x = b.conv(x, "stem.0", K=3 * channels, kernel=3, padding=1, bn=True)
        reduced = self.variant == "imagenet"
        for cell in range(variant.cells):
            reduces = cell in _reductions(self.variant)
            channels *= 1 + reduces
            edges = genotype["reduce" if reduces else "normal"]
            before, x = x, _cell(b, before, x, f"cells.{cell}", edges, channels, reduces, reduced)
            reduced = reduces
        b.linear(b.flatten(b.global_pool(x, "global_pooling")), "classifier", K=variant.classes)
        return b.network


def _genotype(values: Mapping[str, Any]) -> dict[str, list[list[Any]]]:
    return {
        cell: [[op, values[f"{cell}_inputs"][i // 2][i % 2]] for i, op in enumerate(values[f"{cell}_ops"])]
        for cell in CELLS
    }


def _cell(
    b: Builder, s0: Value, s1: Value, name: str, edges: list[list[Any]], channels: int, reduces: bool, reduced: bool
) -> Value:
    s0 = (_halve if reduced else _project)(b, s0, f"{name}.preprocess0", channels)
    nodes = [s0, _project(b, s1, f"{name}.preprocess1", channels)]
    for node in range(NODES):
        summands = [
            _operate(b, nodes[source], f"{name}._ops.{2 * node + i}", op, 2 if reduces and source < 2 else 1)
            for i, (op, source) in enumerate(edges[2 * node : 2 * node + 2])
        ]
        nodes.append(b.add(f"{name}.node{node}", *summands))
    return b.concat(*nodes[2:])


def _operate(b: Builder, x: Value, name: str, op: str, stride: int) -> Value:
    if op == "skip_connect":
        return x if stride == 1 else _halve(b, x, name, x.shape[0])
    if op.endswith("pool_3x3"):
        kind: Pooling = "max" if op.startswith("max") else "average"
        return b.pool(x, name, kernel=3, stride=stride, padding=1, kind=kind)
    kernel, dilation = int(op[-1]), 2 if op.startswith("dil") else 1
    padding = dilation * (kernel - 1) // 2
    for repetition in range(1 if dilation > 1 else 2):
        at = f"{name}.op.{4 * repetition}"
        x = b.activation(x, at, "relu")
        x = b.conv(
            x, f"{name}.op.{4 * repetition + 1}", K=x.shape[0], kernel=kernel, stride=1 if repetition else stride,
            padding=padding, dilation=dilation, groups=x.shape[0], bias=False,
        )  # fmt: skip
        x = b.conv(x, f"{name}.op.{4 * repetition + 2}", K=x.shape[0], kernel=1, bn=True)
    return x


def _project(b: Builder, x: Value, name: str, channels: int) -> Value:
    return b.conv(b.activation(x, f"{name}.op.0", "relu"), f"{name}.op.1", K=channels, kernel=1, bn=True)


def _halve(b: Builder, x: Value, name: str, channels: int) -> Value:
    """Two pointwise convolutions at every other pixel, one of them a pixel further, side by side."""
    x = b.activation(x, f"{name}.relu", "relu")
    halves = [b.conv(x, f"{name}.conv_{i}", K=channels // 2, kernel=1, stride=2, bn=True) for i in (1, 2)]
    return b.concat(*halves)
