"""A network as a drawing: SVG that a page includes and colours with its own style sheet.

From the left to the right: every layer that multiplies and accumulates as a bar, the higher the more channels it makes
(on a logarithmic scale), in a colour for its kind, with its kernel below. Where the size of the maps changes, it is
written above; arcs are connections that pass layers by.
"""

from __future__ import annotations

import math
from html import escape

from accelerators.operators import Operator
from codesign.networks import Layer, Network

_BAR, _STEP, _MARGIN = 11, 15, 12
_HEIGHT, _PER_DOUBLING, _LEAST = 96, 8, 4
#: Room above the bars for arcs and sizes, and below them for kernels.
_ABOVE, _BELOW = 64, 34
_ARC = 44
#: Layers that are drawn; of longer networks the beginning.
_MOST = 400

#: Kinds of bars in the order of the legend: class and name.
KINDS = (
    ("kernel", "convolution with a kernel"),
    ("pointwise", "1 x 1 convolution or matrix product"),
    ("depthwise", "depthwise or grouped"),
)


def draw_network(network: Network) -> str:
    """The network as an ``<svg>`` element.

    It has classes and no colours: ``bar`` with ``kernel``, ``pointwise`` or ``depthwise``, ``arc``, ``note``.
    """
    layers = [layer for layer in network if not layer.operator.passes][:_MOST]
    places = {layer.name: i for i, layer in enumerate(layers)}
    ground = _ABOVE + _HEIGHT
    parts = [
        f'<path class="arc" d="M{_x(start)} {ground - _top(layers[start])} '
        f"C{_x(start)} {_ABOVE - _rise(end - start)} {_x(end)} {_ABOVE - _rise(end - start)} "
        f'{_x(end)} {ground - _top(layers[end])}"/>'
        for start, end in _skips(network, places)
    ]
    size = ""
    for i, layer in enumerate(layers):
        operator, height = layer.operator, _top(layer)
        left = _x(i) - _BAR / 2
        title = escape(f"{layer.name}: {operator}")
        parts.append(
            f'<rect class="bar {_kind(operator)}" x="{left}" y="{ground - height}" width="{_BAR}" height="{height}" '
            f'rx="1.5"><title>{title}</title></rect>'
        )
        kernel = _kernel(operator)
        if kernel:
            parts.append(f'<text class="note" x="{_x(i)}" y="{ground + 13}" text-anchor="middle">{kernel}</text>')
        now = _size(operator)
        # Squeezed maps (of squeeze-and-excitation) are no new size.
        if now != size and now != "1":
            size = now
            parts.append(f'<text class="note" x="{left}" y="{ground + 28}">{size}</text>')
    width = 2 * _MARGIN + _STEP * max(1, len(layers)) + 30
    text = f"{len(layers)} layers with weights or products of {escape(network.name)}"
    return (
        f'<svg class="network" viewBox="0 0 {width} {ground + _BELOW}" width="{width}" height="{ground + _BELOW}" '
        f'role="img" aria-label="{text}">{"".join(parts)}</svg>'
    )


def _x(place: int) -> float:
    return _MARGIN + _STEP * (place + 0.5)


def _channels(operator: Operator) -> int:
    return operator.bound("K") * operator.bound("G")


def _top(layer: Layer) -> float:
    """Height of a bar."""
    return min(_HEIGHT, _LEAST + _PER_DOUBLING * math.log2(_channels(layer.operator)))


def _rise(length: int) -> float:
    return min(_ARC, 10 + 4 * length)


def _kernel(operator: Operator) -> str:
    rows, columns = operator.bound("R"), operator.bound("S")
    if rows == columns:
        return str(rows) if rows > 1 else ""
    return f"{rows}x{columns}"


def _kind(operator: Operator) -> str:
    if operator.bound("G") > 1:
        return "depthwise"
    return "kernel" if operator.bound("R") * operator.bound("S") > 1 else "pointwise"


def _size(operator: Operator) -> str:
    rows, columns = operator.bound("P"), operator.bound("Q")
    return f"{rows}" if rows == columns else f"{rows}x{columns}"


def _skips(network: Network, places: dict[str, int]) -> list[tuple[int, int]]:
    """(from, to) of connections that pass by at least one layer: through layers that are not drawn."""
    sources: dict[str, frozenset[int]] = {}
    found = set()
    for layer in network:
        before = frozenset().union(*(sources.get(name, frozenset()) for name in network.predecessors(layer.name)))
        if layer.name in places:
            here = places[layer.name]
            found |= {(start, here) for start in before if here - start > 1}
            sources[layer.name] = frozenset({here})
        else:
            sources[layer.name] = before
    return sorted(found)
