"""Any space with the bits of weights and activations as further genes.

    space = Quantised(OfaMobileNetV3(), weights=(4, 8), activations=(4, 8), per="stage")

A group of layers has a gene each for the bits of its weights and of what its layers write. Groups are

* ``per="network"``: all layers, in any space;
* ``per="stage"``: the stages of spaces that say where layers are (:attr:`Space.sites`);
* ``per="layer"``: the single layers of spaces that also say which layers are there. A layer belongs to its place, not
  to its position in one network: the third block of a unit has genes of its own, and they matter in networks whose unit
  has three blocks.

An activation has one width, for the layer that writes it and for all that read it, and its producer says which. What
does not multiply and accumulate (activation functions, pooling, sums) writes as many bits as its first operand has: a
sum is rounded to the width of the branch, not of the shortcut. The network's inputs and outputs have ``ends`` bits, and
so have trained values that are no weights of a multiply-accumulate layer (embeddings, positions). Partial sums are as
wide as the hardware's accumulators.

The written form is ``{"network": .., "weight_bits": [..], "activation_bits": [..]}``, in the order of
:attr:`Quantised.groups`. Genes of :attr:`Quantised.space` come first.
"""

from __future__ import annotations

from collections.abc import Container, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from accelerators.operators import Operator
from codesign.nas.quantisation import Bits, has_depthwise
from codesign.nas.spaces._base import Code, Codes, FeatureKind, Gene, Site, Space
from codesign.nas.spaces._genes import count
from codesign.networks import Network, NetworkError

Per = Literal["network", "stage", "layer"]

#: Of the network's inputs and outputs, unless something else is said.
ENDS = 8
_WIDEST = 32


@dataclass(frozen=True)
class Group:
    """Layers with the same bits; ``weights`` and ``activations`` are positions of their genes.

    ``activations`` is None where the layers write nothing but the network's output.
    """

    name: str
    weights: int
    activations: int | None


class _Place(NamedTuple):
    """Where a group is there, as of a gene; and whether its layers write activations for others."""

    parent: int | None
    when: frozenset[int]
    writes: bool


class _Part(NamedTuple):
    """What is known of a network's part: bits of what it writes, and of its layers with weights."""

    writes: int
    bits: tuple[Bits, ...]
    depthwise: bool


class Quantised(Space):
    """See the module. Raises NetworkError for bits that are no increasing integers in 1..32, and for groups that the
    space cannot tell."""

    def __init__(
        self,
        space: Space,
        *,
        weights: Sequence[int] = (4, 6, 8),
        activations: Sequence[int] = (4, 6, 8),
        per: Per = "stage",
        ends: int = ENDS,
    ):
        self.name = f"quantised_{space.name}"
        if isinstance(space, Quantised):
            raise NetworkError(f"{self.name}: the space is quantised already")
        if per not in get_args(Per):
            raise NetworkError(f"{self.name}: per must be one of {', '.join(get_args(Per))} (got {per!r})")
        if per != "network" and not space.sites:
            raise NetworkError(
                f"{self.name}: per must be network, as {space.name} does not say where its layers are (got {per!r})"
            )
        if per == "layer" and not all(site.layers for site in space.sites):
            raise NetworkError(
                f"{self.name}: per must be network or stage, as {space.name} does not say which layers are where "
                f"(got {per!r})"
            )
        self.space, self.per = space, per
        (self.ends,) = _bits(f"{self.name}: ends", (ends,))
        self.weights = _bits(f"{self.name}: weights", weights)
        self.activations = _bits(f"{self.name}: activations", activations)
        found: dict[str, _Place] = {}
        if per == "network":
            found["network"] = _Place(None, frozenset(), True)
        for site in space.sites if per == "layer" else ():
            place = _Place(site.parent, site.when, not site.last)
            found |= {_layer(site, layer): place for layer in site.layers}
        for stage in dict.fromkeys(site.stage for site in space.sites) if per == "stage" else ():
            found[stage] = self._stage([site for site in space.sites if site.stage == stage])
        writing = [name for name, place in found.items() if place.writes]
        bits = [("weight_bits", self.weights, list(found)), ("activation_bits", self.activations, writing)]
        self.genes = (
            *space.genes,
            *(
                Gene(f"{key}[{i}]", options, parent=found[name].parent, when=found[name].when)
                for key, options, names in bits
                for i, name in enumerate(names)
            ),
        )
        first = len(space.genes)
        self.groups = tuple(
            Group(name, first + i, first + len(found) + writing.index(name) if name in writing else None)
            for i, name in enumerate(found)
        )
        self._by_name = {group.name: group for group in self.groups}
        self._stages = {site.name: site.stage for site in space.sites}
        self._by_site: dict[str, list[Group]] = {}
        for site in space.sites if per != "network" else ():
            names = [site.stage] if per == "stage" else [_layer(site, layer) for layer in site.layers]
            self._by_site[site.name] = [self._by_name[name] for name in names]
        self._known: dict[Hashable, _Part] = {}

    def _stage(self, sites: Sequence[Site]) -> _Place:
        """Where a stage is there: where one of its sites is."""
        options: dict[int | None, frozenset[int]] = {}
        for site in sites:
            options[site.parent] = options.get(site.parent, frozenset()) | site.when
        there: dict[int | None, frozenset[int]] = {}
        for parent, when in options.items():
            # What is there with all options of a gene is there where the gene matters.
            while parent is not None and len(when) == len(self.space.genes[parent].options):
                gene = self.space.genes[parent]
                parent, when = gene.parent, gene.when
            there[parent] = there.get(parent, frozenset()) | when
        writes = not all(site.last for site in sites)
        if None in there:
            return _Place(None, frozenset(), writes)
        if len(there) > 1:
            names = ", ".join(self.space.genes[parent].name for parent in there if parent is not None)
            raise NetworkError(f"{self.name}: stage {sites[0].stage} must be there as of one gene (got {names})")
        ((parent, when),) = there.items()
        return _Place(parent, when, writes)

    # -- networks -----------------------------------------------------------------------------------------------------

    def _build(self, values: dict[str, Any], batch: int) -> Network:
        # Genes of the inner space are written beside those of the bits here.
        code = super().parse(values)
        found = self.space.network(code[: len(self.space.genes)], batch=batch)
        self._quantise(found, code)
        return found

    def _quantise(self, network: Network, code: Code) -> None:
        """Give the layers of the inner space's network their bits."""
        standing = self.space.standing(code[: len(self.space.genes)]) if self.per != "network" else {}
        nodes = network.graph.nodes
        written: dict[str, int] = {}
        for name in network.graph:
            operator: Operator = nodes[name]["operator"]
            reads = {
                tensor: max((written[producer] for producer in producers), default=self.ends)
                for tensor, producers in nodes[name]["operands"].items()
            }
            first = operator.tensors[0].name if operator.passes else None
            if operator.macs:
                group = self._group(name, standing)
                weight_bits = self._chosen(code, group.weights)
                activations = self.ends if group.activations is None else self._chosen(code, group.activations)
                bits = tuple(
                    reads.get(tensor.name, weight_bits if tensor.role == "weights" else self.ends)
                    for tensor in operator.tensors[:-1]
                )
            else:
                bits = tuple(reads.get(tensor.name, self.ends) for tensor in operator.tensors[:-1])
                activations = reads.get(first or "", self.ends)
            written[name] = activations if network.graph.out_degree(name) else self.ends
            nodes[name]["operator"] = _with_bits(operator, (*bits, written[name]))

    def _group(self, layer: str, standing: Mapping[str, str]) -> Group:
        if self.per == "network":
            return self.groups[0]
        beginning = _above(layer, standing)
        if not beginning:
            raise NetworkError(f"{self.name}: layer {layer} must be at a site of the space")
        site = standing[beginning]
        return self._by_name[self._stages[site] if self.per == "stage" else site + layer[len(beginning) :]]

    def _chosen(self, code: Code, gene: int) -> int:
        bits: int = self.genes[gene].options[code[gene]]
        return bits

    def bits(self, code: ArrayLike) -> tuple[tuple[Bits, ...], bool]:
        """Bits of the weights and the inputs of every layer with weights that multiplies and accumulates, in order;
        and whether the network has depthwise convolutions."""
        checked = self.check(code)
        parts = self.parts(checked)
        if parts is None:
            network = self.network(checked)
            return _bits_of(network, list(network.graph)), has_depthwise(network)
        known = [self._known[part] for part in parts.values()]
        return tuple(bits for part in known for bits in part.bits), any(part.depthwise for part in known)

    def parts(self, code: Code) -> dict[str, Hashable] | None:
        """See :class:`~codesign.nas.spaces.Space`: what the inner space says, the part's bits, those that it reads."""
        inner = code[: len(self.space.genes)]
        parts = self.space.parts(inner)
        if parts is None:
            return None
        groups_of = self._groups_of(parts, inner)
        width = self.ends
        found: dict[str, Hashable] = {}
        network: Network | None = None
        for name, part in parts.items():
            bits = tuple(
                (code[group.weights], group.activations and code[group.activations]) for group in groups_of[name]
            )
            state = found[name] = part, bits, width
            if state not in self._known:
                if network is None:
                    network = self.network(code)
                layers = [layer for layer in network.graph if layer == name or layer.startswith(f"{name}.")]
                operators = [network.layer(layer).operator for layer in layers]
                writes = operators[-1].output.bits
                assert writes is not None
                depthwise = any(operator.kind == "depthwise" for operator in operators)
                self._known[state] = _Part(writes, _bits_of(network, layers), depthwise)
            width = self._known[state].writes
        return found

    def _groups_of(self, parts: Mapping[str, Hashable], inner: Code) -> dict[str, list[Group]]:
        """Groups of the layers in every part: those of the sites in it, or of the site that it is in."""
        if self.per == "network":
            return {part: [*self.groups] for part in parts}
        standing = self.space.standing(inner)
        found: dict[str, list[Group]] = {part: [] for part in parts}
        for beginning, site in standing.items():
            part = _above(beginning, found)
            if part:
                found[part] += self._by_site[site]
        for part, groups in found.items():
            if not groups and (around := _above(part, standing)):
                groups += self._by_site[standing[around]]
        return found

    # -- written form and numbers -------------------------------------------------------------------------------------

    def features(self, codes: Codes, kind: FeatureKind = "one_hot") -> NDArray[np.float64]:
        """(n, features) those of the inner space, behind them those of the bits."""
        inner = len(self.space.genes)
        active = self.active(codes)
        columns = [self.space.features(codes[:, :inner], kind)]
        for i in range(inner, len(self.genes)):
            options = len(self.genes[i].options)
            if kind == "ordinal":
                columns.append(((codes[:, i] + 1) / options * active[:, i])[:, None])
            else:
                columns.append(((codes[:, i, None] == np.arange(options)) & active[:, i, None]).astype(float))
        return np.concatenate(columns, axis=1)

    def write(self, code: ArrayLike) -> dict[str, Any]:
        """The network as plain data, see the module."""
        checked = self.check(code)
        values = self._values(checked)
        return {
            "network": self.space.write(checked[: len(self.space.genes)]),
            **{key: values[key] for key in _KEYS if key in values},
        }

    def parse(self, written: Any) -> Code:
        """The code of what :meth:`write` gives, or of its JSON; raises NetworkError for anything else."""
        written = self._decoded(written)
        if not isinstance(written, Mapping) or set(written) != {"network", *_KEYS}:
            got = sorted(map(str, written)) if isinstance(written, Mapping) else written
            raise NetworkError(f"{self.name}: must be a mapping with network, {', '.join(_KEYS)} (got {got!r})")
        try:
            inner = self.space.parse(written["network"])
        except NetworkError as error:
            raise NetworkError(f"{self.name}: network: {error}") from None
        # The rest is read as if the inner genes were written beside it.
        values = super()._values((*inner, *[0] * (len(self.genes) - len(inner))))
        return super().parse({**values, **{key: written[key] for key in _KEYS}})

    def describe(self, code: ArrayLike) -> str:
        """The network in a few words: that of the inner space, and the bits of the groups."""
        checked = self.check(code)
        values = self._values(checked)
        parts = [
            f"{key.replace('_', ' ')} {' '.join('-' if bits is None else str(bits) for bits in values[key])}"
            for key in _KEYS
        ]
        return f"{self.name}: {self.space.describe(checked[: len(self.space.genes)])}; {', '.join(parts)}"


_KEYS = ("weight_bits", "activation_bits")


def _layer(site: Site, layer: str) -> str:
    """The name of the group of one of a site's layers."""
    return f"{site.name}.{layer}" if layer else site.name


def _above(name: str, names: Container[str]) -> str:
    """The longest beginning of a dotted name, or all of it, that is among some names; "" if none is."""
    while name and name not in names:
        name = name.rpartition(".")[0]
    return name


def _bits_of(network: Network, layers: Sequence[str]) -> tuple[Bits, ...]:
    """Bits of the weights and inputs of those of some layers that multiply activations and weights."""
    found = []
    for layer in layers:
        tensors = network.layer(layer).operator.tensors if network.layer(layer).operator.macs else ()
        by_name = {tensor.name: tensor.bits for tensor in tensors}
        # The other operand of attention is no weight, and is not called so.
        if "weights" in by_name:
            weights, inputs = by_name["weights"], by_name["inputs"]
            assert weights is not None and inputs is not None
            found.append(Bits(weights, inputs))
    return tuple(found)


@lru_cache(maxsize=65536)
def _with_bits(operator: Operator, bits: tuple[int, ...]) -> Operator:
    tensors = tuple(replace(tensor, bits=n) for tensor, n in zip(operator.tensors, bits, strict=True))
    return replace(operator, tensors=tensors)


def _bits(place: str, values: Sequence[int]) -> tuple[int, ...]:
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise NetworkError(f"{place} must be a list of integers (got {values!r})")
    found = tuple(count(place, value) for value in values)
    if list(found) != sorted(set(found)) or found[-1] > _WIDEST:
        raise NetworkError(f"{place} must be different, in increasing order, at most {_WIDEST} (got {list(values)})")
    return found
