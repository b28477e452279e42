"""Operators: one tensor operation as a loop nest.

An :class:`Operator` is a set of loop dimensions with bounds and a few tensors, each a list of ranks; a rank is an
affine sum of dimension indices with positive coefficients. The cost models know nothing else about it, so any
operation of that form can be costed, whatever its dimensions are called.

The constructors below use one alphabet for all networks, so that a datasheet can say "this axis unrolls K": N batch,
G group, K output channel, C input channel, P/Q output row/column, R/S kernel row/column. Matrix products use the same
letters: P rows, K columns, C the reduction, and G for independent products (attention heads).
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from accelerators.suggestions import did_you_mean

Role = Literal["weights", "inputs", "outputs"]
ROLES: tuple[Role, ...] = ("weights", "inputs", "outputs")

#: A rank: ((dimension, coefficient), ...); its coordinate is the sum of coefficient x index.
Rank = tuple[tuple[str, int], ...]

#: Passes over the inputs of operators that do not multiply and accumulate (a softmax reads its row for the maximum,
#: for the sum and for the division; a normalisation for the moments and for the scaling).
PASSES = {"pool": 1, "elementwise": 1, "normalization": 2, "softmax": 3}


@dataclass(frozen=True)
class Tensor:
    """One operand of an operator.

    ``role`` is the word that datasheets use to say what a level keeps. ``bits`` is the width of a stored word; None
    leaves it to the hardware's native precision.
    """

    name: str
    role: Role
    ranks: tuple[Rank, ...]
    bits: int | None = None

    @cached_property
    def dims(self) -> frozenset[str]:
        """The dimensions that the tensor depends on ("relevant" ones)."""
        return frozenset(dim for rank in self.ranks for dim, _ in rank)

    def extents(self, tile: Mapping[str, int]) -> tuple[int, ...]:
        """Bounding box, one extent per rank, of a tile with the given extent per dimension (absent: 1)."""
        return tuple(1 + sum(c * (tile.get(dim, 1) - 1) for dim, c in rank) for rank in self.ranks)


def distinct_sums(rank: Iterable[tuple[Any, int]], bounds: Mapping[Any, int]) -> int:
    """Number of distinct values of an affine sum over a box of indices.

    Two dimensions: a value is shared by a chain (i, j), (i + b, j - a), .. with a, b the coprime coefficients, so there
    are as many values as pairs without the links of the chains. More: by shifting a bit set.
    """
    active = [(bounds[dim], coefficient) for dim, coefficient in rank if bounds[dim] > 1]
    if len(active) <= 1:
        return math.prod(bound for bound, _ in active)
    if len(active) == 2:
        (m, first), (n, second) = active
        divisor = math.gcd(first, second)
        return m * n - max(0, m - second // divisor) * max(0, n - first // divisor)
    reachable = 1
    for bound, coefficient in active:
        # Doubling: after a step the set holds the shifts 0..covered-1 of the one before.
        covered, base = 1, reachable
        while covered < bound:
            step = min(covered, bound - covered)
            base |= base << (coefficient * step)
            covered += step
        reachable = base
    return reachable.bit_count()


@dataclass(frozen=True)
class Operator:
    """A loop nest over ``bounds`` that touches ``tensors``; the one with role "outputs" comes last and is accumulated.

    ``passes`` is 0 for operators that multiply and accumulate once per iteration. For the others it says how often the
    inputs are streamed (see :data:`PASSES`); they are bound by data movement.

    Operators compare and hash by value: two layers of the same shape are the same operator.

    Raises ValueError, naming the operator's kind, the rule and the value, for anything that is not a loop nest: bounds
    below 1, coefficients below 1, a dimension twice in one tensor, no output, an unknown dimension.
    """

    kind: str
    bounds: tuple[tuple[str, int], ...]
    tensors: tuple[Tensor, ...]
    passes: int = 0
    _by_dim: dict[str, int] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_dim", dict(self.bounds))
        problems = list(self._problems())
        if problems:
            raise ValueError(f"{self.kind}: " + "; ".join(problems))

    def _problems(self) -> Iterable[str]:
        if len(self._by_dim) != len(self.bounds):
            yield f"dimensions must differ (got {[dim for dim, _ in self.bounds]})"
        for dim, bound in self.bounds:
            if not _is_count(bound):
                yield f"bound of {dim} must be an integer >= 1 of at most 62 bits (got {_short(bound)})"
        if [t.role for t in self.tensors].count("outputs") != 1 or self.tensors[-1].role != "outputs":
            yield f"exactly one tensor, the last, must have the role outputs (got {[t.role for t in self.tensors]})"
        if len({t.name for t in self.tensors}) != len(self.tensors):
            yield f"tensor names must differ (got {[t.name for t in self.tensors]})"
        for tensor in self.tensors:
            seen = [dim for rank in tensor.ranks for dim, _ in rank]
            for dim in sorted(set(seen) - set(self._by_dim)):
                yield f"tensor {tensor.name} uses a dimension without a bound (got {dim})"
            for dim in sorted({d for d in seen if seen.count(d) > 1}):
                yield f"a dimension may occur in one rank of a tensor only (got {dim} twice in {tensor.name})"
            for rank in tensor.ranks:
                for dim, coefficient in rank:
                    if not _is_count(coefficient):
                        rule = "must be an integer >= 1 of at most 62 bits"
                        yield f"coefficient of {dim} in {tensor.name} {rule} (got {_short(coefficient)})"
            if tensor.bits is not None and not 1 <= tensor.bits <= 1024:
                yield f"bits of {tensor.name} must be in 1..1024 (got {tensor.bits!r})"

    @property
    def dims(self) -> tuple[str, ...]:
        """Dimension names in declaration order."""
        return tuple(self._by_dim)

    def bound(self, dim: str) -> int:
        """Bound of a dimension; 1 for a dimension that the operator does not have."""
        return self._by_dim.get(dim, 1)

    @property
    def iterations(self) -> int:
        """Product of all bounds."""
        return math.prod(self._by_dim.values())

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations; 0 for operators bound by data movement."""
        return 0 if self.passes else self.iterations

    @property
    def output(self) -> Tensor:
        """The accumulated tensor."""
        return self.tensors[-1]

    @property
    def reduction_dims(self) -> tuple[str, ...]:
        """Dimensions that the output does not depend on."""
        return tuple(dim for dim in self._by_dim if dim not in self.output.dims)

    def tensor(self, name: str) -> Tensor:
        """The tensor with this name (KeyError if there is none)."""
        for tensor in self.tensors:
            if tensor.name == name:
                return tensor
        raise KeyError(name)

    def words(self, tensor: Tensor) -> int:
        """Words in the bounding box of the whole tensor."""
        return math.prod(tensor.extents(self._by_dim))

    def touched_words(self, tensor: Tensor) -> int:
        """Words of the tensor that the loops really touch: the compulsory traffic.

        Less than :meth:`words` where a stride skips positions (a 1x1 kernel with stride 2). Ranks share no dimension,
        so the touched points are the product of the distinct coordinates per rank.
        """
        return math.prod(distinct_sums(rank, self._by_dim) for rank in tensor.ranks)

    @property
    def weight_words(self) -> int:
        """Words of all tensors with the role weights."""
        return sum(self.words(t) for t in self.tensors if t.role == "weights")

    def with_bounds(self, bounds: Mapping[str, int]) -> Operator:
        """The same operator with some bounds replaced (padding)."""
        return replace(self, bounds=tuple((dim, bounds.get(dim, bound)) for dim, bound in self.bounds))

    def with_bits(self, **bits: int) -> Operator:
        """The same operator with word widths by role, e.g. ``with_bits(weights=4, inputs=8)``.

        Raises ValueError for a role that does not exist.
        """
        for role in bits:
            if role not in ROLES:
                raise ValueError(f"bits are given by role, one of {', '.join(ROLES)} (got {role!r})")
        return replace(self, tensors=tuple(replace(t, bits=bits.get(t.role, t.bits)) for t in self.tensors))

    def __str__(self) -> str:
        words = [f"{dim}{bound}" for dim, bound in self.bounds if bound > 1]
        steps = {dim: step for tensor in self.tensors for rank in tensor.ranks for dim, step in rank if step > 1}
        for word, dims in (("stride", ("P", "Q")), ("dilation", ("R", "S"))):
            found = {steps.get(dim, 1) for dim in dims}
            if len(found) == 1 and found != {1}:
                words.append(f"{word}{found.pop()}")
                steps = {dim: step for dim, step in steps.items() if dim not in dims}
        words += [f"{step}{dim}" for dim, step in steps.items() if self.bound(dim) > 1]
        return f"{self.kind}({' '.join(words) or '1'})"


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**62


def _short(value: object) -> str:
    # Python itself refuses to print integers of many digits.
    return f"one of {value.bit_length()} bits" if isinstance(value, int) and abs(value) >= 2**62 else repr(value)


def _pair(value: int | Sequence[int], what: str) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or any(v < 1 for v in pair):
        raise ValueError(f"{what} must be one or two integers >= 1 (got {value!r})")
    return pair[0], pair[1]


def _window(outer: str, inner: str, stride: int, dilation: int) -> Rank:
    return ((outer, stride), (inner, dilation))


def conv2d(
    *,
    K: int,
    C: int,
    P: int,
    Q: int,
    R: int,
    S: int,
    N: int = 1,
    G: int = 1,
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
) -> Operator:
    """Convolution; K and C are channels *per group*, P and Q output rows and columns, R and S kernel rows and columns.

    The input has no explicit padding: its height is ``stride*(P-1) + dilation*(R-1) + 1``, zeros that pad the image
    included. A depthwise convolution has one channel per group (see :func:`depthwise`).
    """
    (sh, sw), (dh, dw) = _pair(stride, "stride"), _pair(dilation, "dilation")
    rows, columns = _window("P", "R", sh, dh), _window("Q", "S", sw, dw)
    return Operator(
        "depthwise" if (C, K) == (1, 1) and G != 1 else "conv2d",
        (("N", N), ("G", G), ("K", K), ("C", C), ("P", P), ("Q", Q), ("R", R), ("S", S)),
        (
            Tensor("weights", "weights", ((("G", 1),), (("K", 1),), (("C", 1),), (("R", 1),), (("S", 1),))),
            Tensor("inputs", "inputs", ((("N", 1),), (("G", 1),), (("C", 1),), rows, columns)),
            Tensor("outputs", "outputs", ((("N", 1),), (("G", 1),), (("K", 1),), (("P", 1),), (("Q", 1),))),
        ),
    )


def depthwise(
    *,
    G: int,
    P: int,
    Q: int,
    R: int,
    S: int,
    N: int = 1,
    multiplier: int = 1,
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
) -> Operator:
    """Depthwise convolution over G channels, each with ``multiplier`` outputs."""
    return conv2d(N=N, G=G, K=multiplier, C=1, P=P, Q=Q, R=R, S=S, stride=stride, dilation=dilation)


def conv_transpose2d(
    *, K: int, C: int, H: int, W: int, R: int, S: int, stride: int | Sequence[int], N: int = 1, G: int = 1
) -> dict[tuple[int, int], Operator]:
    """Transposed convolution of an H x W input without padding, as one ordinary convolution per phase.

    Output row ``o`` receives kernel rows ``r`` with ``r = o (mod stride)``, so the outputs of phase ``(a, b)``,
    ``o = a + stride*p``, are an ordinary stride-1 convolution with the kernel rows ``a, a+stride, ..`` and no zeros in
    between. Returns {(a, b): operator}; the output has ``stride*(H-1) + R`` rows. Phases that no kernel row reaches
    (R < stride) are only zeros and left out.
    """
    sh, sw = _pair(stride, "stride")
    rows = {a: (len(range(a, R, sh)), len(range(a, sh * (H - 1) + R, sh))) for a in range(sh)}
    columns = {b: (len(range(b, S, sw)), len(range(b, sw * (W - 1) + S, sw))) for b in range(sw)}
    return {
        (a, b): conv2d(N=N, G=G, K=K, C=C, P=p, Q=q, R=r, S=s)
        for a, (r, p) in rows.items()
        for b, (s, q) in columns.items()
        if r and s
    }


def matmul(*, P: int, K: int, C: int, N: int = 1) -> Operator:
    """Activations [N, P, C] times weights [C, K]: fully connected layers and projections of transformers."""
    return Operator(
        "matmul",
        (("N", N), ("K", K), ("C", C), ("P", P)),
        (
            Tensor("weights", "weights", ((("K", 1),), (("C", 1),))),
            Tensor("inputs", "inputs", ((("N", 1),), (("P", 1),), (("C", 1),))),
            Tensor("outputs", "outputs", ((("N", 1),), (("P", 1),), (("K", 1),))),
        ),
    )


def batched_matmul(*, G: int, P: int, K: int, C: int) -> Operator:
    """G independent products of two activations, [P, C] times [C, K] (attention scores and their weighted sums).

    The second operand is an activation too; it takes the place, and so the role, of the weights in the hardware, but
    it holds no parameters.
    """
    return Operator(
        "batched_matmul",
        (("G", G), ("K", K), ("C", C), ("P", P)),
        (
            Tensor("operand", "weights", ((("G", 1),), (("K", 1),), (("C", 1),))),
            Tensor("inputs", "inputs", ((("G", 1),), (("P", 1),), (("C", 1),))),
            Tensor("outputs", "outputs", ((("G", 1),), (("P", 1),), (("K", 1),))),
        ),
    )


def attention(*, heads: int, queries: int, keys: int, head_dim: int, N: int = 1) -> dict[str, Operator]:
    """Scaled dot-product attention: scores, softmax and context as {"scores": .., "softmax": .., "context": ..}."""
    return {
        "scores": batched_matmul(G=N * heads, P=queries, K=keys, C=head_dim),
        "softmax": softmax(rows=N * heads * queries, length=keys),
        "context": batched_matmul(G=N * heads, P=queries, K=head_dim, C=keys),
    }


def pool2d(*, K: int, P: int, Q: int, R: int, S: int, N: int = 1, stride: int | Sequence[int] = 1) -> Operator:
    """Pooling over R x S windows of K channels (a global pool has P = Q = 1)."""
    sh, sw = _pair(stride, "stride")
    rows, columns = _window("P", "R", sh, 1), _window("Q", "S", sw, 1)
    return Operator(
        "pool",
        (("N", N), ("K", K), ("P", P), ("Q", Q), ("R", R), ("S", S)),
        (
            Tensor("inputs", "inputs", ((("N", 1),), (("K", 1),), rows, columns)),
            Tensor("outputs", "outputs", ((("N", 1),), (("K", 1),), (("P", 1),), (("Q", 1),))),
        ),
        passes=PASSES["pool"],
    )


def elementwise(*shape: int, operands: int = 1, kind: str = "elementwise") -> Operator:
    """An operation on each element of ``operands`` tensors of one shape: activation, addition, product.

    ``kind`` may name it more closely ("relu", "add"); it only serves the reader.
    """
    return _streamed(kind, math.prod(shape), 1, PASSES["elementwise"], operands)


def softmax(*, rows: int, length: int) -> Operator:
    """Softmax over ``rows`` vectors of ``length``."""
    return _streamed("softmax", rows, length, PASSES["softmax"])


def normalization(*, rows: int, length: int) -> Operator:
    """Layer, group or unfolded batch normalisation: ``rows`` groups of ``length`` elements that share moments."""
    return _streamed("normalization", rows, length, PASSES["normalization"])


def _streamed(kind: str, rows: int, length: int, passes: int, operands: int = 1) -> Operator:
    ranks: tuple[Rank, ...] = ((("N", 1),), (("K", 1),))
    inputs = ["inputs", *(f"inputs{i}" for i in range(1, operands))]
    return Operator(
        kind,
        (("N", rows), ("K", length)),
        (*(Tensor(name, "inputs", ranks) for name in inputs), Tensor("outputs", "outputs", ranks)),
        passes=passes,
    )


_SETTING = re.compile(r"(?P<name>[A-Za-z_]+)=?(?P<value>[0-9]+)")
_MOST_DIGITS = 18
_WRITTEN = re.compile(r"\s*(?P<kind>[a-z]\w*)\s*\((?P<settings>.*)\)\s*")
_BUILDERS: dict[str, Callable[..., Operator]] = {
    "conv2d": conv2d,
    "depthwise": depthwise,
    "matmul": matmul,
    "batched_matmul": batched_matmul,
}


def parse_operator(text: str) -> Operator | None:
    """The operator written as ``conv2d(K=64, C=64, P=56, Q=56, R=3, S=3, stride=2)``; None if it is not written so.

    Kinds are conv2d, depthwise, matmul and batched_matmul, settings those of the functions of these names. R and S are
    1 if not given; so is all that is not given in the form in which operators are printed, without ``=``. Raises
    ValueError, with what is expected, for an unknown kind and for missing, unknown or wrong settings.
    """
    match = _WRITTEN.fullmatch(text)
    if not match:
        return None
    build = _BUILDERS.get(match["kind"])
    if build is None:
        known = ", ".join(_BUILDERS)
        raise ValueError(f"an operator is one of {known} (got {match['kind']}){did_you_mean(match['kind'], _BUILDERS)}")
    settings: dict[str, int] = {}
    for word in match["settings"].replace(",", " ").split():
        setting = _SETTING.fullmatch(word)
        if not setting or setting["name"] in settings:
            raise ValueError(f"{match['kind']}: settings are NAME=NUMBER, each once (got {word!r})")
        if len(setting["value"]) > _MOST_DIGITS:
            rule = f"{setting['name']} must have at most {_MOST_DIGITS} digits"
            raise ValueError(f"{match['kind']}: {rule} (got {len(setting['value'])})")
        settings[setting["name"]] = int(setting["value"])
    parameters = inspect.signature(build).parameters
    printed = bool(settings) and "=" not in match["settings"]
    for name in parameters:
        if name in ("R", "S") or (printed and len(name) == 1):
            settings.setdefault(name, 1)
    for name in settings:
        if name not in parameters:
            raise ValueError(f"{match['kind']}: settings are {', '.join(parameters)} (got {name})")
    missing = [n for n, p in parameters.items() if p.default is inspect.Parameter.empty and n not in settings]
    if missing:
        raise ValueError(f"{match['kind']}: needs {', '.join(missing)} (got {text.strip()!r})")
    return build(**settings)
