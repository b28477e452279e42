"""Networks as lists of layers: ["conv", in, out, kernel, stride, groups, bias], ["bn", channels], ["relu"], .."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks._common import BadInputError
from codesign.networks import Builder, Network, NetworkError
from codesign.networks.builder import Value


def build(path: Path, name: str, layers: list[Any], shape: tuple[int, int, int]) -> Network:
    """The network of a list, on images [channels, height, width].

    Convolutions have padding kernel // 2. ["res", layers] is x + f(x). The last layer is ["fc", in, classes], with a
    global average pooling before it.
    """
    where = f"{path}: networks.{name}.layers"
    if not isinstance(layers, list) or not layers:
        raise BadInputError(f"{where}: must be a list of layers")
    b = Builder(name)
    try:
        x = _chain(b, b.input(*shape), layers[:-1], where, "")
        kind, width, classes = _numbers(layers[-1], f"{where}[{len(layers) - 1}]", ("fc", int, int))
        if width != x.shape[0]:
            raise BadInputError(f"{where}[{len(layers) - 1}]: fc must take {x.shape[0]} channels (got {width})")
        b.linear(b.flatten(b.global_pool(x, "pool")), kind, K=classes)
    except NetworkError as error:
        raise BadInputError(f"{where}: {error}") from None
    return b.network


def _chain(b: Builder, x: Value, layers: list[Any], where: str, prefix: str) -> Value:
    i = 0
    while i < len(layers):
        place, name = f"{where}[{i}]", f"{prefix}{i}"
        kind = layers[i][0] if isinstance(layers[i], list) and layers[i] else layers[i]
        i += 1
        if kind == "conv":
            _, channels, K, kernel, stride, groups, bias = _numbers(
                layers[i - 1], place, ("conv", int, int, int, int, int, bool)
            )
            _check(place, channels, x)
            bn = i < len(layers) and isinstance(layers[i], list) and layers[i][:1] == ["bn"]
            if bn:
                _check(f"{where}[{i}]", _numbers(layers[i], f"{where}[{i}]", ("bn", int))[1], K)
                i += 1
            x = b.conv(x, name, K=K, kernel=kernel, stride=stride, padding=kernel // 2, groups=groups, bias=bias, bn=bn)
        elif kind == "bn":
            _check(place, _numbers(layers[i - 1], place, ("bn", int))[1], x)
            x = b.batch_norm(x, name)
        elif kind == "relu":
            x = b.activation(x, name, "relu")
        elif kind == "res":
            inner = layers[i - 1][1:]
            # The layers may be one list or stand behind the word.
            if len(inner) == 1 and inner[0] and isinstance(inner[0], list) and isinstance(inner[0][0], list):
                inner = inner[0]
            x = b.add(f"{name}.add", _chain(b, x, inner, place, f"{name}."), x)
        else:
            raise BadInputError(f"{place}: layer must be conv, bn, relu or res, with fc at the end (got {kind!r})")
    return x


def _numbers(layer: Any, place: str, wanted: tuple[Any, ...]) -> list[Any]:
    title = f"[{', '.join(repr(w) if isinstance(w, str) else w.__name__ for w in wanted)}]"
    fits = isinstance(layer, list) and len(layer) == len(wanted) and layer[0] == wanted[0]
    if not fits or any(type(value) is not kind for value, kind in zip(layer[1:], wanted[1:], strict=True)):
        raise BadInputError(f"{place}: must be {title} (got {layer!r})")
    return layer


def _check(place: str, channels: int, x: Value | int) -> None:
    have = x if isinstance(x, int) else x.shape[0]
    if channels != have:
        raise BadInputError(f"{place}: must take {have} channels (got {channels})")
