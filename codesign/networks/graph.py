"""A network: a directed graph of operators."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import networkx as nx

from accelerators.operators import PASSES, Operator
from accelerators.suggestions import did_you_mean
from codesign.networks.computation import Computation, Value

#: Kinds of operators that only move words, or that mix elements (pooling): they cannot run on a producer's output
#: element by element, although they take one pass like an elementwise operation does.
MOVEMENT = frozenset({"zero", "pool", "embedding", "gather", "pad", "permute", "reduce", "resize", "scan", "unknown"})


class NetworkError(ValueError):
    """A network that cannot be built, found or imported; the message says what to change."""


@dataclass(frozen=True)
class Layer:
    """A node of a network: what it is called, what it computes, how many trained values belong to it.

    ``batch_norm``: a batch normalisation follows, which most runtimes fold into the operator. ``computation`` is what
    the operator does not say, None where nobody said it (networks from ONNX files); layers compare without it.
    """

    name: str
    operator: Operator
    parameters: int = 0
    batch_norm: bool = False
    computation: Computation | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Fusion:
    """How an elementwise layer runs inside its producer.

    ``producers`` are the multiply-accumulate layers whose results it takes over (several for the phases of a transposed
    convolution or for a concatenation); ``reads`` are the words of its *other* operands, which still have to be
    fetched (the shortcut of a residual addition).
    """

    producers: tuple[str, ...]
    reads: int


class Network:
    """Operators in the order in which they run, and the tensors that connect them.

    Layers are added after the layers that they read, so insertion order is a topological order and the graph has no
    cycles by construction. Views (reshape, concatenation, slices, dropout) are no layers: they connect producer to
    consumer. ``batch`` is that of its operators, ``graph`` the networkx graph; ``warnings`` says what an importer had
    to guess. ``inputs`` are tensors from outside, ``trained`` shapes of trained tensors that no layer makes, both as
    far as the builder was told.
    """

    def __init__(self, name: str, batch: int = 1) -> None:
        self.name = name
        self.batch = batch
        self.graph: nx.DiGraph = nx.DiGraph()
        self.warnings: list[str] = []
        self.inputs: list[Value] = []
        self.trained: dict[str, tuple[int, ...]] = {}
        self.description: Mapping[str, Any] | None = None

    def add(
        self,
        name: str,
        operator: Operator,
        operands: Mapping[str, Iterable[str]] | None = None,
        parameters: int = 0,
        batch_norm: bool = False,
        computation: Computation | None = None,
    ) -> None:
        """Add a layer that reads the outputs of earlier layers.

        ``operands`` says for each input tensor of the operator which layers produce it (none: an input of the network,
        or a cache). Raises NetworkError for a name twice, an unknown producer, or an unknown tensor.
        """
        sources = {tensor: tuple(dict.fromkeys(layers)) for tensor, layers in (operands or {}).items()}
        if name in self.graph:
            raise NetworkError(f"{self.name}: two layers are named {name!r}")
        for tensor, layers in sources.items():
            if tensor not in {t.name for t in operator.tensors[:-1]}:
                raise NetworkError(f"{self.name}: layer {name!r} has no input tensor {tensor!r}")
            for producer in layers:
                if producer not in self.graph:
                    raise NetworkError(f"{self.name}: layer {name!r} reads {producer!r}, which is no earlier layer")
        self.graph.add_node(
            name,
            operator=operator,
            parameters=parameters,
            operands=sources,
            batch_norm=batch_norm,
            computation=computation,
        )
        for layers in sources.values():
            self.graph.add_edges_from((producer, name) for producer in layers)

    def add_parameters(self, name: str, count: int, batch_norm: bool = False) -> None:
        """Count further trained values for a layer: a bias, or a batch normalisation that follows it."""
        self.layer(name)
        self.graph.nodes[name]["parameters"] += count
        self.graph.nodes[name]["batch_norm"] |= batch_norm

    def __iter__(self) -> Iterator[Layer]:
        """The layers in topological order; ties go to the one that was added first."""
        for name in self.graph:
            yield self.layer(name)

    def __len__(self) -> int:
        return len(self.graph)

    def __contains__(self, name: object) -> bool:
        return name in self.graph

    def layer(self, name: str) -> Layer:
        """The layer with this name (NetworkError with the closest names if there is none)."""
        if name not in self.graph:
            raise NetworkError(f"{self.name} has no layer {name!r}{did_you_mean(name, self.graph)}")
        node = self.graph.nodes[name]
        return Layer(name, node["operator"], node["parameters"], node["batch_norm"], node["computation"])

    def operands(self, name: str) -> dict[str, tuple[str, ...]]:
        """Producers of each input tensor of a layer; a tensor from outside the network has none."""
        self.layer(name)
        return dict(self.graph.nodes[name]["operands"])

    def predecessors(self, name: str) -> list[str]:
        """Layers whose outputs a layer reads."""
        self.layer(name)
        return list(self.graph.predecessors(name))

    def successors(self, name: str) -> list[str]:
        """Layers that read a layer's output."""
        self.layer(name)
        return list(self.graph.successors(name))

    @property
    def edges(self) -> list[tuple[str, str]]:
        """(producer, consumer) pairs."""
        return list(self.graph.edges)

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations of all layers."""
        return sum(layer.operator.macs for layer in self)

    @property
    def parameters(self) -> int:
        """Trained values of all layers; one that several layers share counts once."""
        return sum(layer.parameters for layer in self)

    def unique(self) -> dict[Operator, list[str]]:
        """Names of the layers by operator: layers of one shape need to be mapped and costed only once."""
        names: dict[Operator, list[str]] = {}
        for layer in self:
            names.setdefault(layer.operator, []).append(layer.name)
        return names

    def fusable(self) -> dict[str, Fusion]:
        """Elementwise layers that can run on their producer's results before these are stored, in order.

        That takes an operand with as many words as the output, all of whose producers multiply and accumulate (or are
        fused themselves) and have this layer as their only consumer. Such a layer writes the producer's output in its
        place, and reads nothing but its other operands.
        """
        fused: dict[str, Fusion] = {}
        for layer in self:
            operator = layer.operator
            if operator.passes != PASSES["elementwise"] or operator.kind in MOVEMENT:
                continue
            for tensor, producers in self.graph.nodes[layer.name]["operands"].items():
                words = [self._output_words(producer) for producer in producers]
                if (
                    producers
                    and sum(words) == operator.words(operator.tensor(tensor)) == operator.words(operator.output)
                    and all(self.graph.out_degree(producer) == 1 for producer in producers)
                    and all(self.layer(p).operator.macs or p in fused for p in producers)
                ):
                    roots = [root for p in producers for root in (fused[p].producers if p in fused else (p,))]
                    others = sum(operator.words(t) for t in operator.tensors[:-1] if t.name != tensor)
                    fused[layer.name] = Fusion(tuple(dict.fromkeys(roots)), others)
                    break
        return fused

    def _output_words(self, name: str) -> int:
        operator: Operator = self.graph.nodes[name]["operator"]
        return operator.words(operator.output)

    def __repr__(self) -> str:
        return f"Network({self.name!r}, {len(self)} layers, {self.macs:,} MACs, {self.parameters:,} parameters)"


def elements(shape: Iterable[int]) -> int:
    """Number of elements of a tensor of this shape (1 for a scalar)."""
    return math.prod(shape)
