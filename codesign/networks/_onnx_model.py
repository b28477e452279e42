"""From an ONNX file to a graph in which every shape is known: reading, checking, open dimensions, inference."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.checker
import onnx.inliner
import onnx.shape_inference
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from codesign.networks.graph import NetworkError, elements


def words(text: str) -> frozenset[str]:
    """The names in a text."""
    return frozenset(text.split())


#: Initializers with more elements are weights; their values play no part in shapes.
_SMALL = 1024

#: What exporters compute shapes with. Each result is small if its inputs are, but for the two that are checked.
_SHAPE_ARITHMETIC = words(
    """Abs Add And Cast Ceil Concat ConstantOfShape Div Equal Expand Flatten Floor Gather Greater GreaterOrEqual
    Identity Less LessOrEqual Max Min Mod Mul Neg Not Or Range ReduceMax ReduceMin ReduceProd ReduceSum Reshape Slice
    Split Sqrt Squeeze Sub Transpose Unsqueeze Where"""
)

#: Operators with an output like their first input that are functions of others in ONNX's own definition.
_KEEP_SHAPE = words("GroupNormalization RMSNormalization RotaryEmbedding")

#: A dimension that is still open has its name, or "?".
Shape = tuple[int | str, ...]


@dataclass(frozen=True)
class Model:
    """A checked graph: nodes in topological order and what is known about tensors.

    ``initializers`` are the tensors stored in the file, ``inputs`` the ones that come from outside, ``scalars`` values
    of stored tensors with a single element.
    """

    nodes: list[Any]
    shapes: dict[str, Shape]
    types: dict[str, int]
    initializers: frozenset[str]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    opset: int
    scalars: dict[str, float]


def read_model(path: Path, batch: int | None, dimensions: dict[str, int]) -> Model:
    """Read, check and complete a model; raises NetworkError for anything that stands in the way."""
    model = _parse(path)
    if model.functions:
        try:
            model = onnx.inliner.inline_local_functions(model)
        except Exception as error:
            raise NetworkError(f"cannot expand the model's own functions: {_first_line(error)}") from error
    graph = model.graph
    initializers = _drop_weights(graph)
    # Before version 4 initializers had to be inputs too; nothing else that matters here has changed since.
    model.ir_version = max(model.ir_version, 4)
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, UnicodeDecodeError) as error:
        # The checker's own message may quote bytes of the file that are no text.
        raise NetworkError(f"not a valid ONNX model: {_first_line(error)}") from error
    _fill_dimensions(graph, initializers, batch, dimensions)
    graph = _infer(model)
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    info = list(_tensors(graph))
    shapes = {tensor.name: shape for tensor in info if (shape := _shape(tensor)) is not None}
    types = {tensor.name: tensor.type.tensor_type.elem_type for tensor in info}
    for tensor in graph.initializer:
        shapes[tensor.name], types[tensor.name] = tuple(tensor.dims), tensor.data_type
    return Model(
        nodes=list(graph.node),
        shapes=shapes,
        types=types,
        initializers=frozenset(initializers | {tensor.name for tensor in graph.initializer}),
        inputs=tuple(tensor.name for tensor in graph.input if tensor.name not in initializers),
        outputs=tuple(tensor.name for tensor in graph.output),
        opset=opsets.get("", opsets.get("ai.onnx", 0)),
        scalars={t.name: float(numpy_helper.to_array(t).item()) for t in graph.initializer if elements(t.dims) == 1},
    )


def _parse(path: Path) -> Any:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise NetworkError("no such file") from None
    except OSError as error:
        raise NetworkError(f"cannot be read: {error.strerror}") from error
    if not data:
        raise NetworkError("the file is empty")
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise NetworkError("not an ONNX file, or cut off") from error
    if not model.ir_version:
        raise NetworkError("not an ONNX file, or cut off")
    if not model.graph.node:
        raise NetworkError("the model has no nodes (cut off?)")
    return model


def _drop_weights(graph: Any) -> set[str]:
    """Turn large and external initializers into inputs, which need a shape only; returns the names of all.

    That leaves nothing that the checker would have to find on disk, and keeps models beyond protobuf's 2 GB usable.
    """
    declared = {tensor.name for tensor in graph.input}
    names, kept = set(), []
    for tensor in graph.initializer:
        names.add(tensor.name)
        external = tensor.data_location == onnx.TensorProto.EXTERNAL
        if not external and elements(tensor.dims) <= _SMALL:
            kept.append(tensor)
        elif tensor.name not in declared:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    for tensor in graph.sparse_initializer:
        names.add(tensor.values.name)
        graph.input.append(helper.make_tensor_value_info(tensor.values.name, tensor.values.data_type, tensor.dims))
    del graph.initializer[:]
    del graph.sparse_initializer[:]
    graph.initializer.extend(kept)
    return names


def _fill_dimensions(graph: Any, initializers: set[str], batch: int | None, dimensions: dict[str, int]) -> None:
    for name, size in {"batch": batch, **dimensions}.items():
        if size is not None and (not isinstance(size, int) or size < 1):
            raise NetworkError(f"dimension {name} must be an integer >= 1 (got {size!r})")
    inputs = [tensor for tensor in graph.input if tensor.name not in initializers]
    for tensor in inputs:
        if not tensor.type.HasField("tensor_type"):
            raise NetworkError(f"input {tensor.name!r} is not a tensor")
    places = [
        (f"{tensor.name}[{axis}]", axis, dim)
        for tensor in inputs
        for axis, dim in enumerate(tensor.type.tensor_type.shape.dim)
    ]
    open_places = [(place, axis, dim) for place, axis, dim in places if dim.dim_value < 1]
    unused = set(dimensions) - {place for place, _, _ in open_places} - {dim.dim_param for _, _, dim in open_places}
    if unused:
        known = ", ".join(dict.fromkeys(dim.dim_param or place for place, _, dim in open_places)) or "none"
        raise NetworkError(f"no open dimension is called {', '.join(sorted(unused))} (open: {known})")
    if batch is not None:
        fixed = [(place, dim.dim_value) for place, axis, dim in places if axis == 0 and dim.dim_value > 0]
        if fixed and len(fixed) == sum(axis == 0 for _, axis, _ in places) and all(size != batch for _, size in fixed):
            raise NetworkError(f"the batch is fixed: {', '.join(f'{p} = {s}' for p, s in fixed)} (got batch={batch})")
    # A name means the same size wherever it occurs, so one input's batch also fills an inner tensor's.
    sizes = dict(dimensions)
    if batch is not None:
        for place, axis, dim in open_places:
            if axis == 0:
                sizes.setdefault(dim.dim_param or place, batch)
    for tensor in _tensors(graph):
        for axis, dim in enumerate(tensor.type.tensor_type.shape.dim):
            size = sizes.get(f"{tensor.name}[{axis}]", sizes.get(dim.dim_param) if dim.dim_param else None)
            if size is not None and dim.dim_value < 1:
                dim.dim_value = size
    missing = []
    for tensor in inputs:
        dims = tensor.type.tensor_type.shape.dim
        if any(dim.dim_value < 1 for dim in dims):
            shape = ", ".join(str(dim.dim_value) if dim.dim_value > 0 else dim.dim_param or "?" for dim in dims)
            hints = [
                "batch=1 (--batch 1)" if axis == 0 and batch is None else
                f"dimensions={{{(dim.dim_param or f'{tensor.name}[{axis}]')!r}: 128}} "
                f"(--dim {dim.dim_param or f'{tensor.name}[{axis}]'}=128)"
                for axis, dim in enumerate(dims)
                if dim.dim_value < 1
            ]  # fmt: skip
            missing.append(f"input {tensor.name!r} has open dimensions [{shape}]: set {', '.join(hints)}")
    if missing:
        raise NetworkError("; ".join(missing))


def _infer(model: Any) -> Any:
    """Shape inference, helped along by computing shape arithmetic that it cannot follow itself."""
    while True:
        try:
            inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        except onnx.shape_inference.InferenceError as error:
            raise NetworkError(f"shapes do not fit: {_first_line(error)}") from error
        shapes = {tensor.name: _shape(tensor) for tensor in _tensors(inferred.graph)}
        complete = {name for name, shape in shapes.items() if shape and all(isinstance(s, int) for s in shape)}
        if all(o in shapes and (o in complete or shapes[o] == ()) for n in model.graph.node for o in n.output if o):
            return inferred.graph
        known = {name: shapes[name] for name in complete}
        # No short circuit: each of the two steps may uncover what the other one needs.
        if not any([_fold(model, known), _keep_shapes(model.graph, inferred.graph, known)]):
            return inferred.graph


def _keep_shapes(graph: Any, inferred: Any, shapes: dict[str, Any]) -> bool:
    """Give normalisations their input's shape (inference loses it in some versions); says whether there were any."""
    open_nodes = [
        node
        for node in graph.node
        if node.op_type in _KEEP_SHAPE and node.input[0] in shapes and node.output[0] not in shapes
    ]
    types = {tensor.name: tensor.type.tensor_type.elem_type for tensor in _tensors(inferred)}
    for node in open_nodes:
        data = node.input[0]
        graph.value_info.append(helper.make_tensor_value_info(node.output[0], types[data], shapes[data]))
    return bool(open_nodes)


def _fold(model: Any, shapes: dict[str, Any]) -> bool:
    """Replace nodes that compute small constants by their results; says whether there were any."""
    graph = model.graph
    # Vectors of floats are weights, which must stay what they are: their elements are counted.
    values = {
        tensor.name: value
        for tensor in graph.initializer
        if (value := numpy_helper.to_array(tensor)).dtype.kind in "iub" or value.size == 1
    }
    rest, folded = [], False
    for node in graph.node:
        results = _evaluate(model, node, values, shapes)
        if results is None:
            rest.append(node)
            continue
        for name, value in zip(node.output, results, strict=False):
            values[name] = value
            graph.initializer.append(numpy_helper.from_array(value, name))
        folded = True
    del graph.node[:]
    graph.node.extend(rest)
    return folded


def _evaluate(model: Any, node: Any, values: dict[str, Any], shapes: dict[str, Any]) -> list[Any] | None:
    if node.op_type == "Constant" and len(node.attribute) == 1 and node.attribute[0].name == "value":
        value = numpy_helper.to_array(node.attribute[0].t)
        return [value] if value.size <= (_SMALL if value.dtype.kind in "iub" else 1) else None
    if node.op_type == "Shape" and node.input[0] in shapes:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        shape = shapes[node.input[0]]
        return [np.array(shape[attributes.get("start", 0) : attributes.get("end", len(shape))], dtype=np.int64)]
    if node.op_type not in _SHAPE_ARITHMETIC or any(name and name not in values for name in node.input):
        return None
    operands = {name: values[name] for name in node.input if name}
    if node.op_type in {"ConstantOfShape", "Expand"} and math.prod(operands[node.input[-1]].tolist()) > _SMALL:
        return None
    if node.op_type == "Range":
        start, limit, delta = (operands[name].item() for name in node.input)
        if delta == 0 or (limit - start) / delta > _SMALL:
            return None
    alone = helper.make_model(
        helper.make_graph(
            [node],
            "fold",
            [helper.make_tensor_value_info(name, 0, None) for name in operands],
            [helper.make_tensor_value_info(name, 0, None) for name in node.output],
        ),
        opset_imports=list(model.opset_import),
    )
    try:
        results = [np.asarray(result) for result in ReferenceEvaluator(alone).run(None, operands)]
    except Exception:
        return None  # shape inference will name the tensor that stays open
    if node.op_type == "ConstantOfShape" and results[0].dtype.kind == "f":
        return None  # placeholders for weights
    return results if all(result.size <= _SMALL for result in results) else None


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.value_info
    yield from graph.input
    yield from graph.output


def _shape(tensor: Any) -> Shape | None:
    if not tensor.type.tensor_type.HasField("shape"):
        return None
    return tuple(
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else dim.dim_param or "?"
        for dim in tensor.type.tensor_type.shape.dim
    )


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
