"""NAS-Bench-201 (Dong and Yang 2020), which is the topology space of NATS-Bench: 15,625 cells.

A cell has four nodes; node 0 is its input, node 3 its output, and a node is the sum of its incoming edges. Each of the
six edges runs one of five operators. A cell is written as six codes, positions in :data:`OPS`, in the order of
:data:`EDGES`, or as text::

    |nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|avg_pool_3x3~1|nor_conv_3x3~2|

The benchmark numbers its cells in the order of a shuffled list; :func:`cells` has them in that order.

The reference implementation runs all six operators, whether their results matter or not, and so do all measurements of
it. Therefore *dead* operators are part of the graph: those whose output never reaches the output of the network, and
those whose input is nothing but zeros. ``none`` is an operator that writes zeros, ``skip_connect`` costs nothing.

Layer names are those of the modules of the authors' implementation for a fixed cell (D-X-Y/AutoDL-Projects), where edge
``i`` of a cell is ``layers.i``; a sum is named after its node.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from importlib import resources
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from codesign.nas.spaces._base import Code, Codes, FeatureKind, Gene, Site, Space
from codesign.nas.spaces._genes import chosen, count
from codesign.networks import Builder, Network, NetworkError
from codesign.networks.builder import Value

#: Operators of an edge; a code is a position here. Convolutions are ReLU, convolution, batch normalisation.
OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")

#: (node, the earlier node that it reads) of every edge, in the order of the codes.
EDGES = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))

#: Cells of each of the three stages of the benchmark.
CELLS_PER_STAGE = 5

_NAME = "nas_bench_201"
_EDGE = re.compile(r"(?P<op>[a-z0-9_]+)~(?P<source>\d+)")


@functools.cache
def cells() -> NDArray[np.uint8]:
    """The codes of all cells, (15625, 6), in the order of the benchmark's numbers."""
    return _table("arch")


@functools.cache
def isomorphism_classes() -> NDArray[np.int16]:
    """A class per cell, (15625,): cells of a class compute the same."""
    return _table("iso_class")


def _table(key: str) -> NDArray[Any]:
    with resources.files("codesign.nas").joinpath("data/nas_bench_201.npz").open("rb") as file:
        found: NDArray[Any] = np.load(file, allow_pickle=False)[key]
    found.flags.writeable = False
    return found


def cell_from_string(text: str) -> tuple[int, ...]:
    """The codes of a cell that is written as text.

    Raises NetworkError, naming the node, for anything but three nodes with an operator for every earlier node.
    """
    nodes = text.strip().split("+")
    if len(nodes) != 3:
        raise NetworkError(f"{_NAME}: cell must have 3 nodes, joined by '+' (got {len(nodes)}: {text!r})")
    codes = []
    for node, written in enumerate(nodes, start=1):
        edges = [_EDGE.fullmatch(edge) for edge in written.strip("|").split("|")]
        sources = [edge and int(edge["source"]) for edge in edges]
        if sources != list(range(node)):
            raise NetworkError(
                f"{_NAME}: node {node} of a cell must read "
                f"{'|'.join(f'OP~{source}' for source in range(node))} (got {written!r})"
            )
        for edge in edges:
            if edge and edge["op"] not in OPS:
                raise NetworkError(f"{_NAME}: node {node}: operator must be one of {', '.join(OPS)} (got {edge['op']})")
            codes += [OPS.index(edge["op"])] if edge else []
    return tuple(codes)


def cell_from_codes(codes: Iterable[SupportsIndex]) -> tuple[int, ...]:
    """Six codes 0..4 as a tuple of integers; NetworkError names the edge of another code."""
    return chosen(f"{_NAME}: cell", codes, range(len(OPS)), len(EDGES))


def cell_to_string(codes: Iterable[SupportsIndex]) -> str:
    """The text of a cell; :func:`cell_from_string` is its inverse."""
    nodes: dict[int, list[str]] = {}
    for (node, source), code in zip(EDGES, cell_from_codes(codes), strict=True):
        nodes.setdefault(node, []).append(f"{OPS[code]}~{source}")
    return "+".join(f"|{'|'.join(edges)}|" for edges in nodes.values())


def network(
    cell: str | Iterable[SupportsIndex],
    *,
    batch: int = 1,
    classes: int = 10,
    resolution: int = 32,
    channels: int = 16,
    cells_per_stage: int = CELLS_PER_STAGE,
    input_channels: int = 3,
) -> Network:
    """The network of a cell, by default the one for CIFAR-10 with its 3 x 5 cells.

    ``cell`` is a text or six codes. Images are [input_channels, resolution, resolution]; CIFAR-100 has 100 classes,
    ImageNet16-120 has 120 and 16 pixels. Stages have ``channels``, twice and four times as many.

    Raises NetworkError for what is no cell, for options below 1, and for a resolution that is no multiple of 4: the two
    branches of a reduction block would differ in size.
    """
    codes = cell_from_string(cell) if isinstance(cell, str) else cell_from_codes(cell)
    resolution = count(f"{_NAME}: resolution", resolution)
    if resolution % 4:
        raise NetworkError(f"{_NAME}: resolution must be a multiple of 4 (got {resolution})")
    channels = count(f"{_NAME}: channels", channels)
    b = Builder(_NAME, batch)
    x = b.input(count(f"{_NAME}: input_channels", input_channels), resolution, resolution)
    x = b.conv(x, "stem.0", K=channels, kernel=3, padding=1, bn=True)
    for index, (stage, reduces) in enumerate(_places(count(f"{_NAME}: cells_per_stage", cells_per_stage))):
        name = f"cells.{index}"
        x = _reduction(b, x, name, channels << stage) if reduces else _cell(b, x, name, codes)
    x = b.activation(x, "lastact.1", "relu", bn=True)
    x = b.global_pool(x, "global_pooling")
    b.linear(b.flatten(x), "classifier", K=count(f"{_NAME}: classes", classes))
    return b.network


def _places(cells_per_stage: int) -> list[tuple[int, bool]]:
    """Stage of every cell, and whether it is a reduction block."""
    return [(stage, reduces) for stage in range(3) for reduces in [True] * (stage > 0) + [False] * cells_per_stage]


def _cell(b: Builder, x: Value, name: str, codes: tuple[int, ...]) -> Value:
    nodes = [x]
    for node in (1, 2, 3):
        incoming = [
            _edge(b, nodes[source], f"{name}.layers.{edge}", OPS[codes[edge]])
            for edge, (target, source) in enumerate(EDGES)
            if target == node
        ]
        nodes.append(incoming[0] if len(incoming) == 1 else b.add(f"{name}.node{node}", *incoming))
    return nodes[-1]


def _edge(b: Builder, x: Value, name: str, op: str) -> Value:
    if op == "none":
        return b.zeros(x, name)
    if op == "skip_connect":
        return x
    if op == "avg_pool_3x3":
        return b.pool(x, f"{name}.op", kernel=3, stride=1, padding=1, kind="average")
    return _relu_conv(b, x, name, K=x.shape[0], kernel=1 if op == "nor_conv_1x1" else 3)


def _reduction(b: Builder, x: Value, name: str, channels: int) -> Value:
    y = _relu_conv(b, x, f"{name}.conv_a", K=channels, kernel=3, stride=2)
    y = _relu_conv(b, y, f"{name}.conv_b", K=channels, kernel=3)
    shortcut = b.pool(x, f"{name}.downsample.0", kernel=2, kind="average")
    shortcut = b.conv(shortcut, f"{name}.downsample.1", K=channels, kernel=1, bias=False)
    return b.add(f"{name}.add", shortcut, y)


def _relu_conv(b: Builder, x: Value, name: str, *, K: int, kernel: int, stride: int = 1) -> Value:
    x = b.activation(x, f"{name}.op.0", "relu")
    return b.conv(x, f"{name}.op.1", K=K, kernel=kernel, stride=stride, padding=kernel // 2, bn=True)


#: Classes and pixels of the benchmark's data sets.
DATA_SETS = {"cifar10": (10, 32), "cifar100": (100, 32), "imagenet16": (120, 16)}

_CONVOLUTIONS = frozenset({OPS.index("nor_conv_1x1"), OPS.index("nor_conv_3x3")})
_REDUCTION_LAYERS = ("conv_a.op.1", "conv_b.op.1", "downsample.1")


class NasBench201(Space):
    """The 15,625 cells with the network of a data set around them; see the module. Codes are the six of a cell.

    The written form is the text of a cell. Cells that compute the same are different networks here: they have
    accuracies of their own, and dead operators cost.
    """

    name = _NAME

    def __init__(self, data_set: str = "cifar10"):
        if data_set not in DATA_SETS:
            raise NetworkError(f"{_NAME}: data set must be one of {', '.join(DATA_SETS)} (got {data_set!r})")
        self.data_set = data_set
        self.genes = tuple(Gene(f"op[{edge}]", OPS, ordered=False) for edge in range(len(EDGES)))
        # A cell may have no convolution at all, so the stem belongs to the first stage, which then is always there.
        sites = [Site("stem", "stage0", ("0",))]
        for index, (stage, reduces) in enumerate(_places(CELLS_PER_STAGE)):
            name = f"cells.{index}"
            if reduces:
                sites.append(Site(name, f"stage{stage}", _REDUCTION_LAYERS))
            else:
                sites += [
                    Site(f"{name}.layers.{edge}", f"stage{stage}", ("op.1",), edge, _CONVOLUTIONS)
                    for edge in range(len(EDGES))
                ]
        self.sites = (*sites, Site("classifier", "head", ("",), last=True))

    def _build(self, values: dict[str, Any], batch: int) -> Network:
        classes, resolution = DATA_SETS[self.data_set]
        return network([OPS.index(op) for op in values["op"]], batch=batch, classes=classes, resolution=resolution)

    def write(self, code: ArrayLike) -> str:
        """The text of a cell, see the module."""
        return cell_to_string(self.check(code))

    def parse(self, written: Any) -> Code:
        """The code of a cell's text."""
        if not isinstance(written, str):
            raise NetworkError(f"{_NAME}: a cell must be text (got {written!r})")
        return cell_from_string(written)

    def index(self, codes: Codes) -> NDArray[np.int64]:
        """(n,) the benchmark's numbers of cells (n, 6)."""
        return _indices()[_packed(codes)]

    def representative(self, codes: Codes) -> Codes:
        """(n, 6) of all cells that compute the same as each of these, the one with the least number."""
        classes = isomorphism_classes()
        _, first = np.unique(classes, return_index=True)
        return cells()[first[classes[self.index(codes)]]].astype(np.int64)

    def features(self, codes: Codes, kind: FeatureKind = "one_hot") -> NDArray[np.float64]:
        """(n, features) what every edge runs; behind it, which paths there are, and how often operators are on any.

        A path is the sequence of convolutions and poolings between input and output (path encoding, White, Neiswanger,
        Savani, AAAI 2021); identities are left out, and nothing passes ``none``. So dead operators do not matter there.
        """
        return np.concatenate([super().features(codes, kind), _paths()[self.index(codes)]], axis=1)


#: Edges of every path from the input to the output of a cell.
_ROUTES = ((3,), (0, 4), (1, 5), (0, 2, 5))


def _packed(codes: NDArray[Any]) -> NDArray[np.int64]:
    return np.asarray(np.asarray(codes, np.int64) @ len(OPS) ** np.arange(len(EDGES)))


@functools.cache
def _indices() -> NDArray[np.int64]:
    """Numbers of the benchmark by packed codes."""
    found = np.empty(len(OPS) ** len(EDGES), np.int64)
    found[_packed(cells())] = np.arange(len(found))
    return found


@functools.cache
def _paths() -> NDArray[np.float64]:
    """(15625, paths + operators) whether a cell has each sequence of operators, how many of its edges are on a path."""
    none, skip = OPS.index("none"), OPS.index("skip_connect")
    columns: dict[tuple[int, ...], int] = {}
    entries: list[tuple[int, int]] = []
    alive = np.zeros((len(cells()), len(OPS)))
    for row, cell in enumerate(cells().tolist()):
        on_a_path: set[int] = set()
        for route in _ROUTES:
            ops = [cell[edge] for edge in route]
            if none not in ops:
                path = tuple(op for op in ops if op != skip)
                entries.append((row, columns.setdefault(path, len(columns))))
                on_a_path.update(route)
        for edge in on_a_path:
            alive[row, cell[edge]] += 1
    found = np.zeros((len(cells()), len(columns)))
    found[tuple(np.array(entries).T)] = 1.0
    return np.concatenate([found, np.delete(alive, none, axis=1)], axis=1)
