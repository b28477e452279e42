"""The protocol of network spaces.

A network of a space is a *code*: one small integer per gene, the position of what the gene chose in its options. Codes
come as arrays (n, genes); a single one may be any sequence of integers::

    space = OfaMobileNetV3(width=1.2)
    codes = space.sample(np.random.default_rng(0), 100)       # (100, 46)
    network = space.network(codes[0])                         # a graph of operators
    code = space.parse(space.write(codes[0]))                 # and back

A gene may matter only with some options of another one: the kernel of a unit's third block, where the unit has three
blocks. Of codes that differ in what does not matter the *canonical* one has zeros there. All methods return canonical
codes, so equal codes are equal networks.
"""

from __future__ import annotations

import hashlib
import json
import math
import numbers
import re
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from accelerators.suggestions import did_you_mean
from codesign.networks import Network, NetworkError

Codes = NDArray[np.int64]
Code = tuple[int, ...]
FeatureKind = Literal["one_hot", "ordinal"]

_INDEXED = re.compile(r"(?P<group>.+)\[(?P<position>\d+)\]")


@dataclass(frozen=True)
class Gene:
    """One choice. ``name`` is its place in the written form: ``ks[3]`` is the fourth value of the list ``ks``.

    ``ordered`` options are sizes of something. ``parent`` is the position of an earlier gene; this one matters where
    that one matters and has one of the options ``when`` (positions).
    """

    name: str
    options: tuple[Any, ...]
    ordered: bool = True
    parent: int | None = None
    when: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Site:
    """A place for layers in the networks of a space, which is there where the gene ``parent`` has one of the options
    ``when`` (positions), or always.

    ``layers`` are the layers there that multiply and accumulate, in order: what their names have behind the beginning
    that is there (see :meth:`Space.standing`), "" for a layer of that name; nothing where they are not the same in all
    networks that have the site. Sites of one ``stage`` follow on each other; they are there as of one gene, unless one
    of them always is. The ``last`` site writes the network's output.
    """

    name: str
    stage: str
    layers: tuple[str, ...]
    parent: int | None = None
    when: frozenset[int] = frozenset()
    last: bool = False


class Space(ABC):
    """Networks that differ in ``genes``; see the module."""

    #: Begins every message.
    name: str
    genes: tuple[Gene, ...]
    #: Where layers are, in all networks; nothing if the space does not say.
    sites: tuple[Site, ...] = ()

    @abstractmethod
    def _build(self, values: dict[str, Any], batch: int) -> Network:
        """The network of what :meth:`write` gives: values by name, lists with None where a gene does not matter."""

    def network(self, code: ArrayLike, *, batch: int = 1) -> Network:
        """The network of a code; raises NetworkError for what is no code, and for operators too large to be counted."""
        values = self._values(self.check(code))
        try:
            return self._build(values, batch)
        except NetworkError:
            raise
        except ValueError as error:
            raise NetworkError(f"{self.name}: {error}") from None

    def parts(self, code: Code) -> dict[str, Hashable] | None:
        """What a network consists of, in order: beginnings of layers' names, and what the layers' operators depend on.

        Layers ``name`` and ``name.anything`` belong to the part ``name``, every layer to one part. Parts with the same
        value have the same operators in all networks of the space, of which the same ones run with their producers, so
        that a network's operators are found without building it. Of all layers before it a part reads the part before
        it only. None if the space does not know. The code is canonical.
        """
        return None

    def standing(self, code: Code) -> dict[str, str]:
        """The sites of a network: by the beginning of its layers' names, the longest of which counts.

        Here, layers at a site begin with its name. The code is canonical.
        """
        active = self.active(np.array([code], np.int64))[0]
        return {
            site.name: site.name
            for site in self.sites
            if site.parent is None or (active[site.parent] and code[site.parent] in site.when)
        }

    # -- codes --------------------------------------------------------------------------------------------------------

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """(genes,) options of every gene."""
        return np.array([len(gene.options) for gene in self.genes], np.int64)

    def check(self, code: ArrayLike) -> Code:
        """A code in canonical form; raises NetworkError, naming the gene, for what is none."""
        return tuple(self.check_all(np.asarray(code)[None])[0].tolist())

    def check_all(self, codes: ArrayLike) -> Codes:
        """(n, genes) codes in canonical form; raises like :meth:`check`."""
        found = np.asarray(codes)
        if found.dtype.kind not in "iu" or found.ndim != 2 or found.shape[1] != len(self.genes):
            raise NetworkError(
                f"{self.name}: a code must have {len(self.genes)} integers "
                f"(got shape {found.shape[1:]} of {found.dtype})"
            )
        found = found.astype(np.int64)
        outside = self.active(np.clip(found, 0, self.counts - 1)) & ((found < 0) | (found >= self.counts))
        if outside.any():
            row, i = np.argwhere(outside)[0]
            raise NetworkError(
                f"{self.name}: code[{i}] ({self.genes[i].name}) must be from 0 to {self.counts[i] - 1} "
                f"(got {found[row, i]})"
            )
        return self.canonical(found)

    def active(self, codes: Codes) -> NDArray[np.bool_]:
        """(n, genes) which genes matter."""
        found = np.ones(codes.shape, np.bool_)
        for i, gene in enumerate(self.genes):
            if gene.parent is not None:
                found[:, i] = found[:, gene.parent] & self._admits[i][codes[:, gene.parent]]
        return found

    @cached_property
    def _admits(self) -> list[NDArray[np.bool_]]:
        """By gene and option of its parent, whether the gene matters."""
        found = []
        for gene in self.genes:
            options = 0 if gene.parent is None else len(self.genes[gene.parent].options)
            found.append(np.isin(np.arange(options), list(gene.when)))
        return found

    def canonical(self, codes: Codes) -> Codes:
        """(n, genes) the same networks with zeros where a gene does not matter."""
        return np.where(self.active(codes), codes, 0)

    def digest(self, code: ArrayLike) -> str:
        """A short text that is the same for equal networks, in any process."""
        return hashlib.sha256(f"{self.name} {self.check(code)}".encode()).hexdigest()[:16]

    @cached_property
    def size(self) -> int:
        """How many networks there are, exactly."""
        children: dict[int | None, list[int]] = {}
        for i, gene in enumerate(self.genes):
            children.setdefault(gene.parent, []).append(i)

        def ways(i: int) -> int:
            return sum(
                math.prod(ways(child) for child in children.get(i, []) if option in self.genes[child].when)
                for option in range(len(self.genes[i].options))
            )

        return math.prod(ways(i) for i in children.get(None, []))

    def codes(self) -> Iterator[Code]:
        """All networks, in lexicographic order."""

        def extend(code: list[int], matters: list[bool]) -> Iterator[Code]:
            i = len(code)
            if i == len(self.genes):
                yield tuple(code)
                return
            gene = self.genes[i]
            here = gene.parent is None or (matters[gene.parent] and code[gene.parent] in gene.when)
            for option in range(len(gene.options)) if here else (0,):
                yield from extend([*code, option], [*matters, here])

        return extend([], [])

    # -- moves --------------------------------------------------------------------------------------------------------

    def sample(self, random: np.random.Generator, count: int) -> Codes:
        """(count, genes) networks whose genes are drawn evenly and independently of each other."""
        return self.canonical(random.integers(0, self.counts, (count, len(self.genes))))

    def mutate(self, codes: Codes, random: np.random.Generator, rate: float | None = None) -> Codes:
        """(n, genes) each gene that matters changed to another option with a probability, or exactly one of them.

        Genes that begin to matter are drawn.
        """
        matters = self.active(codes) & (self.counts > 1)
        drawn = random.random(codes.shape)
        if rate is None:
            changed = matters & (drawn == np.where(matters, drawn, -1.0).max(axis=1, keepdims=True))
        else:
            changed = matters & (drawn < rate)
        filled = self._filled(codes, random)
        others = (filled + random.integers(1, np.maximum(2, self.counts), codes.shape)) % self.counts
        return self.canonical(np.where(changed, others, filled))

    def cross(self, mothers: Codes, fathers: Codes, random: np.random.Generator) -> Codes:
        """(n, genes) every gene from one of both parents, or from the one in which it matters."""
        of_mother, of_father = self.active(mothers), self.active(fathers)
        from_mother = np.where(of_mother == of_father, random.random(mothers.shape) < 0.5, of_mother)
        # Depths of one parent and of the other may leave a gene that matters in neither.
        either = np.where(from_mother, mothers, fathers)
        drawn = random.integers(0, self.counts, mothers.shape)
        return self.canonical(np.where(of_mother | of_father, either, drawn))

    def _filled(self, codes: Codes, random: np.random.Generator) -> Codes:
        """Codes with random options where a gene does not matter."""
        return np.where(self.active(codes), codes, random.integers(0, self.counts, codes.shape))

    # -- numbers ------------------------------------------------------------------------------------------------------

    def to_vectors(self, codes: Codes) -> NDArray[np.float64]:
        """(n, genes) points of the unit cube, each in the middle of what stands for its code."""
        return np.asarray((codes + 0.5) / self.counts)

    def from_vectors(self, vectors: NDArray[np.float64]) -> Codes:
        """(n, genes) the codes that points (n, genes) of the unit cube stand for; inverse of :meth:`to_vectors`."""
        vectors = np.asarray(vectors, np.float64)
        if vectors.ndim != 2 or vectors.shape[1] != len(self.genes):
            raise NetworkError(f"{self.name}: vectors must have shape (n, {len(self.genes)}) (got {vectors.shape})")
        if not ((vectors >= 0) & (vectors <= 1)).all():
            raise NetworkError(f"{self.name}: vectors must lie in 0..1")
        return self.canonical(np.minimum((vectors * self.counts).astype(np.int64), self.counts - 1))

    def features(self, codes: Codes, kind: FeatureKind = "one_hot") -> NDArray[np.float64]:
        """(n, features) for predictors: a one per chosen option, or one number in 0..1 per ordered gene.

        Zeros stand for genes that do not matter. Spaces may know better features, which come behind these.
        """
        active = self.active(codes)
        columns = []
        for i, gene in enumerate(self.genes):
            if gene.ordered and kind == "ordinal":
                columns.append(((codes[:, i] + 1) / len(gene.options) * active[:, i])[:, None])
            else:
                columns.append(((codes[:, i, None] == np.arange(len(gene.options))) & active[:, i, None]).astype(float))
        return np.concatenate(columns, axis=1)

    # -- written form -------------------------------------------------------------------------------------------------

    def write(self, code: ArrayLike) -> Any:
        """The network as plain data (text, numbers, lists, mappings); None stands for what does not matter."""
        return self._values(self.check(code))

    def text(self, code: ArrayLike) -> str:
        """What :meth:`write` gives as one line of text, which :meth:`parse` takes: an encoding on the command line."""
        written = self.write(code)
        return written if isinstance(written, str) else json.dumps(written)

    def _values(self, code: Code) -> dict[str, Any]:
        active = self.active(np.array([code], np.int64))[0]
        found: dict[str, Any] = {}
        for gene, option, matters in zip(self.genes, code, active.tolist(), strict=True):
            value = gene.options[option] if matters else None
            group, position = _place(gene)
            if position is None:
                found[group] = value
            else:
                found.setdefault(group, []).append(value)
        return found

    def _decoded(self, written: Any) -> Any:
        """What JSON text says; what is no text as it is."""
        if not isinstance(written, str):
            return written
        try:
            return json.loads(written)
        except ValueError as error:
            raise NetworkError(f"{self.name}: must be JSON ({error})") from None
        except RecursionError:
            raise NetworkError(f"{self.name}: must be JSON (nested too deep)") from None

    def parse(self, written: Any) -> Code:
        """The code of what :meth:`write` gives, or of its JSON.

        Raises NetworkError, naming the value, for anything that is no network of the space. What stands where a gene
        does not matter is ignored.
        """
        written = self._decoded(written)
        if not isinstance(written, Mapping):
            raise NetworkError(f"{self.name}: a network must be a mapping (got {written!r})")
        lengths: dict[str, int | None] = {}
        for gene in self.genes:
            group, position = _place(gene)
            lengths[group] = None if position is None else position + 1
        for key in written:
            if key not in lengths:
                raise NetworkError(f"{self.name}: unknown {key!r}{did_you_mean(str(key), lengths)}")
        lists: dict[str, Sequence[Any]] = {}
        for group, length in lengths.items():
            if group not in written:
                raise NetworkError(f"{self.name}: {group} is missing")
            if length is not None:
                lists[group] = _listed(f"{self.name}: {group}", written[group], length)
        code: list[int] = []
        matters: list[bool] = []
        for gene in self.genes:
            here = gene.parent is None or (matters[gene.parent] and code[gene.parent] in gene.when)
            group, position = _place(gene)
            value = written[group] if position is None else lists[group][position]
            code.append(self._option(gene, value) if here else 0)
            matters.append(here)
        return tuple(code)

    def _option(self, gene: Gene, value: Any) -> int:
        if isinstance(value, np.generic):
            value = value.item()
        for i, option in enumerate(gene.options):
            if _same(option, value):
                return i
        listed = ", ".join(map(str, gene.options))
        raise NetworkError(f"{self.name}: {gene.name} must be one of {listed} (got {value!r})")

    def describe(self, code: ArrayLike) -> str:
        """The network in a few words: the choices of every group, a dash for those that do not matter."""
        parts = []
        for name, value in self._values(self.check(code)).items():
            values = value if isinstance(value, list) else [value]
            parts.append(f"{name} {' '.join('-' if v is None else str(v) for v in values)}")
        return f"{self.name}: {', '.join(parts)}"


def _place(gene: Gene) -> tuple[str, int | None]:
    """The group in the written form and the position in its list."""
    found = _INDEXED.fullmatch(gene.name)
    return (found["group"], int(found["position"])) if found else (gene.name, None)


def _listed(place: str, value: Any, length: int) -> Sequence[Any]:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, list | tuple):
        raise NetworkError(f"{place} must be a list (got {value!r})")
    if len(value) != length:
        raise NetworkError(f"{place} must have {length} values (got {len(value)})")
    return value


def _same(option: Any, value: Any) -> bool:
    """Whether a written value is an option: 1 is neither True nor "1", 0.25 may come in single precision."""
    if isinstance(option, list | tuple) and isinstance(value, list | tuple):
        return len(option) == len(value) and all(map(_same, option, value))
    if isinstance(option, bool) or isinstance(value, bool):
        return option is value
    if isinstance(option, float) and isinstance(value, numbers.Real):
        return math.isclose(option, value, rel_tol=1e-6)
    return type(option) is type(value) and bool(option == value)
