"""Devices that are known by measurements: tables of latencies, and predictors learnt from measured networks.

Both say how long a network takes, or one of them how much energy, and nothing else; they stand beside datasheets in
:func:`codesign.evaluate`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from accelerators import catalog
from accelerators.catalog import Hardware
from accelerators.costs import Cost, Infeasible
from accelerators.documents import DocumentError
from accelerators.processors import lookup
from accelerators.processors.lookup import LatencyTable, MissingKeysError
from codesign.costs import LayerCost, MeasuredCost
from codesign.nas.lookup_keys import parts, style_of
from codesign.networks import Layer, Network, NetworkError
from codesign.predictors import Predictor


@dataclass(frozen=True)
class TableDevice:
    """A device with latency tables by image size, or one under the empty name.

    ``interpolate`` lets missing entries be scaled from the nearest ones.
    """

    name: str
    tables: Mapping[str, LatencyTable]
    interpolate: bool = False

    def describe(self) -> list[str]:
        """What the tables are, line by line."""
        lines = []
        for size, table in self.tables.items():
            style = style_of(table.entries)
            of = "operators" if style is None else f"blocks, keys as {style}"
            lines.append(f"{self.name}{f' at {size} pixels' if size else ''}: {len(table.entries)} latencies of {of}")
            lines += [f"  {key}: {value}" for key, value in table.about.items()]
        return lines


@dataclass(frozen=True)
class LearnedDevice:
    """A device with a predictor; ``extrapolate`` lets it speak of networks unlike those that were measured."""

    name: str
    predictor: Predictor
    extrapolate: bool = False

    def describe(self) -> list[str]:
        """What the predictor is, line by line."""
        view, what, referred = self.predictor.form
        lines = [f"{self.name}: predicts {self.predictor.unit}, learnt from {self.predictor.measurements} networks"]
        lines.append(f"  sees {view if what != 'nothing' else 'no'} operators, as {what}")
        if referred:
            lines.append(f"  and what {self.predictor.reference} says")
        return lines


Device = TableDevice | LearnedDevice


def load(name_or_path: str | Path, *, interpolate: bool = False, extrapolate: bool = False) -> Hardware | Device:
    """Hardware of any kind: a name of the catalog, a datasheet, a latency table (.json or .yaml), a predictor (.npz).

    Raises :class:`~accelerators.documents.DocumentError`, with what is wrong and where.
    """
    path = Path(name_or_path)
    if path.suffix == ".npz":
        try:
            return LearnedDevice(path.stem, Predictor.load(path), extrapolate)
        except (ValueError, ImportError) as error:
            raise DocumentError([str(error)]) from None
    if path.suffix == ".json" or (path.suffix in (".yaml", ".yml") and _is_table(path)):
        tables = lookup.read(path)
        about = next(iter(tables.values())).about
        return TableDevice(str(about.get("name", path.stem)), tables, interpolate)
    return catalog.load(name_or_path)


def _is_table(path: Path) -> bool:
    """Whether a file's first key is that of a block or of a size, or its kind that of a table."""
    try:
        with path.open(encoding="utf-8") as file:
            head = file.read(4096)
    except (OSError, UnicodeDecodeError):
        return False
    return f"kind: {lookup.KIND}" in head or "-input:" in head.splitlines()[0] if head.strip() else False


def operator_key(layer: Layer) -> str:
    """The key of a layer in a table of operators: its shape, and the normalisation that runs with it."""
    return f"{layer.operator}{'+bn' if layer.batch_norm else ''}"


def on_table(graph: Network, device: TableDevice) -> MeasuredCost:
    """A network on a device with a latency table: the sum over its operators, or over its blocks.

    Layers of a block run inside its first one. A layer without an entry cannot be priced, and says which key is
    missing.
    """
    size = "" if graph.description is None else str(graph.description["image_size"])
    table = device.tables.get("", device.tables.get(size))
    if table is None:
        known = ", ".join(device.tables)
        reason = f"no table for images of {size or 'unknown size'} (there are tables for {known})"
        return MeasuredCost(graph.name, device.name, None, 0.0, (), reason=reason)
    style = style_of(table.entries)
    if style is None:
        found = [(operator_key(layer), [layer.name]) for layer in graph]
    else:
        try:
            found = parts(graph, style)
        except NetworkError as error:
            return MeasuredCost(graph.name, device.name, None, 0.0, (), reason=str(error))
    keys = [key for key, _ in found]
    prices = {key: _timed(table, key, device.interpolate) for key in dict.fromkeys(keys)}
    nothing = Cost(0.0, 0, 0.0, 0, 0, 0.0, "none", {})
    # The first layer of a part has its latency; one that belongs to none costs nothing.
    first = {names[0]: prices[key] for key, names in found if names}
    layers = tuple(
        LayerCost(layer.name, layer.operator, first.get(layer.name, nothing), layer.name not in first, timed=True)
        for layer in graph
    )
    if any(isinstance(price, Infeasible) for price in prices.values()):
        return MeasuredCost(graph.name, device.name, None, 0.0, layers)
    total = table.latency(keys, device.interpolate)
    quality = f"sum of {len(keys)} entries of a latency table"
    if total.std_ms is not None:
        quality += f", standard deviation {total.std_ms:.3g} ms"
    if total.interpolated:
        quality += f"; {len(total.interpolated)} different entries are interpolated from the nearest ones"
    if "error" in table.about:
        quality += f"; {table.about['error']}"
    return MeasuredCost(graph.name, device.name, None, 0.0, layers, quality, measured_latency_s=total.latency_ms * 1e-3)


def _timed(table: LatencyTable, key: str, interpolate: bool) -> Cost | Infeasible:
    try:
        seconds = table.latency([key], interpolate).latency_ms * 1e-3
    except MissingKeysError as error:
        return Infeasible("missing", f"{table.name}: no entry for {error.keys[0]}", {"key": key})
    return Cost(0.0, 0, seconds, 0, 0, 0.0, "measured", {})


def on_learned(graph: Network, device: LearnedDevice) -> MeasuredCost:
    """A network on a device with a predictor, which gives its latency or its energy."""
    nothing = MeasuredCost(graph.name, device.name, None, 0.0, ())
    try:
        found = device.predictor.predict(graph, device.extrapolate)
    except ValueError as error:
        return replace(nothing, reason=str(error))
    unit = device.predictor.unit
    if not found.mean > 0:
        return replace(
            nothing, reason=f"predicted {found.mean:.4g} {unit}: too far from the networks that were measured"
        )
    quality = f"predicted, standard deviation {found.std:.3g} {unit}"
    if found.extrapolated:
        quality += "; extrapolated beyond the networks that were measured"
    if unit == "ms":
        return replace(nothing, quality=quality, measured_latency_s=found.mean * 1e-3)
    return replace(nothing, quality=quality, measured_energy_pj=found.mean * 1e9)
