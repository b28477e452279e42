"""What a layer computes, as far as its operator does not say: padding, biases, what a pooling takes of a window.

Costs depend on operators alone. A :class:`Computation` is there for those who run the network (:mod:`.torch_module`) or
write it down for others (:mod:`.onnx_export`). The builder records one per layer; networks from ONNX files have none.

Shapes are without the batch: [channels, height, width], [tokens, features] or [features].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

Pooling = Literal["max", "average"]


@dataclass(frozen=True)
class Value:
    """A tensor between layers: its shape without the batch, and the layers that produce it.

    Shapes are [channels, height, width], [tokens, features] or [features]. A concatenation has several producers, an
    input of the network none. ``view`` says how its words follow from what layers write; None if that is not known.
    """

    shape: tuple[int, ...]
    sources: tuple[str, ...] = ()
    view: View | None = None


# -- views: no work ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Input:
    """The network's input with this position."""

    index: int


@dataclass(frozen=True)
class Output:
    """What a layer writes."""

    layer: str


@dataclass(frozen=True)
class Trained:
    """Trained values that depend on no input (a class token)."""

    name: str


@dataclass(frozen=True)
class Reshape:
    """The same words in another shape."""

    x: Value


@dataclass(frozen=True)
class Tokens:
    """An image [C, H, W] as H*W tokens of C features."""

    x: Value


@dataclass(frozen=True)
class Crop:
    """The part of a tensor that begins at ``start``, one position per axis."""

    x: Value
    start: tuple[int, ...]


@dataclass(frozen=True)
class Concat:
    """Tensors side by side along an axis."""

    values: tuple[Value, ...]
    axis: int


View = Input | Output | Trained | Reshape | Tokens | Crop | Concat


# -- computations -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Convolution:
    """Convolution to K channels; ``padding`` is (top, bottom, left, right), ``bn`` a normalisation that follows."""

    x: Value
    K: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]
    groups: int
    bias: bool
    bn: bool


@dataclass(frozen=True)
class TransposedConvolution:
    """Transposed convolution without padding, all phases."""

    x: Value
    K: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    bias: bool


@dataclass(frozen=True)
class Phase:
    """A phase of the transposed convolution that another layer, the first phase, stands for."""

    layer: str


@dataclass(frozen=True)
class Linear:
    """Fully connected layer over the last axis; ``shared`` names the layer that owns the weights [K, features]."""

    x: Value
    K: int
    bias: bool
    shared: str | None


@dataclass(frozen=True)
class Scores:
    """Products of queries and keys per head, [heads, queries, keys], without scaling."""

    q: Value
    k: Value
    heads: int


@dataclass(frozen=True)
class AttentionWeights:
    """Softmax over the keys of scaled scores; with ``causal`` the last query sees all keys, others no later ones."""

    scores: Value
    scale: float
    causal: bool


@dataclass(frozen=True)
class Context:
    """Sums of values by attention weights, heads side by side: [queries, features]."""

    weights: Value
    v: Value
    heads: int


@dataclass(frozen=True)
class Activation:
    """An activation function; ``bn`` is a normalisation before it."""

    x: Value
    kind: str
    bn: bool


@dataclass(frozen=True)
class Zeros:
    """Zeros in the shape of x."""

    x: Value


@dataclass(frozen=True)
class Sum:
    """Sum of tensors of one shape."""

    values: tuple[Value, ...]


@dataclass(frozen=True)
class Product:
    """Product with a tensor of the same shape, or with one factor per channel."""

    x: Value
    scale: Value


@dataclass(frozen=True)
class TrainedSum:
    """Sum with trained values of the same shape."""

    x: Value


@dataclass(frozen=True)
class Pool:
    """Pooling over windows; an average is over what a window covers of the image, without its padding.

    ``kind`` is None where whoever built the network did not say.
    """

    x: Value
    kind: Pooling | None
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    ceil: bool


@dataclass(frozen=True)
class AdaptivePool:
    """Average pooling to size x size outputs, PyTorch's windows."""

    x: Value
    size: int


@dataclass(frozen=True)
class LayerNorm:
    """Layer normalisation over the last axis, with scale and shift."""

    x: Value


@dataclass(frozen=True)
class BatchNorm:
    """Batch normalisation that follows on no convolution."""

    x: Value


@dataclass(frozen=True)
class LocalResponseNorm:
    """Normalisation of each pixel by ``size`` neighbouring channels."""

    x: Value
    size: int


@dataclass(frozen=True)
class Softmax:
    """Softmax over the last axis."""

    x: Value


@dataclass(frozen=True)
class Embedding:
    """Rows of a table, by the indices of an input, or with ``first`` the rows from that one on (positions)."""

    tokens: int
    rows: int
    features: int
    indices: Value | None
    first: int | None


@dataclass(frozen=True)
class Shuffle:
    """Channels of ``groups`` groups interleaved."""

    x: Value
    groups: int


@dataclass(frozen=True)
class Repeated:
    """What another layer computes, with its trained values, of tensors of its own: ``made`` says which."""

    layer: str
    made: Linear | LayerNorm | Embedding


Computation = (
    Convolution
    | TransposedConvolution
    | Phase
    | Linear
    | Scores
    | AttentionWeights
    | Context
    | Activation
    | Zeros
    | Sum
    | Product
    | TrainedSum
    | Pool
    | AdaptivePool
    | LayerNorm
    | BatchNorm
    | LocalResponseNorm
    | Softmax
    | Embedding
    | Shuffle
    | Repeated
)


def operands(made: Computation) -> tuple[Value, ...]:
    """The tensors that a layer reads, in the order in which its module takes them."""
    match made:
        case Scores(q, k):
            return q, k
        case AttentionWeights(scores):
            return (scores,)
        case Context(weights, v):
            return weights, v
        case Sum(values):
            return values
        case Product(x, scale):
            return x, scale
        case Embedding(indices=indices):
            return () if indices is None else (indices,)
        case Phase():
            return ()
        case Repeated(made=repeated):
            return operands(repeated)
    return (made.x,)


def computed(made: Computation | None) -> Computation | None:
    """What a layer computes, whoever owns its trained values."""
    return made.made if isinstance(made, Repeated) else made


def rewired(made: Computation, prefix: str, inputs: Sequence[Value]) -> Computation:
    """The computation in a larger network, where layers have a ``prefix`` and ``inputs`` stand for the inputs."""

    def moved(value: Value) -> Value:
        match value.view:
            case Input(index):
                return inputs[index]
            case Output(layer):
                return Value(value.shape, (prefix + layer,), Output(prefix + layer))
            case Reshape(x) | Tokens(x) | Crop(x):
                x = moved(x)
                return Value(value.shape, x.sources, replace(value.view, x=x))
            case Concat(values, axis):
                return concat([moved(part) for part in values], axis)
        return value

    changes: dict[str, Any] = {}
    for field in fields(made):
        value = getattr(made, field.name)
        if isinstance(value, Value):
            changes[field.name] = moved(value)
        elif field.name == "values":
            changes[field.name] = tuple(map(moved, value))
        elif field.name in ("shared", "layer") and value is not None:
            changes[field.name] = prefix + value
    return replace(made, **changes)


def concat(values: Sequence[Value], axis: int) -> Value:
    """Tensors side by side along an axis; one alone is itself."""
    if len(values) == 1:
        return values[0]
    first = values[0].shape
    shape = (*first[:axis], sum(value.shape[axis] for value in values), *first[axis + 1 :])
    return Value(shape, tuple(dict.fromkeys(s for value in values for s in value.sources)), Concat(tuple(values), axis))


def reads(value: Value) -> list[str]:
    """The layers whose outputs are needed to make a tensor."""
    match value.view:
        case Output(layer):
            return [layer]
        case Reshape(x) | Tokens(x) | Crop(x):
            return reads(x)
        case Concat(values):
            return [layer for v in values for layer in reads(v)]
    return []


def is_unknown(value: Value) -> bool:
    """Whether a tensor was made by hand, so that nobody said how."""
    match value.view:
        case None:
            return True
        case Reshape(x) | Tokens(x) | Crop(x):
            return is_unknown(x)
        case Concat(values):
            return any(map(is_unknown, values))
    return False
