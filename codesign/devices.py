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
from accelerators.documents import DocumentError, parse, read_text
from accelerators.processors import lookup
from accelerators.processors.lookup import LatencyTable, MissingKeysError
from accelerators.processors.processor import Processor
from codesign.costs import LayerCost, MeasuredCost
from codesign.nas.lookup_keys import parts, style_of
from codesign.networks import Layer, Network, NetworkError
from codesign.predictors import Predictor

#: Interpolated entries that a result names, beside its layers.
_MOST_SAID = 5


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
        line = f"{self.name}: predicts {self.predictor.unit}, learnt from {self.predictor.measurements} networks"
        return [line, *(f"  {seen}" for seen in self.predictor.learnt_from)]


Device = TableDevice | LearnedDevice


def load(name_or_path: str | Path, *, interpolate: bool = False, extrapolate: bool = False) -> Hardware | Device:
    """Hardware of any kind: a name of the catalog, a datasheet, a latency table (.json or .yaml), a predictor (.npz).

    A number type may follow a processor's name or datasheet, ``titan_rtx:fp16``; else it runs its first one.

    Raises :class:`~accelerators.documents.DocumentError`, with what is wrong and where.
    """
    path = Path(name_or_path)
    name, separator, number_type = str(name_or_path).rpartition(":")
    if separator and not path.exists():
        return _with_type(name, catalog.load(name), number_type)
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


def _with_type(name: str, hardware: Hardware, number_type: str) -> Hardware:
    if not isinstance(hardware, Processor):
        raise DocumentError([f"{name}:{number_type}: a number type is for processors, and {name} is none"])
    try:
        return replace(hardware.running(number_type), name=f"{hardware.name}:{number_type}")
    except ValueError as error:
        raise DocumentError([f"{name}: {error}"]) from None


def _is_table(path: Path) -> bool:
    """Whether a YAML file is a latency table; one that cannot be read is not."""
    try:
        return lookup.is_table(parse(read_text(path)).data)
    except DocumentError:
        return False


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
        said = [f"{key} from {source}" for key, source in list(total.interpolated.items())[:_MOST_SAID]]
        more = len(total.interpolated) - len(said)
        said += [f"{more} more, see the layers"] if more > 0 else []
        many = "1 entry is" if len(total.interpolated) == 1 else f"{len(total.interpolated)} different entries are"
        quality += f"; {many} interpolated: {', '.join(said)}"
    if "error" in table.about:
        quality += f"; {table.about['error']}"
    return MeasuredCost(graph.name, device.name, None, 0.0, layers, quality, measured_latency_s=total.latency_ms * 1e-3)


def _timed(table: LatencyTable, key: str, interpolate: bool) -> Cost | Infeasible:
    try:
        found = table.latency([key], interpolate)
    except MissingKeysError as error:
        text = f"{table.name}: no entry for {error.keys[0]}"
        if interpolate:
            text += ", and nothing of its kind to scale from"
        return Infeasible("missing", text, {"key": key})
    source = found.interpolated.get(key)
    told = "measured" if source is None else f"interpolated from {source}"
    return Cost(0.0, 0, found.latency_ms * 1e-3, 0, 0, 0.0, told, {})


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
