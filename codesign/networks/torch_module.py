"""A network as a torch module that can be run and trained.

    module = to_torch(codesign.networks.load("resnet18", resolution=64))
    logits = module(torch.randn(8, 3, 64, 64))

Every layer of the network is a module of the same name (with ``/`` for dots, which torch reserves), dead operators
included; ``sum(p.numel() for p in module.parameters())`` is ``network.parameters``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import networkx as nx

from codesign.networks import computation as compute
from codesign.networks.computation import Computation, Value, is_unknown, operands, reads
from codesign.networks.graph import Network, NetworkError, elements

try:
    import torch
    from torch import Tensor, nn
    from torch.nn import functional as F  # noqa: N812  # its usual name
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise NetworkError("running networks needs torch: pip install 'codesign[torch]'") from error

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hswish": nn.Hardswish,
    "hsigmoid": nn.Hardsigmoid,
    "sigmoid": nn.Sigmoid,
    "swish": nn.SiLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
}

#: Constants of AlexNet's normalisation (Krizhevsky et al. 2012, section 3.3, as in Caffe's definition).
_LRN = {"alpha": 1e-4, "beta": 0.75, "k": 1.0}

#: Of a module: more do not fit into the memory of most machines.
_MOST_PARAMETERS = 2**31


class _Convolution(nn.Module):
    """Convolution, with its own zeros where the two sides differ, and the normalisation that follows."""

    def __init__(self, made: compute.Convolution, eps: float):
        super().__init__()
        top, bottom, left, right = made.padding
        even = top == bottom and left == right
        self.zeros = None if even else (left, right, top, bottom)
        self.conv = nn.Conv2d(
            made.x.shape[0],
            made.K,
            made.kernel,
            made.stride,
            (top, left) if even else 0,
            made.dilation,
            made.groups,
            made.bias,
        )
        self.bn: nn.Module = nn.BatchNorm2d(made.K, eps) if made.bn else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        if self.zeros is not None:
            x = F.pad(x, self.zeros)
        return self.bn(self.conv(x))


class _Activation(nn.Module):
    def __init__(self, made: compute.Activation, eps: float):
        super().__init__()
        self.bn: nn.Module = nn.BatchNorm2d(made.x.shape[0], eps) if made.bn else nn.Identity()
        self.function = _ACTIVATIONS[made.kind]()

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.bn(x))


class _Linear(nn.Module):
    """Fully connected layer; ``shared`` is the table of an embedding, which stays that layer's parameter."""

    def __init__(self, made: compute.Linear, shared: nn.Parameter | None):
        super().__init__()
        self.linear = nn.Linear(made.x.shape[-1], made.K, made.bias)
        self._shared = [shared]
        if shared is not None:
            del self.linear.weight
            self.linear.register_parameter("weight", None)

    def forward(self, x: Tensor) -> Tensor:
        shared = self._shared[0]
        return self.linear(x) if shared is None else F.linear(x, shared, self.linear.bias)


class _Scores(nn.Module):
    def __init__(self, heads: int):
        super().__init__()
        self.heads = heads

    def forward(self, q: Tensor, k: Tensor) -> Tensor:
        q, k = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k))
        return q @ k.transpose(-1, -2)


class _AttentionWeights(nn.Module):
    def __init__(self, made: compute.AttentionWeights):
        super().__init__()
        self.scale, self.causal = made.scale, made.causal

    def forward(self, scores: Tensor) -> Tensor:
        scores = scores * self.scale
        if self.causal:
            queries, keys = scores.shape[-2:]
            later = torch.ones(queries, keys, dtype=torch.bool, device=scores.device).triu(1 + keys - queries)
            scores = scores.masked_fill(later, float("-inf"))
        return scores.softmax(-1)


class _Context(nn.Module):
    def forward(self, weights: Tensor, v: Tensor) -> Tensor:
        v = v.unflatten(-1, (weights.shape[1], -1)).transpose(1, 2)
        return (weights @ v).transpose(1, 2).flatten(-2)


class _Zeros(nn.Module):
    """Zeros that no gradient passes: what is before them is dead."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


class _Sum(nn.Module):
    def forward(self, first: Tensor, *others: Tensor) -> Tensor:
        for other in others:
            first = first + other
        return first


class _Product(nn.Module):
    def forward(self, x: Tensor, scale: Tensor) -> Tensor:
        return x * scale


class _TrainedSum(nn.Module):
    def __init__(self, shape: tuple[int, ...]):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.weight


class _Positions(nn.Module):
    """Rows of a table from ``first`` on."""

    def __init__(self, made: compute.Embedding, first: int):
        super().__init__()
        self.embedding = nn.Embedding(made.rows, made.features)
        self.first, self.tokens = first, made.tokens

    def forward(self) -> Tensor:
        return self.embedding.weight[self.first : self.first + self.tokens].unsqueeze(0)


class NetworkModule(nn.Module):
    """The module of a network (see :func:`to_torch`).

    ``forward`` takes the network's inputs in the order in which the builder was given them, each [batch, *shape], and
    returns what the last layer writes, [batch, *shape]. ``network`` is the graph that it was made of.
    """

    def __init__(self, network: Network, batch_norm_eps: float = 1e-5, shortcuts: bool = True):
        super().__init__()
        self.network = network
        self.shortcuts = shortcuts
        self.inputs = tuple(value.shape for value in network.inputs)
        self.trained = nn.ParameterDict(
            {_key(name): nn.Parameter(torch.zeros(shape)) for name, shape in network.trained.items()}
        )
        self.layers = nn.ModuleDict()
        self._plan: list[tuple[str, tuple[Value, ...]]] = []
        self._same_as: dict[str, str] = {}
        steps = _computations(network)
        for name, made in (steps if shortcuts else _trunk(steps)).items():
            if isinstance(made, compute.Phase):
                self._same_as[name] = made.layer
                continue
            self._plan.append((name, operands(made)))
            if isinstance(made, compute.Repeated):
                if _key(made.layer) not in self.layers:
                    raise _error(network, name, f"no earlier layer {made.layer!r} has its trained values")
                self._same_as[name] = made.layer
                continue
            self.layers[_key(name)] = self._module(name, made, batch_norm_eps)
        # A tensor is dropped after the layer that reads it last.
        last = {source: step for step, (_, values) in enumerate(self._plan) for v in values for source in reads(v)}
        self._done = [[name for name, step in last.items() if step == here] for here in range(len(self._plan))]

    def layer(self, name: str) -> nn.Module:
        """The module of a layer (NetworkError if there is no such layer, or it was left out with the shortcuts)."""
        self.network.layer(name)
        key = _key(self._same_as.get(name, name))
        if key not in self.layers:
            raise NetworkError(f"{self.network.name}: layer {name!r} was left out with the shortcuts")
        return self.layers[key]

    def forward(self, *inputs: Tensor) -> Tensor:
        """The last layer's output, [batch, *shape]."""
        last = self._plan[-1][0]
        return self._run({last}, inputs)[last]

    def features(self, *inputs: Tensor) -> Tensor:
        """The tensor that the classifier pools (see :func:`features_of`), [batch, *shape]."""
        wanted = features_of(self.network)
        if wanted is None:
            return self.forward(*inputs)
        return self._view(wanted, self._run(set(reads(wanted)), inputs), inputs)

    def _run(self, goal: set[str], inputs: Sequence[Tensor]) -> dict[str, Tensor]:
        """Outputs of the layers in ``goal``; runs all layers up to the last of these, dead ones included."""
        self._check(inputs)
        outputs: dict[str, Tensor] = {}
        for (name, values), done in zip(self._plan, self._done, strict=True):
            if goal <= outputs.keys():
                break
            module = self.layers[_key(self._same_as.get(name, name))]
            outputs[name] = module(*(self._view(value, outputs, inputs) for value in values))
            for finished in done:
                if finished not in goal:
                    outputs.pop(finished, None)
        return outputs

    def _check(self, inputs: Sequence[Tensor]) -> None:
        shapes = [tuple(tensor.shape[1:]) for tensor in inputs]
        if shapes != list(self.inputs):
            wanted = ", ".join(f"[batch, {', '.join(map(str, shape))}]" for shape in self.inputs)
            got = ", ".join(str(list(tensor.shape)) for tensor in inputs)
            raise NetworkError(f"{self.network.name}: inputs must be {wanted} (got {got or 'none'})")

    def _view(self, value: Value, outputs: dict[str, Tensor], inputs: Sequence[Tensor]) -> Tensor:
        view = value.view
        match view:
            case compute.Input(index):
                return inputs[index]
            case compute.Output(layer):
                return outputs[layer]
            case compute.Trained(name):
                return self.trained[_key(name)].expand(inputs[0].shape[0], *value.shape)
            case compute.Reshape(x):
                return self._view(x, outputs, inputs).flatten(1).unflatten(1, value.shape)
            case compute.Tokens(x):
                return self._view(x, outputs, inputs).flatten(2).transpose(1, 2)
            case compute.Crop(x, start):
                part = tuple(slice(first, first + extent) for first, extent in zip(start, value.shape, strict=True))
                return self._view(x, outputs, inputs)[(slice(None), *part)]
            case compute.Concat(values, axis):
                parts = [self._view(v, outputs, inputs) for v in values]
                batch = max(part.shape[0] for part in parts)
                return torch.cat([part.expand(batch, *part.shape[1:]) for part in parts], axis + 1)
        raise AssertionError(view)

    def _module(self, name: str, made: Computation, eps: float) -> nn.Module:
        if any(is_unknown(value) for value in operands(made)):
            raise _error(self.network, name, "where its inputs come from is not known")
        match made:
            case compute.Convolution():
                return _Convolution(made, eps)
            case compute.TransposedConvolution(x, K, kernel, stride, bias):
                return nn.ConvTranspose2d(x.shape[0], K, kernel, stride, bias=bias)
            case compute.Linear():
                return _Linear(made, self._table(name, made))
            case compute.Scores():
                return _Scores(made.heads)
            case compute.AttentionWeights():
                return _AttentionWeights(made)
            case compute.Context():
                return _Context()
            case compute.Activation():
                return _Activation(made, eps)
            case compute.Zeros():
                return _Zeros()
            case compute.Sum():
                return _Sum()
            case compute.Product():
                return _Product()
            case compute.TrainedSum(x):
                return _TrainedSum(x.shape)
            case compute.Pool():
                return _pool(self.network, name, made)
            case compute.AdaptivePool():
                return nn.AdaptiveAvgPool2d(made.size)
            case compute.LayerNorm(x):
                return nn.LayerNorm(x.shape[-1])
            case compute.BatchNorm(x):
                return nn.BatchNorm2d(x.shape[0], eps)
            case compute.LocalResponseNorm():
                return nn.LocalResponseNorm(made.size, **_LRN)
            case compute.Softmax():
                return nn.Softmax(-1)
            case compute.Shuffle():
                return nn.ChannelShuffle(made.groups)
            case compute.Embedding(first=None):
                return nn.Embedding(made.rows, made.features)
            case compute.Embedding(first=int(first)):
                return _Positions(made, first)
        raise _error(self.network, name, f"{type(made).__name__} has no torch module")

    def _table(self, name: str, made: compute.Linear) -> nn.Parameter | None:
        if made.shared is None:
            return None
        self.network.layer(made.shared)
        owner = dict(self.layers.items()).get(_key(made.shared))
        table = getattr(getattr(owner, "linear", owner), "weight", None)
        if not isinstance(table, nn.Parameter) or tuple(table.shape) != (made.K, made.x.shape[-1]):
            shape = f"[{made.K}, {made.x.shape[-1]}]"
            raise _error(self.network, name, f"{made.shared!r} has no weights {shape} that it could share")
        return table


def to_torch(
    network: Network, *, batch_norm_eps: float = 1e-5, seed: int | None = None, shortcuts: bool = True
) -> NetworkModule:
    """The torch module of a network made by the builder, the zoo or a network space.

    Weights are PyTorch's defaults, drawn from ``seed`` alone (None: from fresh entropy); torch's global generator is
    left as it was. ``batch_norm_eps`` is that of all batch normalisations. Without ``shortcuts`` every sum is its
    operand with the most layers behind it, every product its first factor, and what is then of no use is left out: the
    network without residual links and squeeze-excite, on which Zen-NAS computes its score.

    Raises NetworkError, naming the layer, where the network does not say what it computes: networks from ONNX files,
    poolings without a kind, layers added to the graph by hand; and for more than 2^31 parameters.
    """
    if not len(network):
        raise NetworkError(f"{network.name}: has no layers")
    if network.parameters > _MOST_PARAMETERS:
        raise NetworkError(
            f"{network.name}: must have at most {_MOST_PARAMETERS:,} parameters (got {network.parameters:,})"
        )
    with torch.random.fork_rng(devices=[]):
        module = NetworkModule(network, batch_norm_eps, shortcuts)
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    initialise(module, generator)
    return module


def _computations(network: Network) -> dict[str, Computation]:
    """What layers compute, by name."""
    found: dict[str, Computation] = {}
    for layer in network:
        if layer.computation is None:
            raise _error(
                network, layer.name, "nobody said what it computes (a layer from an ONNX file, or added by hand)"
            )
        found[layer.name] = layer.computation
    return found


def _trunk(steps: dict[str, Computation]) -> dict[str, Computation]:
    """The layers of the longest way through sums and products."""
    depth: dict[str, int] = {}

    def behind(value: Value) -> int:
        return max((depth[layer] for layer in reads(value)), default=0)

    kept: dict[str, Computation] = {}
    for name, made in steps.items():
        if isinstance(made, compute.Sum):
            made = compute.Sum((max(made.values, key=behind),))
        elif isinstance(made, compute.Product):
            made = compute.Sum((made.x,))
        read = [depth[made.layer]] if isinstance(made, compute.Phase) else [behind(value) for value in operands(made)]
        depth[name] = 1 + max(read, default=0)
        kept[name] = made
    last = list(kept)[-1]
    used = {last}
    for name in reversed(kept):
        made = kept[name]
        if name in used:
            used.update(layer for value in operands(made) for layer in reads(value))
        if isinstance(made, compute.Phase) and name in used:
            used.add(made.layer)
    return {name: made for name, made in kept.items() if name in used}


def initialise(
    module: nn.Module, generator: torch.Generator, *, gaussian: bool = False, statistics: bool = True
) -> None:
    """Draw all weights anew, in the order of the modules, and reset normalisations to ones and zeros.

    PyTorch's default draws weights and biases of convolutions and linear layers uniformly from +-1/sqrt(fan in). With
    ``gaussian`` weights are from N(0, 1) and biases zero. Embeddings and trained tensors are from N(0, 1) in both.
    Without ``statistics`` the running means and variances of normalisations stay.
    """
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.Conv2d | nn.Linear | nn.ConvTranspose2d):
                if part.weight is not None:
                    bound = elements(part.weight.shape[1:]) ** -0.5
                    _draw(part.weight, bound, generator, gaussian)
                else:
                    bound = part.in_features**-0.5
                if part.bias is not None:
                    part.bias.zero_()
                    if not gaussian:
                        part.bias.uniform_(-bound, bound, generator=generator)
            elif isinstance(part, nn.BatchNorm2d | nn.LayerNorm):
                if statistics and isinstance(part, nn.BatchNorm2d):
                    part.reset_running_stats()
                part.weight.fill_(1.0)
                part.bias.zero_()
            elif isinstance(part, nn.Embedding | _TrainedSum):
                part.weight.normal_(generator=generator)
            elif isinstance(part, nn.ParameterDict):
                for parameter in part.values():
                    parameter.normal_(generator=generator)


def _draw(weight: Tensor, bound: float, generator: torch.Generator, gaussian: bool) -> None:
    if gaussian:
        weight.normal_(generator=generator)
    else:
        weight.uniform_(-bound, bound, generator=generator)


def weighted_layers(module: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    """Convolutions and linear layers with weights of their own, in order."""
    found = [part for part in module.modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    return [part for part in found if part.weight is not None]


def features_of(network: Network) -> Value | None:
    """The tensor before the last global pooling that all paths to the output pass.

    Without such a pooling it is what the first linear layer reads that all paths pass; None without that, too.
    """
    graph = network.graph.copy()
    output = list(graph)[-1]
    start = ""
    graph.add_edges_from((start, name) for name in network.graph if network.graph.in_degree(name) == 0)
    above = nx.immediate_dominators(graph, start)
    passed = [output]
    while above[passed[-1]] != start:
        passed.append(above[passed[-1]])
    made = [network.layer(name).computation for name in passed]
    for computation in made:
        if isinstance(computation, compute.Pool | compute.AdaptivePool) and _is_global(network, computation):
            return computation.x
    for computation in reversed(made):
        if isinstance(computation, compute.Linear):
            return computation.x
    return None


def _is_global(network: Network, made: compute.Pool | compute.AdaptivePool) -> bool:
    if isinstance(made, compute.AdaptivePool):
        return made.size == 1
    outputs = [
        (extent + 2 * pad - taps) // step
        for extent, pad, taps, step in zip(made.x.shape[1:], made.padding, made.kernel, made.stride, strict=True)
    ]
    return outputs == [0, 0] and not made.ceil


def _pool(network: Network, name: str, made: compute.Pool) -> nn.Module:
    if made.kind is None:
        raise _error(network, name, "pooling of no known kind (max or average)")
    if made.kind == "max":
        return nn.MaxPool2d(made.kernel, made.stride, made.padding, ceil_mode=made.ceil)
    return nn.AvgPool2d(made.kernel, made.stride, made.padding, made.ceil, count_include_pad=False)


def _key(name: str) -> str:
    return name.replace(".", "/")


def _error(network: Network, name: str, problem: str) -> NetworkError:
    return NetworkError(f"{network.name}: layer {name!r} cannot be run: {problem}")


__all__ = ["NetworkModule", "features_of", "initialise", "to_torch", "weighted_layers"]
