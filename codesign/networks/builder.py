"""Builder: write a network down the way its paper does, with shapes tracked and checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from accelerators import operators
from accelerators.operators import Operator, elementwise
from codesign.networks import computation as compute
from codesign.networks.computation import Computation, Pooling, Value
from codesign.networks.graph import Network, NetworkError, elements
from codesign.networks.streams import movement, pointwise

#: Activation functions; all cost one pass over their input.
ACTIVATIONS = frozenset({"relu", "relu6", "hswish", "hsigmoid", "sigmoid", "swish", "gelu", "tanh"})

Pair = int | tuple[int, int]


class Builder:
    """Adds layers to ``network``; every method takes and returns a :class:`Value`.

    Mistakes raise NetworkError (a ValueError) that names the layer. Batch normalisation is folded into the convolution
    before it: its two trained values per channel are counted there, and it costs nothing.
    """

    def __init__(self, name: str, batch: int = 1) -> None:
        self.network = Network(name)
        self.network.batch = self.batch = self._positive("batch", batch)

    # -- inputs and views ---------------------------------------------------------------------------------------------

    def input(self, *shape: int) -> Value:
        """An input of the network (its shape without the batch)."""
        extents = tuple(self._positive("input size", extent) for extent in shape)
        inputs = self.network.inputs
        inputs.append(Value(extents, (), compute.Input(len(inputs))))
        return inputs[-1]

    def trained(self, name: str, *shape: int) -> Value:
        """A trained tensor that is put beside activations (a class token); the next layer counts its parameters."""
        self.network.trained[name] = tuple(self._positive(name, extent) for extent in shape)
        return Value(self.network.trained[name], (), compute.Trained(name))

    def reshape(self, x: Value, *shape: int, name: str = "reshape") -> Value:
        """The same words in another shape."""
        if elements(shape) != elements(x.shape):
            raise self._error(name, f"cannot view {_show(x)} as {list(shape)}")
        return Value(shape, x.sources, compute.Reshape(x))

    def flatten(self, x: Value) -> Value:
        """All words as one vector of features."""
        return Value((elements(x.shape),), x.sources, compute.Reshape(x))

    def tokens(self, x: Value) -> Value:
        """An image [C, H, W] as H*W tokens of C features."""
        channels, height, width = self._image(x, "tokens")
        return Value((height * width, channels), x.sources, compute.Tokens(x))

    def crop(self, x: Value, *shape: int, start: Sequence[int] = (), name: str = "crop") -> Value:
        """A part of a tensor, with the given extent on each axis, from ``start`` (by default the beginning) on."""
        if len(shape) != len(x.shape) or any(
            not 1 <= part <= whole for part, whole in zip(shape, x.shape, strict=True)
        ):
            raise self._error(name, f"cannot take {list(shape)} out of {_show(x)}")
        begin = tuple(start) or (0,) * len(shape)
        if len(begin) != len(shape) or any(
            not 0 <= first <= whole - part for first, part, whole in zip(begin, shape, x.shape, strict=True)
        ):
            raise self._error(name, f"cannot take {list(shape)} out of {_show(x)} from {list(begin)} on")
        return Value(shape, x.sources, compute.Crop(x, begin))

    def concat(self, *values: Value, axis: int = 0, name: str = "concat") -> Value:
        """Tensors side by side along an axis (0: channels of images, tokens of sequences)."""
        first = values[0].shape
        if any(_without(v.shape, axis) != _without(first, axis) for v in values):
            raise self._error(name, f"shapes differ off axis {axis}: {', '.join(map(_show, values))}")
        joined = (*first[:axis], sum(v.shape[axis] for v in values), *first[axis + 1 :])
        sources = tuple(dict.fromkeys(source for v in values for source in v.sources))
        return Value(joined, sources, compute.Concat(values, axis))

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
            zeros = [
                max(0, move * (outputs - 1) + step * (taps - 1) + 1 - extent)
                for extent, outputs, step, taps, move in zip(size, (P, Q), dilations, (R, S), strides, strict=True)
            ]
            # TensorFlow's rule: the odd row comes last.
            pads = (zeros[0] // 2, zeros[0] - zeros[0] // 2, zeros[1] // 2, zeros[1] - zeros[1] // 2)
        else:
            pads = (_pair(padding)[0], _pair(padding)[0], _pair(padding)[1], _pair(padding)[1])
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
        bias = not bn if bias is None else bias
        parameters = operator.weight_words + K * bias + 2 * K * bn
        made = compute.Convolution(x, K, (R, S), strides, pads, dilations, groups, bias, bn)
        y = self._add(name, operator, {"inputs": x}, (K, P, Q), made, parameters, bn)
        return self.activation(y, f"{name}.{activation}", activation) if activation else y

    def conv_transpose(self, x: Value, name: str, *, K: int, kernel: Pair, stride: Pair, bias: bool = True) -> Value:
        """Transposed convolution without padding, as one ordinary convolution per phase: ``name.phase0_1``, ..."""
        channels, height, width = self._image(x, name)
        for extent in (K, *_pair(kernel), *_pair(stride)):
            self._positive(name, extent)
        (R, S), (sh, sw) = _pair(kernel), _pair(stride)
        phases = operators.conv_transpose2d(N=self.batch, K=K, C=channels, H=height, W=width, R=R, S=S, stride=(sh, sw))
        whole = compute.TransposedConvolution(x, K, (R, S), (sh, sw), bias)
        sources: tuple[str, ...] = ()
        for (a, b), operator in phases.items():
            # The phases share one bias; it is counted with the first of them.
            parameters = operator.weight_words + (K if bias and not sources else 0)
            made = compute.Phase(sources[0]) if sources else whole
            y = self._add(f"{name}.phase{a}_{b}", operator, {"inputs": x}, (), made, parameters)
            sources += y.sources
        return Value((K, sh * (height - 1) + R, sw * (width - 1) + S), sources, compute.Output(sources[0]))

    def linear(
        self,
        x: Value,
        name: str,
        *,
        K: int,
        bias: bool = True,
        shared: str | None = None,
        activation: str | None = None,
    ) -> Value:
        """Fully connected layer over the last axis; ``shared`` names the layer whose weights it takes, if it does."""
        *rows, features = x.shape
        operator = operators.matmul(N=self.batch, P=elements(rows), K=self._positive(name, K), C=features)
        parameters = (0 if shared else operator.weight_words) + K * bias
        y = self._add(name, operator, {"inputs": x}, (*rows, K), compute.Linear(x, K, bias, shared), parameters)
        return self.activation(y, f"{name}.{activation}", activation) if activation else y

    def attention(self, q: Value, k: Value, v: Value, name: str, *, heads: int, causal: bool = False) -> Value:
        """Scaled dot-product attention of [tokens, features] tensors: ``name.scores``, ``.softmax``, ``.context``.

        With ``causal`` no query sees the keys of later ones; the last query is that of the last key.
        All products are computed, a causal mask saves nothing; scaling and masking belong to the softmax.
        """
        if len({t.shape[1:] for t in (q, k, v)}) > 1 or k.shape != v.shape or len(q.shape) != 2:
            raise self._error(name, f"queries {_show(q)}, keys {_show(k)} and values {_show(v)} do not match")
        (queries, features), keys = q.shape, k.shape[0]
        if heads < 1 or features % heads:
            raise self._error(name, f"heads must divide {features} features (got {heads})")
        steps = operators.attention(heads=heads, queries=queries, keys=keys, head_dim=features // heads, N=self.batch)
        square = (heads, queries, keys)
        made: Computation = compute.Scores(q, k, heads)
        scores = self._add(f"{name}.scores", steps["scores"], {"inputs": q, "operand": k}, square, made)
        made = compute.AttentionWeights(scores, (features // heads) ** -0.5, causal)
        weights = self._add(f"{name}.softmax", steps["softmax"], {"inputs": scores}, square, made)
        made = compute.Context(weights, v, heads)
        return self._add(f"{name}.context", steps["context"], {"inputs": weights, "operand": v}, q.shape, made)

    # -- layers bound by data movement --------------------------------------------------------------------------------

    def activation(self, x: Value, name: str, kind: str, *, bn: bool = False) -> Value:
        """An activation function, one of :data:`ACTIVATIONS`.

        ``bn`` puts a batch normalisation before it that follows on no convolution: it is folded into the same pass.
        """
        if kind not in ACTIVATIONS:
            raise self._error(name, f"activation must be one of {', '.join(sorted(ACTIVATIONS))} (got {kind!r})")
        operator = elementwise(self.batch, *x.shape, kind=kind)
        made = compute.Activation(x, kind, bn)
        return self._add(name, operator, {"inputs": x}, x.shape, made, 2 * x.shape[0] * bn)

    def zeros(self, x: Value, name: str) -> Value:
        """Zeros in the shape of x. The operator reads x, because eager frameworks compute them as x * 0."""
        operator = elementwise(self.batch, *x.shape, kind="zero")
        return self._add(name, operator, {"inputs": x}, x.shape, compute.Zeros(x))

    def add(self, name: str, *values: Value) -> Value:
        """Sum of tensors of one shape."""
        if len({v.shape for v in values}) != 1:
            raise self._error(name, f"shapes differ: {', '.join(map(_show, values))}")
        return self._pointwise("add", name, values, compute.Sum(values))

    def mul(self, name: str, x: Value, scale: Value) -> Value:
        """Product with a tensor of the same shape, or with one factor per channel (squeeze-excite)."""
        if scale.shape not in (x.shape, (x.shape[0], *(1 for _ in x.shape[1:]))):
            raise self._error(name, f"{_show(scale)} does not scale {_show(x)}")
        return self._pointwise("mul", name, (x, scale), compute.Product(x, scale))

    def add_trained(self, x: Value, name: str, *, parameters: int | None = None) -> Value:
        """Sum with trained values of the same shape (position embeddings); ``parameters`` if there are more of them."""
        operator = pointwise("add", (self.batch, *x.shape), [(self.batch, *x.shape)], [x.shape])
        counted = parameters or elements(x.shape)
        return self._add(name, operator, {"inputs": x}, x.shape, compute.TrainedSum(x), counted)

    def pool(
        self,
        x: Value,
        name: str,
        *,
        kernel: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        ceil: bool = False,
        kind: Pooling | None = None,
    ) -> Value:
        """Maximum or average pooling; ``ceil`` keeps windows that hang over the edge.

        ``kind`` is "max" or "average" (over the part of the image that a window covers). It costs the same and may be
        left open; then the network can be costed but not run.
        """
        if kind not in ("max", "average", None):
            raise self._error(name, f"kind must be max or average (got {kind!r})")
        return self._pool(x, name, kernel, stride, padding, ceil, kind)

    def _pool(
        self,
        x: Value,
        name: str,
        kernel: Pair,
        stride: Pair | None,
        padding: Pair = 0,
        ceil: bool = False,
        kind: Pooling | None = None,
        adaptive: int | None = None,
    ) -> Value:
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
        made: Computation = compute.Pool(x, kind, (R, S), strides, _pair(padding), ceil)
        if adaptive is not None:
            made = compute.AdaptivePool(x, adaptive)
        return self._add(name, operator, {"inputs": x}, (channels, P, Q), made)

    def global_pool(self, x: Value, name: str) -> Value:
        """Average of each channel, as [channels, 1, 1]."""
        _, height, width = self._image(x, name)
        return self.pool(x, name, kernel=(height, width), stride=1, kind="average")

    def adaptive_pool(self, x: Value, name: str, size: int) -> Value:
        """Average pooling to size x size outputs (PyTorch's adaptive pooling), none if the image has that size."""
        _, *extents = self._image(x, name)
        if extents == [size, size]:
            return x
        if min(extents) < size:
            raise self._error(name, f"cannot pool {_show(x)} to {size}x{size}")
        steps = [extent // size for extent in extents]
        windows = [extent - step * (size - 1) for extent, step in zip(extents, steps, strict=True)]
        return self._pool(x, name, (windows[0], windows[1]), (steps[0], steps[1]), adaptive=size)

    def layernorm(self, x: Value, name: str) -> Value:
        """Layer normalisation over the last axis, with scale and shift."""
        *rows, features = x.shape
        operator = operators.normalization(rows=self.batch * elements(rows), length=features)
        return self._add(name, operator, {"inputs": x}, x.shape, compute.LayerNorm(x), 2 * features)

    def batch_norm(self, x: Value, name: str) -> Value:
        """Batch normalisation of an image as a layer of its own, where no convolution is before it."""
        channels, height, width = self._image(x, name)
        operator = operators.normalization(rows=channels, length=self.batch * height * width)
        return self._add(name, operator, {"inputs": x}, x.shape, compute.BatchNorm(x), 2 * channels)

    def local_response_norm(self, x: Value, name: str, *, size: int = 5) -> Value:
        """Normalisation of each pixel by ``size`` neighbouring channels (AlexNet)."""
        channels, height, width = self._image(x, name)
        operator = operators.normalization(rows=self.batch * height * width, length=channels)
        return self._add(name, operator, {"inputs": x}, x.shape, compute.LocalResponseNorm(x, size))

    def softmax(self, x: Value, name: str) -> Value:
        """Softmax over the last axis."""
        *rows, length = x.shape
        operator = operators.softmax(rows=self.batch * elements(rows), length=length)
        return self._add(name, operator, {"inputs": x}, x.shape, compute.Softmax(x))

    def embedding(self, name: str, *, tokens: int, rows: int, features: int, first: int | None = None) -> Value:
        """Look up ``tokens`` vectors in a table of ``rows``: moves tokens x features words.

        Which rows is an input of the network, or with ``first`` those from that one on (positions).
        """
        tokens = self._positive(name, tokens)
        if first is not None and not 0 <= first <= rows - tokens:
            raise self._error(name, f"first must be in 0..{rows - tokens} (got {first!r})")
        operator = elementwise(self.batch, tokens, features, kind="embedding")
        indices = self.input(tokens) if first is None else None
        made = compute.Embedding(tokens, rows, features, indices, first)
        return self._add(name, operator, {}, (tokens, features), made, rows * features)

    def shuffle(self, x: Value, name: str, *, groups: int) -> Value:
        """Interleave the channels of groups: no arithmetic, but every word moves."""
        channels, _, _ = self._image(x, name)
        if groups < 1 or channels % groups:
            raise self._error(name, f"groups must divide {channels} channels (got {groups})")
        words = self.batch * elements(x.shape)
        return self._add(name, movement("permute", words, words), {"inputs": x}, x.shape, compute.Shuffle(x, groups))

    # -- helpers ------------------------------------------------------------------------------------------------------

    def _pointwise(self, kind: str, name: str, values: Sequence[Value], made: Computation) -> Value:
        shapes = [(self.batch, *v.shape) for v in values]
        named = {f"inputs{i}" if i else "inputs": v for i, v in enumerate(values)}
        return self._add(name, pointwise(kind, shapes[0], shapes), named, values[0].shape, made)

    def _add(
        self,
        name: str,
        operator: Operator,
        operands: dict[str, Value],
        shape: tuple[int, ...],
        made: Computation,
        parameters: int = 0,
        batch_norm: bool = False,
    ) -> Value:
        sources = {tensor: v.sources for tensor, v in operands.items()}
        self.network.add(name, operator, sources, parameters, batch_norm, made)
        return Value(shape, (name,), compute.Output(name))

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
