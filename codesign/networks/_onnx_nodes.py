"""From ONNX nodes to layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from onnx import TensorProto, helper

from accelerators import operators
from accelerators.operators import Operator
from codesign.networks._onnx_model import Model, words
from codesign.networks.graph import Network, NetworkError, elements
from codesign.networks.streams import movement, pointwise

#: Word widths of quantised types; floating point is left to the hardware's native precision.
_BITS = {
    TensorProto.INT8: 8,
    TensorProto.UINT8: 8,
    TensorProto.INT4: 4,
    TensorProto.UINT4: 4,
    TensorProto.FLOAT8E4M3FN: 8,
    TensorProto.FLOAT8E4M3FNUZ: 8,
    TensorProto.FLOAT8E5M2: 8,
    TensorProto.FLOAT8E5M2FNUZ: 8,
}

#: Types of trained values; integers beyond 8 bits are indices and shapes (but for quantised biases).
_TRAINED = {*_BITS, TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}

_VIEWS = words("Reshape Flatten Squeeze Unsqueeze Identity Dropout Concat Split Slice Expand CastLike DequantizeLinear")

_ELEMENTWISE = words(
    """Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast Ceil Celu
    Clip Cos Cosh Div DynamicQuantizeLinear Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish
    IsInf IsNaN LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow QuantizeLinear Reciprocal
    Relu RotaryEmbedding Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum Swish Tan Tanh
    ThresholdedRelu Trilu Where Xor"""
)

#: Kinds that differ from the ONNX name in lower case.
_KINDS = {"Sum": "add", "HardSwish": "hswish", "HardSigmoid": "hsigmoid", "QuantizeLinear": "quantize"}

_MOVEMENT = {
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth", "ReverseSequence"), "permute"),
    **dict.fromkeys(("Pad", "CenterCropPad"), "pad"),
    **dict.fromkeys(("Resize", "Upsample", "Tile", "GridSample"), "resize"),
    **dict.fromkeys(("GatherElements", "GatherND", "ScatterElements", "ScatterND", "Scatter", "OneHot"), "gather"),
    **dict.fromkeys(
        ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2"), "reduce"
    ),
    **dict.fromkeys(("ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare", "ArgMax", "ArgMin", "TopK"), "reduce"),
    **dict.fromkeys(("CumSum", "CumProd"), "scan"),
}


class _Unsupported(Exception):  # noqa: N818  # a signal between two functions of this file, not an error for users
    """A node that has no cost model, and why."""


class Importer:
    """Walks the nodes of a model once and adds their layers to a network."""

    def __init__(self, model: Model, name: str, allow_unknown: bool) -> None:
        self.model = model
        self.network = Network(name)
        self.allow_unknown = allow_unknown
        self.unsupported: list[str] = []
        #: Layers whose outputs make up a tensor (through views).
        self.sources: dict[str, tuple[str, ...]] = dict.fromkeys(model.inputs, ())
        #: Tensors that do not depend on the inputs, with the stored tensors that they come from.
        self.constants: dict[str, frozenset[str]] = {name: frozenset([name]) for name in model.initializers}
        #: Shapes and types of tensors stored in Constant nodes.
        self.stored: dict[str, tuple[tuple[int, ...], int]] = {}
        #: Trained values that a view has put beside activations (a class token), to be counted with the next layer.
        self.carried: dict[str, frozenset[str]] = {}
        #: Multiply-accumulate layer that wrote a tensor, as long as something may still be folded into it.
        self.maker: dict[str, str] = {}
        self.biased: set[str] = set()
        self.counted: set[str] = set()
        #: Word widths that a DequantizeLinear hides behind a floating-point tensor.
        self.hidden_bits: dict[str, int] = {}
        self.consumers: dict[str, list[str]] = {}
        for node in model.nodes:
            for tensor in node.input:
                self.consumers.setdefault(tensor, []).append(node.op_type)
        for tensor in model.outputs:
            self.consumers.setdefault(tensor, []).append("output")
        first = next((shape for name in model.inputs if (shape := model.shapes.get(name))), (1,))
        self.batch = first[0] if isinstance(first[0], int) and first[0] > 0 else 1
        self.names: Counter[str] = Counter()

    def run(self) -> Network:
        """The network; raises NetworkError with all unsupported nodes unless they are allowed."""
        if not self.allow_unknown:
            self._look_ahead()
        for node in self.model.nodes:
            if self._is_constant(node):
                continue
            try:
                self._node(node)
            except _Unsupported as reason:
                self._unknown(node, str(reason))
            except NetworkError:
                raise
            except (ValueError, IndexError, KeyError) as error:
                raise NetworkError(f"{_title(node)}: {error}") from error
        if self.unsupported and not self.allow_unknown:
            raise self._refusal()
        if not len(self.network):
            raise NetworkError("the model has no layers that do work at run time")
        self.network.warnings.extend(self.unsupported)
        return self.network

    def _look_ahead(self) -> None:
        """Refuse unsupported types before anything asks for a shape, because nobody knows the shape of their output."""
        constants = dict(self.constants)
        for node in self.model.nodes:
            if not self._is_constant(node) and not _known(node):
                self.unsupported.append(f"{_title(node)}: not supported")
        self.constants = constants
        if self.unsupported:
            raise self._refusal()

    def _refusal(self) -> NetworkError:
        listed = "\n  ".join(self.unsupported)
        return NetworkError(
            f"{len(self.unsupported)} operators cannot be imported (allow_unknown=True costs them as data movement):"
            f"\n  {listed}"
        )

    def _is_constant(self, node: Any) -> bool:
        """Whether a node does nothing at run time; remembers where its outputs come from."""
        inputs = [tensor for tensor in node.input if tensor]
        if node.op_type not in {"Shape", "Size"} and not all(tensor in self.constants for tensor in inputs):
            return False
        if any(a.type in (helper.AttributeProto.GRAPH, helper.AttributeProto.GRAPHS) for a in node.attribute):
            return False  # a body may read tensors of the outer graph
        roots: frozenset[str] = frozenset()
        if node.op_type == "Constant":
            roots = frozenset(node.output)
            for attribute in node.attribute:
                if attribute.name == "value":
                    self.stored[node.output[0]] = (tuple(attribute.t.dims), attribute.t.data_type)
        elif node.op_type == "DequantizeLinear":
            roots = self.constants[inputs[0]]  # scales and zero points are no trained values
            if bits := self._bits(inputs[0]):
                self.hidden_bits[node.output[0]] = bits
        elif node.op_type not in {"Shape", "Size"}:
            roots = frozenset().union(*(self.constants[tensor] for tensor in inputs))
        self.constants.update(dict.fromkeys(node.output, roots))
        return True

    def _node(self, node: Any) -> None:
        if node.domain not in ("", "ai.onnx"):
            raise _Unsupported("not supported")
        if node.op_type in _VIEWS:
            self._view(node)
        elif node.op_type in _HANDLERS:
            _HANDLERS[node.op_type](self, node)
        elif node.op_type in _ELEMENTWISE:
            self._elementwise(node)
        elif node.op_type in _MOVEMENT:
            self._move(node, _MOVEMENT[node.op_type])
        else:
            raise _Unsupported("not supported")

    # -- what is known about tensors ----------------------------------------------------------------------------------

    def _shape(self, tensor: str) -> tuple[int, ...]:
        if tensor in self.stored:
            return self.stored[tensor][0]
        shape = self.model.shapes.get(tensor)
        if shape is None:
            raise NetworkError(f"tensor {tensor!r} has no known shape (shape inference could not follow its producer)")
        sizes = tuple(size for size in shape if isinstance(size, int))
        if len(sizes) != len(shape):
            raise NetworkError(
                f"tensor {tensor!r} has open dimensions [{', '.join(map(str, shape))}], which the inputs do not settle"
            )
        return sizes

    def _type(self, tensor: str) -> int:
        return self.stored[tensor][1] if tensor in self.stored else self.model.types.get(tensor, 0)

    def _bits(self, tensor: str) -> int | None:
        return self.hidden_bits.get(tensor) or _BITS.get(self._type(tensor))

    def _alone(self, tensor: str) -> bool:
        return len(self.consumers.get(tensor, ())) == 1

    def _roots(self, tensor: str) -> frozenset[str]:
        """The trained tensors behind a weight; one that follows from no such tensor (a placeholder) is its own."""
        if tensor not in self.constants:
            return frozenset()
        return self._trained_roots(tensor) or frozenset([tensor])

    def _trained_roots(self, tensor: str) -> frozenset[str]:
        return frozenset(root for root in self.constants[tensor] if self._type(root) in _TRAINED)

    def _count(self, roots: Iterable[str], wide: bool = False) -> int:
        """Trained values in these stored tensors that no layer has counted yet."""
        total = 0
        for root in sorted(roots):
            trained = self._type(root) in _TRAINED or (wide and self._type(root) == TensorProto.INT32)
            if trained and root not in self.counted:
                self.counted.add(root)
                total += elements(self._shape(root))
        return total

    def _rows(self, rows: int) -> dict[str, int]:
        """Rows of a matrix product as batch N and rows per sample P."""
        N = self.batch if rows % self.batch == 0 else 1
        return {"N": N, "P": rows // N}

    # -- adding layers ------------------------------------------------------------------------------------------------

    def _emit(
        self,
        node: Any,
        operator: Operator,
        operands: Mapping[str, Sequence[str]],
        parameters: Iterable[str] = (),
        *,
        suffix: str = "",
        first: bool = True,
    ) -> str:
        """Add a layer for a node, reading the given ONNX tensors and owning the given constant ones.

        A node that makes several layers calls this once for each, with ``first`` for the one that starts its output
        tensors afresh.
        """
        base = node.name or f"{node.op_type}_{next((o for o in node.output if o), '')}"
        name = base + suffix
        while name in self.network:
            self.names[base] += 1
            name = f"{base}_{self.names[base]}{suffix}"
        activations = [t for tensors in operands.values() for t in tensors if t not in self.constants]
        roots = {root for tensor in parameters for root in self._roots(tensor)}
        roots |= {root for tensor in activations for root in self.carried.get(tensor, ())}
        wide = node.op_type == "QLinearConv"  # its bias has 32 bits
        self.network.add(
            name,
            self._quantised(operator, operands, parameters, node),
            {
                tensor: [source for read in tensors for source in self.sources.get(read, ())]
                for tensor, tensors in operands.items()
            },
            self._count(roots, wide),
        )
        for output in node.output:
            if output:
                self.sources[output] = (() if first else self.sources.get(output, ())) + (name,)
        if operator.macs and first:
            self.maker[node.output[0]] = name
        return name

    def _quantised(
        self, operator: Operator, operands: Mapping[str, Sequence[str]], parameters: Iterable[str], node: Any
    ) -> Operator:
        """The operator with the word widths of quantised tensors."""
        if not operator.macs:
            return operator
        second = next(iter(parameters), None) or next(iter(operands.get("operand", ())), None)
        output = node.output[0]
        widths = {
            "inputs": self._bits(operands["inputs"][0]) if operands.get("inputs") else None,
            "weights": self._bits(second) if second else None,
            "outputs": self._bits(output),
        }
        if self.consumers.get(output) == ["QuantizeLinear"]:
            widths["outputs"] = 8
        return operator.with_bits(**{role: bits for role, bits in widths.items() if bits})

    def _unknown(self, node: Any, reason: str) -> None:
        self.unsupported.append(f"{_title(node)}: {reason}")
        if not self.allow_unknown:
            # All that matters from here on is to find the other unsupported nodes.
            self.sources.update(dict.fromkeys(node.output, ()))
            return
        inputs = [tensor for tensor in node.input if tensor]
        outputs = [tensor for tensor in node.output if tensor]
        read = sum(elements(self._shape(tensor)) for tensor in inputs)
        written = sum(elements(self._shape(tensor)) for tensor in outputs)
        self._emit(node, movement("unknown", max(read, 1), max(written, 1)), {"inputs": inputs}, inputs)

    def _alias(self, node: Any, tensor: str, fold_on: bool = False) -> None:
        """Let a node's output be its input; ``fold_on`` keeps the producer open for further folding."""
        output = node.output[0]
        self.sources[output] = self.sources.get(tensor, ())
        if tensor in self.carried:
            self.carried[output] = self.carried[tensor]
        if fold_on and tensor in self.maker:
            self.maker[output] = self.maker[tensor]

    def _view(self, node: Any) -> None:
        inputs = [tensor for tensor in node.input if tensor]
        data = inputs if node.op_type == "Concat" else inputs[:1]
        sources = tuple(dict.fromkeys(s for tensor in data for s in self.sources.get(tensor, ())))
        roots = {root for tensor in data for root in self.constants.get(tensor, self.carried.get(tensor, ()))}
        bits = self._bits(inputs[0])
        for output in node.output:
            self.sources[output] = sources
            if roots:
                self.carried[output] = frozenset(roots)
            if bits:
                self.hidden_bits[output] = bits

    # -- layers that multiply and accumulate --------------------------------------------------------------------------

    def _conv(self, node: Any, x: int = 0, w: int = 1, b: int | None = 2) -> None:
        data, weights = node.input[x], node.input[w]
        (N, channels, *_size), (K, C, *kernel), (_, _, *out) = map(self._shape, (data, weights, node.output[0]))
        attributes = _attributes(node)
        self._check_groups(node, channels, C, K, "weights")
        (R, S), (P, Q) = _two(kernel), _two(out)
        strides, dilations = (_two(attributes.get(key, [1] * len(out))) for key in ("strides", "dilations"))
        G = attributes.get("group", 1)
        operator = operators.conv2d(N=N, G=G, K=K // G, C=C, P=P, Q=Q, R=R, S=S, stride=strides, dilation=dilations)
        bias = [node.input[b]] if b is not None and len(node.input) > b and node.input[b] else []
        name = self._emit(node, operator, {"inputs": [data], "weights": [weights]}, [weights, *bias])
        if bias:
            self.biased.add(name)

    def _check_groups(self, node: Any, channels: int, per_group: int, divided: int, what: str) -> None:
        """What shape inference lets pass: channels that do not fit the weights, or groups that do not divide them."""
        groups = _attributes(node).get("group", 1)
        if groups < 1 or divided % groups:
            raise ValueError(f"group must be >= 1 and divide {divided} {what} (got {groups})")
        if channels != per_group * groups:
            raise ValueError(f"{what} take {per_group} x {groups} groups of channels (got {channels})")

    def _conv_transpose(self, node: Any) -> None:
        data, weights = node.input[0], node.input[1]
        (N, C, *size), (rows, K, *kernel), (_, _, *out) = map(self._shape, (data, weights, node.output[0]))
        attributes = _attributes(node)
        groups = max(1, attributes.get("group", 1))
        self._check_groups(node, C, rows // groups, rows, "weights")
        rank = len(size)
        (H, W), (R, S) = _two(size), _two(kernel)
        strides = _two(attributes.get("strides", [1] * rank))
        if set(attributes.get("dilations", [1])) != {1}:
            raise _Unsupported("dilated transposed convolution is not supported")
        G = attributes.get("group", 1)
        phases = operators.conv_transpose2d(N=N, G=G, K=K, C=C // G, H=H, W=W, R=R, S=S, stride=strides)
        # Padding of a transposed convolution cuts its output; without explicit padding the cut is shared evenly.
        begins = attributes.get("pads", [])[:rank]
        if not begins or "output_shape" in attributes or attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
            begins = [
                max(0, (stride * (extent - 1) + taps - cut) // 2)
                for stride, extent, taps, cut in zip(strides[2 - rank :], size, kernel, out, strict=True)
            ]
        bias = [tensor for tensor in node.input[2:3] if tensor]
        parameters, first = [weights, *bias], True
        for (a, b), operator in phases.items():
            bounds = {
                dim: sum(o % stride == phase for o in range(begin, begin + cut))
                for dim, stride, phase, begin, cut in zip(
                    "PQ", strides, (a, b), _two(begins, 0), _two(out), strict=True
                )
            }
            if min(bounds.values()) < 1:
                continue
            # The weights are one tensor: all of its values count with the first phase.
            name = self._emit(
                node, operator.with_bounds(bounds), {"inputs": [data]}, parameters,
                suffix=f".phase{a}_{b}", first=first,
            )  # fmt: skip
            if bias:
                self.biased.add(name)
            first = False

    def _gemm(self, node: Any) -> None:
        a, b = node.input[0], node.input[1]
        attributes = _attributes(node)
        rows, C = self._shape(a)[:: -1 if attributes.get("transA") else 1]
        _, K = self._shape(b)[:: -1 if attributes.get("transB") else 1]
        bias = [tensor for tensor in node.input[2:3] if tensor]
        name = self._product(node, a, b, rows=rows, K=K, C=C, parameters=[b, *bias])
        if bias:
            self.biased.add(name)

    def _matmul(self, node: Any, a: int = 0, b: int = 1) -> None:
        left, right = node.input[a], node.input[b]
        x, y = self._shape(left), self._shape(right)
        x = (1, *x) if len(x) == 1 else x
        y = (*y, 1) if len(y) == 1 else y
        (*x_batch, rows, C), (*y_batch, _, K) = x, y
        if left in self.constants and elements(x_batch) == 1:
            # Weights times activations: the same product with both sides transposed.
            self._product(node, right, left, rows=elements(y_batch) * K, K=rows, C=C, parameters=[left])
        elif elements(y_batch) == 1:
            self._product(node, left, right, rows=elements(x_batch) * rows, K=K, C=C, parameters=[right])
        else:
            # A right operand that is broadcast along some products serves the rows of all of them.
            G = elements(y_batch) if elements(x_batch) % elements(y_batch) == 0 else elements(x_batch)
            share = max(1, elements(x_batch) // G)
            operator = operators.batched_matmul(G=G, P=rows * share, K=K, C=C)
            self._emit(
                node,
                operator,
                {"inputs": [left], "operand": [right]},
                [t for t in (right, left) if t in self.constants],
            )

    def _product(self, node: Any, x: str, w: str, *, rows: int, K: int, C: int, parameters: list[str]) -> str:
        if w in self.constants:
            return self._emit(node, operators.matmul(**self._rows(rows), K=K, C=C), {"inputs": [x]}, parameters)
        operator = operators.batched_matmul(G=1, P=rows, K=K, C=C)
        return self._emit(node, operator, {"inputs": [x], "operand": [w]}, parameters[1:])

    def _einsum(self, node: Any) -> None:
        equation = _attributes(node)["equation"].decode().replace(" ", "")
        terms, arrow, out = equation.partition("->")
        sides = terms.split(",")
        labels = set(equation) - set(",->")
        if not arrow or len(sides) != 2 or "." in equation or any(len(set(t)) < len(t) for t in (*sides, out)):
            raise _Unsupported(f"the equation {equation} is not supported")
        size = {
            label: extent
            for side, tensor in zip(sides, node.input, strict=True)
            for label, extent in zip(side, self._shape(tensor), strict=True)
        }
        left, right = set(sides[0]), set(sides[1])
        if any((label in left) != (label in right) and label not in out for label in labels):
            raise _Unsupported(f"the equation {equation} is not supported")

        def extent(chosen: set[str]) -> int:
            return elements(size[label] for label in chosen)

        shared, summed = left & right & set(out), (left & right) - set(out)
        G, C, P, K = extent(shared), extent(summed), extent(left - right), extent(right - left)
        if G == 1:
            flip = node.input[0] in self.constants
            x, w, rows, K = (1, 0, K, P) if flip else (0, 1, P, K)
            self._product(node, node.input[x], node.input[w], rows=rows, K=K, C=C, parameters=[node.input[w]])
        else:
            operator = operators.batched_matmul(G=G, P=P, K=K, C=C)
            a, b = node.input
            self._emit(node, operator, {"inputs": [a], "operand": [b]}, [t for t in (b, a) if t in self.constants])

    def _attention(self, node: Any) -> None:
        q, k, v = node.input[:3]
        attributes = _attributes(node)
        queries, keys = self._shape(q), self._shape(k)
        values = self._shape(v)
        if len(queries) == 4:
            N, heads, P, D = queries
            length, width = keys[2], values[3]
        else:
            heads = attributes["q_num_heads"]
            N, P, D = queries[0], queries[1], queries[2] // heads
            length, width = keys[1], values[2] // attributes["kv_num_heads"]
        cached = [tensor for tensor in node.input[4:6] if tensor]
        if cached:
            length += self._shape(cached[0])[2]
        caches = {"k": cached[:1], "v": cached[1:]}
        scores = operators.batched_matmul(G=N * heads, P=P, K=length, C=D)
        context = operators.batched_matmul(G=N * heads, P=P, K=width, C=length)
        self._emit(node, scores, {"inputs": [q], "operand": [k, *caches["k"]]}, suffix=".scores")
        steps = operators.softmax(rows=N * heads * P, length=length)
        self._emit(node, steps, {"inputs": [node.output[0]]}, suffix=".softmax")
        self._emit(node, context, {"inputs": [node.output[0]], "operand": [v, *caches["v"]]}, suffix=".context")

    # -- layers bound by data movement --------------------------------------------------------------------------------

    def _elementwise(self, node: Any) -> None:
        inputs = list(dict.fromkeys(tensor for tensor in node.input if tensor))
        activations = [tensor for tensor in inputs if tensor not in self.constants]
        # Scalars (an exponent, the limits of a clip) are part of the operation.
        trained = [
            tensor
            for tensor in inputs
            if tensor in self.constants and (elements(self._shape(tensor)) > 1 or node.op_type == "PRelu")
        ]
        if node.op_type == "QuantizeLinear":
            trained = []
            if activations[0] in self.maker and self._alone(activations[0]):
                self._alias(node, activations[0])  # requantisation is part of writing the output
                return
        if node.op_type == "Cast" and self._bits(activations[0]) is None and self._bits(node.output[0]) is None:
            self._alias(node, activations[0])  # no quantised type on either side: both have the native width
            return
        if node.op_type == "Add" and self._fold_bias(node, activations, trained):
            return
        shape = self._shape(node.output[0])
        kind = self._kind(node)
        operator = pointwise(kind, shape, [self._shape(t) for t in activations], [self._shape(t) for t in trained])
        operands = {f"inputs{i}" if i else "inputs": [tensor] for i, tensor in enumerate(activations)}
        mask = node.input[0] if node.op_type == "Where" else None  # read, but not trained
        owned = [tensor for tensor in trained if tensor != mask and self._trained_roots(tensor)]
        self._emit(node, operator, operands, owned)

    def _kind(self, node: Any) -> str:
        values = [self.model.scalars.get(tensor) for tensor in node.input if tensor in self.constants]
        if node.op_type == "Clip" and values == [0.0, 6.0]:
            return "relu6"
        if node.op_type == "Mul" and values == [0.0]:
            return "zero"
        return _KINDS.get(node.op_type, node.op_type.lower())

    def _fold_bias(self, node: Any, activations: list[str], trained: list[str]) -> bool:
        """Count a trained vector that is added to a product's columns as the product's bias."""
        if len(activations) != 1 or len(trained) != 1:
            return False
        tensor, layer = activations[0], self.maker.get(activations[0])
        if layer is None or layer in self.biased or not self._alone(tensor):
            return False
        operator = self.network.layer(layer).operator
        channels = 1 if operator.kind in {"conv2d", "depthwise"} else len(self._shape(tensor)) - 1
        shape = self._shape(trained[0])
        place = channels - (len(self._shape(tensor)) - len(shape))
        if place < 0 or elements(shape) != shape[place] or shape[place] != self._shape(tensor)[channels]:
            return False
        self.network.add_parameters(layer, self._count(self.constants[trained[0]]))
        self.biased.add(layer)
        self._alias(node, tensor, fold_on=True)
        return True

    def _batch_norm(self, node: Any) -> None:
        tensor, scale, shift = node.input[:3]
        if tensor in self.maker and self._alone(tensor):
            self.network.add_parameters(self.maker[tensor], self._count(self._roots(scale) | self._roots(shift)), True)
            self.biased.add(self.maker[tensor])
            self._alias(node, tensor, fold_on=True)
        else:
            channels = self._shape(tensor)[1]
            self._normalise(node, channels, [scale, shift])

    def _normalise(self, node: Any, rows: int, parameters: Sequence[str]) -> None:
        tensor = node.input[0]
        operator = operators.normalization(rows=rows, length=elements(self._shape(tensor)) // rows)
        self._emit(node, operator, {"inputs": [tensor]}, [p for p in parameters if p])

    def _layer_norm(self, node: Any) -> None:
        shape = self._shape(node.input[0])
        axis = _attributes(node).get("axis", -1) % len(shape)
        self._normalise(node, elements(shape[:axis]), node.input[1:])

    def _group_norm(self, node: Any) -> None:
        N, C, *_ = self._shape(node.input[0])
        self._normalise(node, N * _attributes(node).get("num_groups", C), node.input[1:])

    def _channel_norm(self, node: Any) -> None:
        shape = self._shape(node.input[0])
        axis = 1 if node.op_type == "LRN" else _attributes(node).get("axis", -1)
        self._normalise(node, elements(shape) // shape[axis], ())

    def _softmax(self, node: Any) -> None:
        shape = self._shape(node.input[0])
        # Before version 13 all axes from this one on were one vector.
        late = self.model.opset >= 13
        axis = _attributes(node).get("axis", -1 if late else 1) % len(shape)
        length = shape[axis] if late else elements(shape[axis:])
        operator = operators.softmax(rows=elements(shape) // length, length=length)
        self._emit(node, operator, {"inputs": [node.input[0]]})

    def _pool(self, node: Any) -> None:
        (N, K, *size), (_, _, *out) = self._shape(node.input[0]), self._shape(node.output[0])
        attributes = _attributes(node)
        kernel = attributes.get("kernel_shape", size)  # the global variants have no kernel
        if set(attributes.get("dilations", [1])) != {1}:
            raise _Unsupported("dilated pooling is not supported")
        (R, S), (P, Q), strides = _two(kernel), _two(out), _two(attributes.get("strides", [1] * len(size)))
        operator = operators.pool2d(N=N, K=K, P=P, Q=Q, R=R, S=S, stride=strides)
        self._emit(node, operator, {"inputs": [node.input[0]]})

    def _move(self, node: Any, kind: str) -> None:
        # Constants other than the data (axes, scales, padding) are parts of the operation.
        tensors = [tensor for tensor in node.input if tensor and tensor not in self.constants]
        read = sum(elements(self._shape(tensor)) for tensor in tensors)
        written = sum(elements(self._shape(tensor)) for tensor in node.output if tensor)
        self._emit(node, movement(kind, read, written), {"inputs": tensors}, node.input[:1])

    def _transpose(self, node: Any) -> None:
        shape = self._shape(node.input[0])
        order = _attributes(node).get("perm", range(len(shape))[::-1])
        moved = [axis for axis in order if shape[axis] > 1]
        if moved == sorted(moved):
            self._view(node)  # only axes of length one change places
        else:
            self._move(node, "permute")

    def _gather(self, node: Any) -> None:
        table, indices = node.input[:2]
        if indices in self.constants:
            self._view(node)  # a fixed selection, like a slice
            return
        trained = table in self.constants and any(self._type(root) in _TRAINED for root in self.constants[table])
        words = elements(self._shape(node.output[0]))
        operator = movement("embedding" if trained else "gather", words, words)
        self._emit(node, operator, {"inputs": [t for t in (table, indices) if t not in self.constants]}, [table])


_Handler = Callable[[Importer, Any], None]

_HANDLERS: dict[str, _Handler] = {
    "Conv": Importer._conv,
    "ConvInteger": lambda importer, node: importer._conv(node, b=None),
    "QLinearConv": lambda importer, node: importer._conv(node, x=0, w=3, b=8),
    "ConvTranspose": Importer._conv_transpose,
    "Gemm": Importer._gemm,
    "MatMul": Importer._matmul,
    "MatMulInteger": Importer._matmul,
    "QLinearMatMul": lambda importer, node: importer._matmul(node, a=0, b=3),
    "Einsum": Importer._einsum,
    "Attention": Importer._attention,
    "BatchNormalization": Importer._batch_norm,
    "LayerNormalization": Importer._layer_norm,
    "RMSNormalization": Importer._layer_norm,
    "InstanceNormalization": Importer._group_norm,
    "GroupNormalization": Importer._group_norm,
    "LRN": Importer._channel_norm,
    "LpNormalization": Importer._channel_norm,
    "Softmax": Importer._softmax,
    "LogSoftmax": Importer._softmax,
    **dict.fromkeys(("MaxPool", "AveragePool", "LpPool"), Importer._pool),
    **dict.fromkeys(("GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool"), Importer._pool),
    "Transpose": Importer._transpose,
    "Gather": Importer._gather,
}


def _known(node: Any) -> bool:
    tables: tuple[Any, ...] = (_VIEWS, _HANDLERS, _ELEMENTWISE, _MOVEMENT)
    return node.domain in ("", "ai.onnx") and any(node.op_type in table for table in tables)


def _title(node: Any) -> str:
    domain = f"{node.domain}." if node.domain not in ("", "ai.onnx") else ""
    return f"node {node.name or (node.output[0] if node.output else '')!r} ({domain}{node.op_type})"


def _attributes(node: Any) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _two(values: Sequence[int], absent: int = 1) -> tuple[int, int]:
    """Sizes along rows and columns; a one-dimensional convolution or pooling has one row."""
    if len(values) == 1:
        return absent, values[0]
    if len(values) == 2:
        return values[0], values[1]
    raise _Unsupported(f"{len(values)}-dimensional convolution or pooling is not supported")
