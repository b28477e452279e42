"""Networks as ONNX files, with weights, for other tools.

What :func:`codesign.networks.onnx.load_onnx` reads again has the same layers under the same names, apart from what ONNX
writes differently: a normalisation before an activation is a layer of its own, tokens of an image are a permutation,
rows of a table that are known beforehand are no layer, and a tensor that is added to itself is read once.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from codesign.networks import computation as compute
from codesign.networks.computation import Computation, Value
from codesign.networks.graph import Network, NetworkError

if TYPE_CHECKING:
    from codesign.networks.torch_module import NetworkModule

_ACTIVATIONS = {
    "relu": "Relu",
    "hswish": "HardSwish",
    "hsigmoid": "HardSigmoid",
    "sigmoid": "Sigmoid",
    "swish": "Swish",
    "gelu": "Gelu",
    "tanh": "Tanh",
}
#: The operator set that all layers know, and first sets of those that came later.
_OPSET = 17
_LATER = {"Gelu": 20, "Attention": 23, "Swish": 24}


def export_onnx(network: Network, path: str | Path, *, module: NetworkModule | None = None, seed: int = 0) -> None:
    """Write a network of the builder, the zoo or a network space, for the batch with which it was built.

    Weights are those of ``module``, or PyTorch's defaults drawn from ``seed``; batch normalisations use running
    statistics. Inputs are called input0, input1, ... in the builder's order, the last layer's result is ``output``.

    Raises NetworkError, naming the layer, for what ONNX cannot express or this network does not say, and where torch or
    onnx are missing or too old.
    """
    try:
        import onnx
        import onnx.shape_inference
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        raise NetworkError(f"{path}: writing ONNX files needs the onnx package: pip install 'codesign[onnx]'") from None
    from codesign.networks.torch_module import to_torch

    if module is None:
        module = to_torch(network, seed=seed)
    elif not module.shortcuts:
        raise NetworkError(f"{network.name}: the module has no shortcuts")
    elif module.network is not network and list(module.network) != list(network):
        raise NetworkError(f"{network.name}: the module is that of another network ({module.network.name})")
    model = _Exporter(network, module).model(onnx)
    onnx.checker.check_model(model, full_check=True)
    try:
        Path(path).write_bytes(model.SerializeToString())
    except OSError as error:
        raise NetworkError(f"{path}: cannot be written: {error.strerror}") from error


class _Exporter:
    """Walks the layers once and writes a node or a few for each."""

    def __init__(self, network: Network, module: NetworkModule):
        self.network = network
        self.module = module
        self.nodes: list[tuple[str, list[str], str, str, dict[str, Any]]] = []
        self.tensors: dict[str, NDArray[Any]] = {}
        self.views: dict[Value, str] = {}
        self.indices: set[Value] = set()
        self.count = itertools.count()
        self.opset = _OPSET
        #: The layer that is being written, and the one whose trained values it takes.
        self.owners: dict[str, str] = {}

    def model(self, onnx: Any) -> Any:
        """The model; NetworkError names a layer that cannot be written."""
        for layer in self.network:
            made = compute.computed(layer.computation)
            if isinstance(made, compute.Embedding) and made.indices is not None:
                self.indices.add(made.indices)
        for layer in self.network:
            assert layer.computation is not None  # the module was made of it
            self._layer(layer.name, layer.computation)
        newest = onnx.defs.onnx_opset_version()
        if self.opset > newest:
            raise NetworkError(f"{self.network.name}: needs ONNX operator set {self.opset} (this package has {newest})")
        helper = onnx.helper
        float32, int64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
        inputs = [
            helper.make_tensor_value_info(
                f"input{i}", int64 if value in self.indices else float32, [self.network.batch, *value.shape]
            )
            for i, value in enumerate(self.network.inputs)
        ]
        last = self.nodes[-1][3]
        nodes = [
            helper.make_node(op, read, ["output" if written == last else written], name=name, **attributes)
            for op, read, name, written, attributes in self.nodes
        ]
        graph = helper.make_graph(
            nodes,
            self.network.name,
            inputs,
            [helper.make_tensor_value_info("output", float32, None)],
            [onnx.numpy_helper.from_array(array, name) for name, array in self.tensors.items()],
        )
        opset = helper.make_opsetid("", self.opset)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=min(10, onnx.IR_VERSION))
        # Outputs must have a shape.
        output = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph.output[0]
        model.graph.output[0].CopyFrom(output)
        return model

    # -- writing ------------------------------------------------------------------------------------------------------

    def _node(self, op: str, read: list[str], name: str, written: str | None = None, **attributes: Any) -> str:
        self.opset = max(self.opset, _LATER.get(op, 0))
        self.nodes.append((op, read, name, written or f"{name}:0", attributes))
        return self.nodes[-1][3]

    def _tensor(self, name: str, values: Any) -> str:
        for layer, owner in self.owners.items():
            if name.startswith(f"{layer}."):
                return owner + name.removeprefix(layer)
        array = values.detach().numpy() if hasattr(values, "detach") else np.asarray(values)
        self.tensors[name] = np.ascontiguousarray(array)
        return name

    def _result(self, layer: str) -> str:
        return f"{layer}:result"

    def _view(self, value: Value) -> str:
        if value not in self.views:
            self.views[value] = self._written(value)
        return self.views[value]

    def _written(self, value: Value) -> str:
        name = f"view{next(self.count)}"
        match value.view:
            case compute.Input(index):
                return f"input{index}"
            case compute.Output(layer):
                return self._result(layer)
            case compute.Trained(trained):
                token = self._tensor(f"{trained}.weight", self.module.trained[trained.replace(".", "/")][None])
                shape = self._tensor(f"{trained}.shape", np.array([self.network.batch, *value.shape]))
                return self._node("Expand", [token, shape], f"{trained}.expand")
            case compute.Reshape(x):
                read = self._view(x)
                shape = self._tensor(f"{name}.shape", np.array([self.network.batch, *value.shape]))
                return self._node("Reshape", [read, shape], name)
            case compute.Tokens(x):
                read = self._view(x)
                shape = self._tensor(f"{name}.shape", np.array([self.network.batch, x.shape[0], -1]))
                flat = self._node("Reshape", [read, shape], f"{name}.flat")
                return self._node("Transpose", [flat], name, perm=[0, 2, 1])
            case compute.Crop(x, start):
                read = self._view(x)
                ends = [first + extent for first, extent in zip(start, value.shape, strict=True)]
                bounds = [self._tensor(f"{name}.{w}", np.array(v)) for w, v in (("start", start), ("end", ends))]
                axes = self._tensor(f"{name}.axes", np.arange(1, len(start) + 1))
                return self._node("Slice", [read, *bounds, axes], name)
            case compute.Concat(values, axis):
                return self._node("Concat", [self._view(v) for v in values], name, axis=axis + 1)
        raise AssertionError(value)

    # -- layers -------------------------------------------------------------------------------------------------------

    def _layer(self, name: str, made: Computation) -> None:
        self.owners = {}
        if isinstance(made, compute.Repeated):
            self.owners = {name: made.layer}
            made = made.made
        part: Any = None if isinstance(made, compute.Phase) else self.module.layer(name)
        result = self._result(name)
        match made:
            case compute.Phase() | compute.Scores() | compute.AttentionWeights():
                return  # written with the layer that they belong to
            case compute.Convolution():
                self._convolution(name, made, part, result)
            case compute.TransposedConvolution(x, kernel=kernel, stride=stride):
                base = name.rpartition(".phase")[0]
                read = [self._view(x), self._tensor(f"{base}.weight", part.weight)]
                if made.bias:
                    read.append(self._tensor(f"{base}.bias", part.bias))
                self._node("ConvTranspose", read, base, result, kernel_shape=list(kernel), strides=list(stride))
            case compute.Linear():
                self._linear(name, made, part, result)
            case compute.Context():
                self._attention(name, made, result)
            case compute.Activation(x, kind, bn):
                read = [self._view(x)]
                if bn:
                    read = [self._batch_norm(f"{name}.bn", read[0], part.bn)]
                if kind == "relu6":
                    read += [self._tensor(f"{name}.{n}", np.float32(v)) for n, v in (("low", 0), ("high", 6))]
                attributes = {"alpha": 1 / 6, "beta": 0.5} if kind == "hsigmoid" else {}
                self._node(_ACTIVATIONS.get(kind, "Clip"), read, name, result, **attributes)
            case compute.Zeros(x):
                self._node("Mul", [self._view(x), self._tensor(f"{name}.zero", np.float32(0))], name, result)
            case compute.Sum(values):
                self._node("Add" if len(values) == 2 else "Sum", [self._view(v) for v in values], name, result)
            case compute.Product(x, scale):
                self._node("Mul", [self._view(x), self._view(scale)], name, result)
            case compute.TrainedSum(x):
                self._node("Add", [self._view(x), self._tensor(f"{name}.weight", part.weight)], name, result)
            case compute.Pool():
                self._pool(name, made, result)
            case compute.AdaptivePool(x, size):
                steps = [extent // size for extent in x.shape[1:]]
                if [step * size for step in steps] != list(x.shape[1:]):
                    raise self._error(name, f"ONNX has no pooling of {list(x.shape[1:])} to {size}x{size} pixels")
                self._node("AveragePool", [self._view(x)], name, result, kernel_shape=steps, strides=steps)
            case compute.LayerNorm(x):
                weights = [self._tensor(f"{name}.{key}", value) for key, value in part.named_parameters()]
                self._node("LayerNormalization", [self._view(x), *weights], name, result, axis=-1, epsilon=part.eps)
            case compute.BatchNorm(x):
                self._batch_norm(name, self._view(x), part, result)
            case compute.LocalResponseNorm(x, size):
                constants = {"alpha": part.alpha, "beta": part.beta, "bias": part.k}
                self._node("LRN", [self._view(x)], name, result, size=size, **constants)
            case compute.Softmax(x):
                self._node("Softmax", [self._view(x)], name, result, axis=-1)
            case compute.Embedding(indices=indices):
                self._embedding(name, made, part, indices, result)
            case compute.Shuffle(x, groups):
                batch, channels = self.network.batch, x.shape[0]
                split = self._tensor(f"{name}.split", np.array([batch, groups, channels // groups, *x.shape[1:]]))
                whole = self._tensor(f"{name}.whole", np.array([batch, *x.shape]))
                parts = self._node("Reshape", [self._view(x), split], f"{name}.groups")
                moved = self._node("Transpose", [parts], name, perm=[0, 2, 1, 3, 4])
                self._node("Reshape", [moved, whole], f"{name}.channels", result)

    def _convolution(self, name: str, made: compute.Convolution, part: Any, result: str) -> None:
        top, bottom, left, right = made.padding
        read = [self._view(made.x), self._tensor(f"{name}.weight", part.conv.weight)]
        if made.bias:
            read.append(self._tensor(f"{name}.bias", part.conv.bias))
        written = self._node(
            "Conv",
            read,
            name,
            None if made.bn else result,
            kernel_shape=list(made.kernel),
            strides=list(made.stride),
            pads=[top, left, bottom, right],
            dilations=list(made.dilation),
            group=made.groups,
        )
        if made.bn:
            self._batch_norm(f"{name}.bn", written, part.bn, result)

    def _batch_norm(self, name: str, read: str, part: Any, result: str | None = None) -> str:
        values = {"weight": part.weight, "bias": part.bias, "mean": part.running_mean, "var": part.running_var}
        tensors = [self._tensor(f"{name}.{key}", value) for key, value in values.items()]
        return self._node("BatchNormalization", [read, *tensors], name, result, epsilon=part.eps)

    def _linear(self, name: str, made: compute.Linear, part: Any, result: str) -> None:
        x = self._view(made.x)
        if made.shared is not None:
            # The importer counts a tensor once, so the table has to be the same one.
            table = self._node("Transpose", [f"{made.shared}.weight"], f"{name}.weight", perm=[1, 0])
        bias = self._tensor(f"{name}.bias", part.linear.bias) if made.bias else None
        if len(made.x.shape) == 1 and made.shared is None:
            read = [x, self._tensor(f"{name}.weight", part.linear.weight), *([bias] if bias else [])]
            self._node("Gemm", read, name, result, transB=1)
            return
        if made.shared is None:
            table = self._tensor(f"{name}.weight", part.linear.weight.T)
        written = self._node("MatMul", [x, table], name, None if bias else result)
        if bias:
            self._node("Add", [written, bias], f"{name}.add_bias", result)

    def _attention(self, name: str, made: compute.Context, result: str) -> None:
        weights = self._made(made.weights, compute.AttentionWeights)
        scores = self._made(weights.scores, compute.Scores)
        queries, keys = scores.q.shape[0], scores.k.shape[0]
        if weights.causal and queries not in (1, keys):
            raise self._error(name, f"ONNX has no causal attention of {queries} queries to {keys} keys")
        self._node(
            "Attention",
            [self._view(scores.q), self._view(scores.k), self._view(made.v)],
            name.removesuffix(".context"),
            result,
            q_num_heads=made.heads,
            kv_num_heads=made.heads,
            is_causal=int(weights.causal and queries > 1),
            scale=weights.scale,
        )

    def _made(self, value: Value, kind: type[Any]) -> Any:
        assert isinstance(value.view, compute.Output)
        made = self.network.layer(value.view.layer).computation
        assert isinstance(made, kind)
        return made

    def _pool(self, name: str, made: compute.Pool, result: str) -> None:
        attributes: dict[str, Any] = {
            "kernel_shape": list(made.kernel),
            "strides": list(made.stride),
            "pads": [*made.padding, *made.padding],
            "ceil_mode": int(made.ceil),
        }
        if made.kind == "average":
            attributes["count_include_pad"] = 0
        self._node("MaxPool" if made.kind == "max" else "AveragePool", [self._view(made.x)], name, result, **attributes)

    def _embedding(self, name: str, made: compute.Embedding, part: Any, indices: Value | None, result: str) -> None:
        if indices is not None:
            self._node("Gather", [self._tensor(f"{name}.weight", part.weight), self._view(indices)], name, result)
            return
        table = self._tensor(f"{name}.weight", part.embedding.weight)
        positions = np.arange(part.first, part.first + made.tokens)
        rows = self._tensor(f"{name}.rows", np.tile(positions, (self.network.batch, 1)))
        self._node("Gather", [table, rows], name, result)

    def _error(self, name: str, problem: str) -> NetworkError:
        return NetworkError(f"{self.network.name}: layer {name!r} cannot be written: {problem}")
