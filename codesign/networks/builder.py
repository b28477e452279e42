"""Builder: write a network down the way its paper does, with shapes tracked and checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from accelerators import operators
from accelerators.operators import Operator, elementwise
from codesign.networks.graph import Network, NetworkError, elements
from codesign.networks.streams import pointwise

#: Activation functions; all cost one pass over their input.
ACTIVATIONS = frozenset({"relu", "relu6", "hswish", "hsigmoid", "sigmoid", "swish", "gelu", "tanh"})

Pair = int | tuple[int, int]


@dataclass(frozen=True)
class Value:
    """A tensor between layers: its shape without the batch, and the layers that produce it.

    Shapes are [channels, height, width], [tokens, features] or [features]. A concatenation has several producers, an
    input of the network none.
    """

    shape: tuple[int, ...]
    sources: tuple[str, ...] = ()


class Builder:
    """Adds layers to ``network``; every method takes and returns a :class:`Value`.

    Mistakes raise NetworkError (a ValueError) that names the layer. Batch normalisation is folded into the convolution
    before it: its two trained values per channel are counted there, and it costs nothing.
    """

    def __init__(self, name: str, batch: int = 1) -> None:
        self.network = Network(name)
        self.batch = self._positive("batch", batch)

    # -- inputs and views ---------------------------------------------------------------------------------------------

    def input(self, *shape: int) -> Value:
        """An input of the network (its shape without the batch)."""
        return Value(tuple(self._positive("input size", extent) for extent in shape))

    def reshape(self, x: Value, *shape: int, name: str = "reshape") -> Value:
        """The same words in another shape."""
        if elements(shape) != elements(x.shape):
            raise self._error(name, f"cannot view {_show(x)} as {list(shape)}")
        return replace(x, shape=shape)

    def flatten(self, x: Value) -> Value:
        """All words as one vector of features."""
        return replace(x, shape=(elements(x.shape),))

    def tokens(self, x: Value) -> Value:
        """An image [C, H, W] as H*W tokens of C features."""
        channels, height, width = self._image(x, "tokens")
        return replace(x, shape=(height * width, channels))

    def crop(self, x: Value, *shape: int, name: str = "crop") -> Value:
        """A part of a tensor, with the given extent on each axis."""
        if len(shape) != len(x.shape) or any(
            not 1 <= part <= whole for part, whole in zip(shape, x.shape, strict=True)
        ):
            raise self._error(name, f"cannot take {list(shape)} out of {_show(x)}")
        return replace(x, shape=shape)

    def concat(self, *values: Value, axis: int = 0, name: str = "concat") -> Value:
        """Tensors side by side along an axis (0: channels of images, tokens of sequences)."""
        first = values[0].shape
        if any(_without(v.shape, axis) != _without(first, axis) for v in values):
            raise self._error(name, f"shapes differ off axis {axis}: {', '.join(map(_show, values))}")
        joined = (*first[:axis], sum(v.shape[axis] for v in values), *first[axis + 1 :])
        return Value(joined, tuple(dict.fromkeys(source for v in values for source in v.sources)))

    # -- layers that multiply and accumulate --------------------------------------------------------------------------

    def conv(
        self,
        x: Value,
        name: str,
        *,
        K: int,
        kernel: Pair,
        stride: Pair = 1,
        padding: Pair | Literal["same"] = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool | None = None,
        bn: bool = False,
        activation: str | None = None,
    ) -> Value:
        """Convolution to K channels, with folded batch normalisation (``bn``) and an activation layer if asked for.

        ``padding`` is that of PyTorch (both sides), or "same" (TensorFlow: ``ceil(size / stride)`` outputs). A bias is
        there unless batch normalisation follows, or as ``bias`` says.
        """
        channels, *size = self._image(x, name)
        for extent in (K, *_pair(kernel), *_pair(stride), *_pair(dilation)):
            self._positive(name, extent)
        if groups < 1 or channels % groups or K % groups:
            raise self._error(name, f"groups must divide {channels} input and {K} output channels (got {groups})")
        (R, S), strides, dilations = _pair(kernel), _pair(stride), _pair(dilation)
        if padding == "same":
            P, Q = (math.ceil(extent / step) for extent, step in zip(size, strides, strict=True))
        else:
            P, Q = (
                (extent + 2 * pad - step * (taps - 1) - 1) // move + 1
                for extent, pad, step, taps, move in zip(size, _pair(padding), dilations, (R, S), strides, strict=True)
            )
        if P < 1 or Q < 1:
            raise self._error(name, f"a {R}x{S} kernel does not fit into {_show(x)}")
        operator = operators.conv2d(
            N=self.batch, G=groups, K=K // groups, C=channels // groups, P=P, Q=Q, R=R, S=S,
            stride=strides, dilation=dilations,
        )  # fmt: skip
        parameters = operator.weight_words + K * (not bn if bias is None else bias) + 2 * K * bn
        y = self._add(name, operator, {"inputs": x}, (K, P, Q), parameters, bn)
        return self.activation(y, f"{name}.{activation}", activation) if activation else y

    def conv_transpose(self, x: Value, name: str, *, K: int, kernel: Pair, stride: Pair, bias: bool = True) -> Value:
        """Transposed convolution without padding, as one ordinary convolution per phase: ``name.phase0_1``, ..."""
        channels, height, width = self._image(x, name)
        for extent in (K, *_pair(kernel), *_pair(stride)):
            self._positive(name, extent)
        (R, S), (sh, sw) = _pair(kernel), _pair(stride)
        phases = operators.conv_transpose2d(N=self.batch, K=K, C=channels, H=height, W=width, R=R, S=S, stride=(sh, sw))
        sources: tuple[str, ...] = ()
        for (a, b), operator in phases.items():
            # The phases share one bias; it is counted with the first of them.
            parameters = operator.weight_words + (K if bias and not sources else 0)
            y = self._add(f"{name}.phase{a}_{b}", operator, {"inputs": x}, (), parameters)
            sources += y.sources
        return Value((K, sh * (height - 1) + R, sw * (width - 1) + S), sources)

    def linear(
        self,
        x: Value,
        name: str,
        *,
        K: int,
        bias: bool = True,
        shared: bool = False,
        activation: str | None = None,
    ) -> Value:
        """Fully connected layer over the last axis; ``shared`` weights belong to another layer and count there."""
        *rows, features = x.shape
        operator = operators.matmul(N=self.batch, P=elements(rows), K=self._positive(name, K), C=features)
        parameters = (0 if shared else operator.weight_words) + K * bias
        y = self._add(name, operator, {"inputs": x}, (*rows, K), parameters)
        return self.activation(y, f"{name}.{activation}", activation) if activation else y

    def attention(self, q: Value, k: Value, v: Value, name: str, *, heads: int) -> Value:
        """Scaled dot-product attention of [tokens, features] tensors: ``name.scores``, ``.softmax``, ``.context``.

        All products are computed, a causal mask saves nothing; scaling and masking belong to the softmax.
        """
        if len({t.shape[1:] for t in (q, k, v)}) > 1 or k.shape != v.shape or len(q.shape) != 2:
            raise self._error(name, f"queries {_show(q)}, keys {_show(k)} and values {_show(v)} do not match")
        (queries, features), keys = q.shape, k.shape[0]
        if heads < 1 or features % heads:
            raise self._error(name, f"heads must divide {features} features (got {heads})")
        steps = operators.attention(heads=heads, queries=queries, keys=keys, head_dim=features // heads, N=self.batch)
        square = (heads, queries, keys)
        scores = self._add(f"{name}.scores", steps["scores"], {"inputs": q, "operand": k}, square)
        weights = self._add(f"{name}.softmax", steps["softmax"], {"inputs": scores}, square)
        return self._add(f"{name}.context", steps["context"], {"inputs": weights, "operand": v}, q.shape)

    # -- layers bound by data movement --------------------------------------------------------------------------------

    def activation(self, x: Value, name: str, kind: str) -> Value:
        """An activation function, one of :data:`ACTIVATIONS`."""
        if kind not in ACTIVATIONS:
            raise self._error(name, f"activation must be one of {', '.join(sorted(ACTIVATIONS))} (got {kind!r})")
        return self._add(name, elementwise(self.batch, *x.shape, kind=kind), {"inputs": x}, x.shape)

    def zeros(self, x: Value, name: str) -> Value:
        """Zeros in the shape of x. The operator reads x, because eager frameworks compute them as x * 0."""
        return self._add(name, elementwise(self.batch, *x.shape, kind="zero"), {"inputs": x}, x.shape)

    def add(self, name: str, *values: Value) -> Value:
        """Sum of tensors of one shape."""
        if len({v.shape for v in values}) != 1:
            raise self._error(name, f"shapes differ: {', '.join(map(_show, values))}")
        return self._pointwise("add", name, values)

    def mul(self, name: str, x: Value, scale: Value) -> Value:
        """Product with a tensor of the same shape, or with one factor per channel (squeeze-excite)."""
        if scale.shape not in (x.shape, (x.shape[0], *(1 for _ in x.shape[1:]))):
            raise self._error(name, f"{_show(scale)} does not scale {_show(x)}")
        return self._pointwise("mul", name, (x, scale))

    def add_trained(self, x: Value, name: str, *, parameters: int | None = None) -> Value:
        """Sum with trained values of the same shape (position embeddings); ``parameters`` if there are more of them."""
        operator = pointwise("add", (self.batch, *x.shape), [(self.batch, *x.shape)], [x.shape])
        return self._add(name, operator, {"inputs": x}, x.shape, parameters or elements(x.shape))

    def pool(
        self,
        x: Value,
        name: str,
        *,
        kernel: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        ceil: bool = False,
    ) -> Value:
        """Maximum or average pooling; ``ceil`` keeps windows that hang over the edge."""
        channels, *size = self._image(x, name)
        R, S = _pair(kernel)
        strides = _pair(stride or (R, S))
        outputs = []
        for extent, taps, move, pad in zip(size, (R, S), strides, _pair(padding), strict=True):
            reach = extent + 2 * pad - taps
            count = (math.ceil(reach / move) if ceil else reach // move) + 1
            if ceil and (count - 1) * move >= extent + pad:
                count -= 1  # PyTorch's rule: a window must start inside the image or its left padding
            outputs.append(count)
        P, Q = outputs
        if P < 1 or Q < 1:
            raise self._error(name, f"a {R}x{S} window does not fit into {_show(x)}")
        operator = operators.pool2d(N=self.batch, K=channels, P=P, Q=Q, R=R, S=S, stride=strides)
        return self._add(name, operator, {"inputs": x}, (channels, P, Q))

    def global_pool(self, x: Value, name: str) -> Value:
        """Average of each channel, as [channels, 1, 1]."""
        _, height, width = self._image(x, name)
        return self.pool(x, name, kernel=(height, width), stride=1)

    def adaptive_pool(self, x: Value, name: str, size: int) -> Value:
        """Pooling to size x size outputs (PyTorch's adaptive pooling); nothing to do if the image has that size."""
        _, *extents = self._image(x, name)
        if extents == [size, size]:
            return x
        if min(extents) < size:
            raise self._error(name, f"cannot pool {_show(x)} to {size}x{size}")
        steps = [extent // size for extent in extents]
        windows = [extent - step * (size - 1) for extent, step in zip(extents, steps, strict=True)]
        return self.pool(x, name, kernel=(windows[0], windows[1]), stride=(steps[0], steps[1]))

    def layernorm(self, x: Value, name: str) -> Value:
        """Layer normalisation over the last axis, with scale and shift."""
        *rows, features = x.shape
        operator = operators.normalization(rows=self.batch * elements(rows), length=features)
        return self._add(name, operator, {"inputs": x}, x.shape, 2 * features)

    def local_response_norm(self, x: Value, name: str) -> Value:
        """Normalisation of each pixel by its neighbouring channels (AlexNet)."""
        channels, height, width = self._image(x, name)
        operator = operators.normalization(rows=self.batch * height * width, length=channels)
        return self._add(name, operator, {"inputs": x}, x.shape)

    def softmax(self, x: Value, name: str) -> Value:
        """Softmax over the last axis."""
        *rows, length = x.shape
        operator = operators.softmax(rows=self.batch * elements(rows), length=length)
        return self._add(name, operator, {"inputs": x}, x.shape)

    def embedding(self, name: str, *, tokens: int, rows: int, features: int) -> Value:
        """Look up ``tokens`` vectors in a table of ``rows``: moves tokens x features words."""
        tokens = self._positive(name, tokens)
        operator = elementwise(self.batch, tokens, features, kind="embedding")
        return self._add(name, operator, {}, (tokens, features), rows * features)

    # -- helpers ------------------------------------------------------------------------------------------------------

    def _pointwise(self, kind: str, name: str, values: Sequence[Value]) -> Value:
        shapes = [(self.batch, *v.shape) for v in values]
        named = {f"inputs{i}" if i else "inputs": v for i, v in enumerate(values)}
        return self._add(name, pointwise(kind, shapes[0], shapes), named, values[0].shape)

    def _add(
        self,
        name: str,
        operator: Operator,
        operands: dict[str, Value],
        shape: tuple[int, ...],
        parameters: int = 0,
        batch_norm: bool = False,
    ) -> Value:
        sources = {tensor: v.sources for tensor, v in operands.items()}
        self.network.add(name, operator, sources, parameters, batch_norm)
        return Value(shape, (name,))

    def _image(self, x: Value, name: str) -> tuple[int, int, int]:
        if len(x.shape) != 3:
            raise self._error(name, f"needs an image [channels, height, width] (got {_show(x)})")
        return x.shape[0], x.shape[1], x.shape[2]

    def _positive(self, name: str, value: int) -> int:
        if not isinstance(value, int) or value < 1:
            raise self._error(name, f"must be an integer >= 1 (got {value!r})")
        return value

    def _error(self, name: str, problem: str) -> NetworkError:
        return NetworkError(f"{self.network.name}: {name}: {problem}")


def _pair(value: Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def _show(value: Value) -> str:
    return f"[{', '.join(map(str, value.shape))}]"


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return shape[:axis] + shape[axis + 1 :]
