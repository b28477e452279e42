"""All candidates of a run as one table, or their layers; as CSV or as Parquet, with the same values.

The order is that of the search, not that in which candidates were finished: but for ``seconds`` and ``attempts``, the
tables of equal experiments are equal. A run that is going on gives what it has finished.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ruamel.yaml import YAML

from accelerators.costs import Cost, Infeasible
from accelerators.documents import DocumentError
from accelerators.operators import Operator
from accelerators.spatial.architecture import SpatialAccelerator
from accelerators.units import UNITS, split_unit
from codesign.evaluation import evaluate, layer_costs
from codesign.experiments.candidates import Record
from codesign.experiments.experiment import point_sheets
from codesign.experiments.ledger import Ledger, LedgerError
from codesign.experiments.run import BASELINE
from codesign.experiments.sheet import ExperimentSheet
from codesign.experiments.specifications import load_network, network_specification, space_of
from codesign.experiments.task import hardware_of
from codesign.networks import Network, NetworkError

#: Begins the names of columns that hold what a design chose.
_CHOICE = "choice."
Kind = Literal["text", "integer", "number", "boolean"]
_CANDIDATES: dict[str, Kind] = {
    "point": "integer",
    "label": "text",
    "generation": "integer",
    "digest": "text",
    "accelerator": "text",
    "status": "text",
    "code": "text",
    "reason": "text",
    "edp_js": "number",
    "energy_pj": "number",
    "latency_s": "number",
    "area_mm2": "number",
    "accuracy": "number",
    "gap": "number",
    "seconds": "number",
    "attempts": "integer",
    "judged": "integer",
}
#: Columns that only some runs have.
_SEARCHED = ("accuracy", "judged")
_TOTALS: dict[str, Kind] = {
    "energy_pj": "number",
    "latency_cycles": "integer",
    "latency_s": "number",
    "edp_js": "number",
    "utilisation": "number",
    "macs": "integer",
}
_ACCURACY: dict[str, Kind] = {"accuracy": "number", "accuracy_kind": "text", "uncertainty": "number"}
_FRONTS: dict[str, Kind] = {
    "point": "integer",
    "label": "text",
    "digest": "text",
    "accelerator": "text",
    "accuracy": "number",
    "energy_pj": "number",
    "latency_s": "number",
    "edp_js": "number",
    "network": "text",
}
_LAYERS: dict[str, Kind] = {
    "point": "integer",
    "label": "text",
    "digest": "text",
    "accelerator": "text",
    "network": "text",
    "layer": "text",
    "kind": "text",
    "operator": "text",
    "status": "text",
    "macs": "integer",
    "padded_macs": "integer",
    "energy_pj": "number",
    "latency_cycles": "integer",
    "latency_s": "number",
    "edp_js": "number",
    "utilisation": "number",
    "bottleneck": "text",
    "gap": "number",
}


class Table:
    """Columns of equal length, by name; what a record does not have is None."""

    def __init__(self, kinds: Mapping[str, Kind]):
        self._kinds = dict(kinds)
        self._columns: dict[str, list[Any]] = {name: [] for name in kinds}
        self._rows = 0

    def add(self, record: Mapping[str, Any]) -> None:
        """A row; columns that are new come last."""
        for name in record:
            if name not in self._columns:
                self._columns[name] = [None] * self._rows
        for name, column in self._columns.items():
            column.append(record.get(name))
        self._rows += 1

    def __len__(self) -> int:
        return self._rows

    def columns(self) -> dict[str, tuple[Kind, list[Any]]]:
        """Every column with the one kind that all of its values have; a column of several kinds becomes text.

        Choices with one and the same unit become numbers, and the unit the end of the column's name.
        """
        found: dict[str, tuple[Kind, list[Any]]] = {}
        for name, column in self._columns.items():
            kind = self._kinds.get(name) or _kind(column)
            unit = _common_unit(column) if name.startswith(_CHOICE) and kind == "text" else None
            if unit:
                name, column = f"{name}_{unit}", [value and split_unit(value)[0] for value in column]
                kind = "number"
            found[_text(name)] = kind, [None if value is None else _as(kind, value) for value in column]
        return found

    def to_csv(self) -> bytes:
        """UTF-8 with a header; None is an empty field, an empty text is ``""``."""
        columns = self.columns()
        lines = [columns, *zip(*(values for _, values in columns.values()), strict=True)]
        return "".join(",".join(map(_field, line)) + "\n" for line in lines).encode()

    def to_parquet(self) -> bytes:
        """Raises :class:`ImportError` without pyarrow."""
        import pyarrow
        from pyarrow import parquet

        types = {
            "text": pyarrow.string(),
            "integer": pyarrow.int64(),
            "number": pyarrow.float64(),
            "boolean": pyarrow.bool_(),
        }
        columns = self.columns()
        arrays = [pyarrow.array(values, types[kind], from_pandas=False) for kind, values in columns.values()]
        buffer = io.BytesIO()
        parquet.write_table(pyarrow.Table.from_arrays(arrays, names=list(columns)), buffer)
        return buffer.getvalue()


def _kind(column: Sequence[Any]) -> Kind:
    kinds = {type(value) for value in column if value is not None}
    if kinds == {bool}:
        return "boolean"
    if kinds == {int} and all(abs(value) < 2**63 for value in column if value is not None):
        return "integer"
    return "number" if kinds and kinds <= {int, float} and float in kinds else "text"


def _common_unit(column: Sequence[Any]) -> str | None:
    """The unit of a column whose values all have the same."""
    try:
        units = {split_unit(value)[1] for value in column if value is not None}
    except ValueError:
        return None
    known = (unit for unit in units if any(unit in those for those in UNITS.values()))
    return next(known, None) if len(units) == 1 else None


def _as(kind: Kind, value: Any) -> Any:
    if kind == "text":
        return _text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return float(value) if kind == "number" else value


def _text(value: str) -> str:
    """Text that files can hold: half a surrogate pair becomes a question mark."""
    return value.encode("utf-8", "replace").decode()


def _field(value: Any) -> str:
    """A field of CSV. The csv module leaves a bare carriage return unquoted, and readers take it for the line's end."""
    if not isinstance(value, str):
        return "" if value is None else repr(value)
    if value and value.strip() == value and not set(value) & set(',"\r\n'):
        return value
    return '"' + value.replace('"', '""') + '"'


def candidates(folder: Path) -> Table:
    """One row per finished candidate of every point.

    ``generation`` is the first that proposed it (None: the baseline, or a generation that is not finished). What the
    networks cost is in ``network.NAME.QUANTITY``, what the sweep set in ``sweep.PATH``, what the design chose in
    ``choice.PARAMETER``, with its unit if it has one; arrays are JSON.

    Raises :class:`~codesign.experiments.ledger.LedgerError`.
    """
    with Ledger(folder, write=False) as ledger, ledger.snapshot():
        found = list(_in_order(ledger))
        networks = list(_records(ledger, "networks"))
    totals: dict[int, Record] = {}
    kinds = {key: kind for key, kind in _CANDIDATES.items() if key not in _SEARCHED or any(e[key] for e in found)}
    for network in networks:
        for quantity, kind in {**_TOTALS, **_ACCURACY}.items():
            if quantity in _ACCURACY and network[quantity] is None:
                continue
            name = f"network.{network['network']}.{quantity}"
            kinds[name] = kind
            totals.setdefault(network["candidate"], {})[name] = network[quantity]
    table = Table(kinds)
    for entry in found:
        table.add(
            {
                **{key: value for key, value in entry.items() if key in kinds},
                **totals.get(entry["id"], {}),
                **{f"sweep.{path}": value for path, value in entry["sweep"].items()},
                **{_CHOICE + name: value for name, value in entry["choices"].items()},
            }
        )
    return table


def fronts(folder: Path) -> Table:
    """One row per candidate and network that no other network beats there in accuracy and cost, where networks were
    searched; where a candidate has one network, a row for that. ``network`` is what ``codesign evaluate SPACE:NETWORK``
    takes.

    Raises :class:`~codesign.experiments.ledger.LedgerError`, also if the space of the networks is not at hand.
    """
    table = Table(_FRONTS)
    with Ledger(folder, write=False) as ledger, ledger.snapshot():
        for entry in _in_order(ledger):
            networks = ledger.candidate(entry["point"], entry["digest"])["networks"]
            searched = [each["specification"] for each in networks if "space" in (each["specification"] or {})]
            if not searched:
                continue
            try:
                space = space_of(searched[0]["space"], searched[0]["options"])
            except (NetworkError, DocumentError) as error:
                raise LedgerError(f"{folder}: the networks cannot be told: {error}") from None
            identity = {key: entry[key] for key in ("point", "label", "digest", "accelerator")}
            own = [[n["accuracy"], n["energy_pj"], n["latency_s"], n["specification"]["code"]] for n in networks]
            for accuracy, energy_pj, latency_s, code in own if entry["front"] is None else json.loads(entry["front"]):
                edp_js = None if energy_pj is None or latency_s is None else energy_pj * 1e-12 * latency_s
                costs = {"energy_pj": energy_pj, "latency_s": latency_s, "edp_js": edp_js}
                table.add({**identity, "accuracy": accuracy, **costs, "network": space.text(code)})
    return table


def layers(folder: Path) -> Table:
    """One row per candidate that works, network and layer; the columns are those of ``codesign evaluate --csv``.

    The rows of a network sum up to its cost. Layers with a loop nest are as the run found them; what the others cost,
    which a run does not keep, is computed anew.

    Raises :class:`~codesign.experiments.ledger.LedgerError`, also if networks cannot be loaded or differ from those of
    the run.
    """
    table = Table(_LAYERS)
    with Ledger(folder, write=False) as ledger, ledger.snapshot():
        meta = ledger.meta
        source = Path(meta["source"])
        try:
            sheets = point_sheets(meta["experiment"], source)
        except DocumentError as error:
            raise LedgerError(f"{folder}: the experiment cannot be read: {error}") from None
        graphs: dict[int, list[Network]] = {}
        for entry in _in_order(ledger):
            point = entry["point"]
            if entry["status"] != "ok":
                continue
            if point not in graphs:
                graphs[point] = _networks(folder, sheets[point], source.parent)
            identity = {key: entry[key] for key in ("point", "label", "digest", "accelerator")}
            candidate = ledger.candidate(point, entry["digest"])
            for record in _layers_of(folder, candidate, sheets[point], _own(folder, candidate) or graphs[point]):
                table.add({**identity, **record})
    return table


def datasheet_yaml(datasheet: Mapping[str, Any]) -> str:
    """A datasheet as YAML; it begins with its name."""
    yaml = YAML()
    yaml.width = 2**31
    text = io.StringIO()
    yaml.dump({"name": datasheet["name"], **datasheet}, text)
    return text.getvalue()


def _records(ledger: Ledger, table: str) -> Iterator[Record]:
    names, rows = ledger.rows(table)
    return (dict(zip(names, row, strict=True)) for row in rows)


def _in_order(ledger: Ledger) -> Iterator[Record]:
    """Candidates with what is known of them: by point the baseline, then as proposed, then unfinished ones."""
    labels = ledger.meta["points"]
    proposed: dict[tuple[int, str], tuple[int, int]] = {}
    for point in range(len(labels)):
        for number, generation in ledger.generations(point).items():
            for place, digest in enumerate(generation["candidates"]):
                proposed.setdefault((point, digest), (number, place))

    def order(entry: Record) -> tuple[Any, ...]:
        place = (
            (-1, 0) if entry["digest"] == BASELINE else proposed.get((entry["point"], entry["digest"]), (math.inf, 0))
        )
        return entry["point"], *place, entry["digest"]

    for entry in sorted(_records(ledger, "candidates"), key=order):
        label = labels[entry["point"]]
        choices = json.loads(entry["choices"])
        given = set(choices) == {"accelerator"}
        yield {
            **entry,
            "label": ", ".join(f"{path}={value}" for path, value in label.items()) or None,
            "sweep": label,
            "generation": proposed.get((entry["point"], entry["digest"]), (None, 0))[0],
            "accelerator": choices["accelerator"] if given else None,
            "choices": {} if given else choices,
        }


def _networks(folder: Path, sheet: ExperimentSheet, beside: Path) -> list[Network]:
    try:
        trained = sheet.accuracy is not None
        return [load_network(network_specification(network, beside, trained)) for network in sheet.networks]
    except (NetworkError, ValueError, ImportError, OSError) as error:
        raise LedgerError(f"{folder}: a network cannot be loaded, so its layers are not known: {error}") from None


def _own(folder: Path, candidate: Record) -> list[Network]:
    """The networks of a candidate that were searched for it."""
    found = [entry["specification"] for entry in candidate["networks"] if entry["specification"] is not None]
    try:
        return [load_network(each) for each in sorted(found, key=lambda each: each.get("position", 0))]
    except (NetworkError, DocumentError, ValueError, ImportError, OSError) as error:
        raise LedgerError(
            f"{folder}: the network of {candidate['digest']} cannot be loaded, so its layers are not known: {error}"
        ) from None


def _layers_of(
    folder: Path, candidate: Record, sheet: ExperimentSheet, networks: Sequence[Network]
) -> Iterator[Record]:
    accelerator = hardware_of(candidate["datasheet"], candidate["digest"])
    if not isinstance(accelerator, SpatialAccelerator):
        for network in networks:
            (cost,) = evaluate(network, accelerator, fuse=sheet.fuse).results
            yield from ({"network": network.name, **layer.record()} for layer in cost.layers)
        return
    # The ledger has them in this order; names may be those of several layers.
    operators = dict.fromkeys(operator for network in networks for operator in network.unique() if not operator.passes)
    if [str(operator) for operator in operators] != [saved["operator"] for saved in candidate["layers"]]:
        raise LedgerError(f"{folder}: the networks have other layers now than in the run")
    mapped: dict[Operator, tuple[Cost | Infeasible, float | None]] = {
        operator: (_cost(accelerator, operator, saved), saved["gap"])
        for operator, saved in zip(operators, candidate["layers"], strict=True)
    }
    for network in networks:
        for layer in layer_costs(accelerator, network, network.fusable() if sheet.fuse else {}, mapped):
            yield {"network": network.name, **layer.record()}


def _cost(accelerator: SpatialAccelerator, operator: Operator, saved: Record) -> Cost:
    """A layer's cost as the ledger has it, without its counts."""
    return Cost(
        saved["energy_pj"],
        saved["latency_cycles"],
        saved["latency_cycles"] / accelerator.clock_hz,
        operator.macs,
        math.prod(saved["bounds"].get(dimension, bound) for dimension, bound in operator.bounds),
        saved["utilisation"],
        saved["bottleneck"],
        saved["energy_breakdown_pj"],
    )
