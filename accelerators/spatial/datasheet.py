"""A spatial accelerator's YAML datasheet, and how it becomes a :class:`SpatialAccelerator`.

Example::

    name: tiny
    kind: spatial
    node: 45 nm
    clock: 500 MHz
    compute: {type: int8, accumulator: int32}
    levels:
      - {name: DRAM, memory: dram, type: LPDDR4, bandwidth: 8 GB/s}
      - name: GLB
        memory: sram
        capacity: 64 kB
        width: 64 bit
        bandwidth: 16 B/cycle
        fanout: {x: {size: 16, unroll: [K]}, y: {size: 16, unroll: [C]}}
      - {name: RF, memory: registers, capacity: 32 B, width: 8 bit}

Plain numbers are in the unit that the field's description names; text may carry another unit. Energy, area and leakage
that are not given come from the technology tables; ``node`` is then required.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from accelerators import technology
from accelerators.documents import Document, DocumentError, Path_, StrictModel, json_schema
from accelerators.fields import (
    FLOAT_BITS,
    FROM_TECHNOLOGY,
    AccessEnergy,
    Area,
    Capacity,
    Clock,
    Energy,
    Leakage,
    Node,
    NumberType,
    Rate,
    Width,
    type_bits,
)
from accelerators.operators import ROLES, Role
from accelerators.spatial.architecture import Axis, Compute, Level, Mode, SpatialAccelerator
from accelerators.spatial.constraints import Constraints, LevelConstraint, SpatialConstraint
from accelerators.suggestions import did_you_mean
from accelerators.technology import TechnologyError

#: Dimensions of all operators that the program builds; further ones of streaming operators are D6, D7, ..
_DIM = re.compile(r"[NGKCPQRS]|D[0-9]+")
_MOST_MACS = 10_000_000
#: A node for ratios of energies, which are the same at all nodes.
_ANY_NM = 45.0


def _dimension(value: object) -> object:
    if isinstance(value, str) and not _DIM.fullmatch(value):
        raise ValueError("must be a dimension: N, G, K, C, P, Q, R or S")
    return value


def _any_or_list(value: object) -> object:
    return None if value == "any" else value


def _words(value: object) -> object:
    """``fill`` and ``update`` in one word: an energy mapping with ``write`` sets both."""
    if value == FROM_TECHNOLOGY:
        return None
    if not isinstance(value, dict):
        raise ValueError(f"must be {FROM_TECHNOLOGY!r} or a mapping with read and write")
    return value


Dim = Annotated[str, BeforeValidator(_dimension, json_schema_input_type=str)]
Factor = Annotated[int, Field(ge=1)]


class AxisSheet(StrictModel):
    """One axis of a fanout."""

    size: Annotated[int, Field(ge=1, le=1_000_000, description="children along this axis")]
    unroll: Annotated[
        list[Dim] | None,
        BeforeValidator(_any_or_list, json_schema_input_type=list[str] | Literal["any"] | None),
        Field(description="dimensions that may be unrolled along it (its wires), or 'any'"),
    ] = None


class EnergySheet(StrictModel):
    """Energy per access of the level's width."""

    read: AccessEnergy
    write: AccessEnergy
    update: AccessEnergy | None = None


class LevelSheet(StrictModel):
    """One storage level; every figure is per instance."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
    memory: Literal["dram", "sram", "registers"]
    type: Annotated[str, Field(description="kind of DRAM in the technology tables")] = "LPDDR4"
    capacity: Annotated[Capacity | None, Field(description="bytes; DRAM may leave it out")] = None
    width: Annotated[Width | None, Field(description="bits that one access moves")] = None
    banks: Annotated[int, Field(ge=1, le=65536)] = 1
    cell: str | None = None
    keeps: Annotated[list[Role], Field(min_length=1, description="tensors that it may keep")] = list(ROLES)
    bandwidth: Annotated[Rate | None, Field(description="reads and writes together; bytes per cycle")] = None
    read_bandwidth: Rate | None = None
    write_bandwidth: Rate | None = None
    double_buffered: Annotated[bool, Field(description="a tile may take half the capacity")] = False
    energy: Annotated[
        EnergySheet | None, BeforeValidator(_words, json_schema_input_type=EnergySheet | Literal["from technology"])
    ] = None
    area: Area = None
    leakage: Leakage = None
    fanout: Annotated[dict[str, AxisSheet], Field(max_length=3)] = {}
    source: str = ""


class ScalableSheet(StrictModel):
    """What makes a multiply-accumulate unit precision-scalable; narrower operands take less energy, no fewer cycles."""

    types: Annotated[list[NumberType], Field(min_length=1, description="narrower integers that an operand may be")]
    energy_factor: Annotated[
        Annotated[float, Field(ge=1, le=100)] | None,
        Field(description="energy at full width over that of a unit of one width; with energies from technology"),
    ] = None
    area_factor: Annotated[
        Annotated[float, Field(ge=1, le=100)] | None,
        Field(description="area and leakage over those of a unit of one width; with areas from technology"),
    ] = None
    source: str = ""


class ComputeSheet(StrictModel):
    """The multiply-accumulate unit."""

    type: NumberType
    weights: NumberType | None = None
    inputs: NumberType | None = None
    outputs: NumberType | None = None
    accumulator: NumberType | None = None
    energy: Energy = None
    area: Area = None
    leakage: Leakage = None
    add_energy: Annotated[Energy, Field(description="one addition of partial sums between PEs")] = None
    scalable: Annotated[ScalableSheet | None, Field(description="less energy for narrower operands")] = None
    source: str = ""


class SpatialRuleSheet(StrictModel):
    """What a dataflow asks of one axis."""

    unroll: list[Dim] | None = None
    factors: dict[Dim, Factor] = {}
    min_factors: dict[Dim, Factor] = {}
    max_factors: dict[Dim, Factor] = {}


class LevelRuleSheet(StrictModel):
    """What a dataflow asks of one level."""

    temporal: Annotated[list[Dim] | None, Field(description="dimensions that may be looped over here")] = None
    innermost: list[Dim] = []
    outermost: list[Dim] = []
    factors: dict[Dim, Factor] = {}
    min_factors: dict[Dim, Factor] = {}
    max_factors: dict[Dim, Factor] = {}
    keep: list[Role] = []
    bypass: list[Role] = []
    axes: dict[str, SpatialRuleSheet] = {}


class DataflowSheet(StrictModel):
    """The native dataflow: a restriction of the mappings."""

    name: str
    levels: dict[str, LevelRuleSheet] = {}
    min_utilisation: Annotated[float, Field(ge=0, le=1)] = 0.0
    source: str = ""


class SpatialSheet(StrictModel):
    """A spatial accelerator's datasheet."""

    # Result files are named by it.
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=100)]
    kind: Literal["spatial"] = "spatial"
    description: str = ""
    source: str = ""
    node: Annotated[Node | None, Field(description="technology node in nm")] = None
    cell: Annotated[str, Field(description="transistor type of the SRAM and wire tables")] = "itrs-lstp"
    clock: Annotated[Clock, Field(description="Hz")]
    compute: ComputeSheet
    levels: Annotated[list[LevelSheet], Field(min_length=1)]
    wires: Annotated[Energy, Field(description="pJ per bit and mm of the networks")] = None
    area_factor: Annotated[float, Field(ge=1, le=100, description="wires and control, as a factor on all areas")] = 1.0
    ramp: Annotated[
        dict[str, Annotated[float, Field(ge=0)]], Field(description="fill and drain cycles per tile of a level")
    ] = {}
    dataflow: DataflowSheet | None = None


def contradictions(rule: LevelRuleSheet) -> Iterator[tuple[Path_, str]]:
    """Where a rule contradicts itself, whatever the level: (place inside the rule, what is wrong)."""
    yield from _factor_contradictions((), rule, rule.temporal, "temporal")
    for axis, limits in rule.axes.items():
        yield from _factor_contradictions(("axes", axis), limits, limits.unroll, "unroll")
    for field, dims in (("innermost", rule.innermost), ("outermost", rule.outermost)):
        for i, dim in enumerate(dims):
            if dim in dims[:i]:
                yield (field, i), f"entries must differ (got {dim} twice)"
    for i, dim in enumerate(rule.outermost):
        if dim in rule.innermost:
            yield ("outermost", i), f"a loop cannot be innermost and outermost (got {dim})"
    for i, role in enumerate(rule.keep):
        if role in rule.bypass:
            yield ("keep", i), f"a tensor cannot be kept and bypassed (got {role})"


def _factor_contradictions(
    at: Path_, rule: LevelRuleSheet | SpatialRuleSheet, allowed: list[str] | None, field: str
) -> Iterator[tuple[Path_, str]]:
    for dim in rule.factors:
        if dim in rule.min_factors or dim in rule.max_factors:
            yield (*at, "factors", dim), "give either a factor or bounds of it"
    for dim, least in rule.min_factors.items():
        if least > rule.max_factors.get(dim, least):
            yield (*at, "min_factors", dim), f"must be <= max_factors, {rule.max_factors[dim]} (got {least})"
    for name, factors in (("factors", rule.factors), ("min_factors", rule.min_factors)):
        for dim, factor in factors.items():
            if factor > 1 and allowed is not None and dim not in allowed:
                yield (*at, name, dim), f"{dim} must be in {field}, {_listed(allowed)} (got a factor of {factor})"


def misfits(
    rule: LevelRuleSheet,
    name: str,
    keeps: Mapping[str, Collection[str]],
    axes: Mapping[str, Collection[str] | None],
) -> Iterator[tuple[Path_, str]]:
    """Where a rule asks for what a level does not have: (place inside the rule, what is wrong).

    ``keeps`` are the roles that every level may keep, outermost level first; ``axes`` the dimensions that the axes of
    the level ``name`` may unroll (None: any).
    """
    for axis, limits in rule.axes.items():
        if axis not in axes:
            yield ("axes", axis), f"{name} has no axis {axis!r}{did_you_mean(axis, axes)} (axes: {_listed(axes)})"
            continue
        wires = axes[axis]
        if wires is None:
            continue
        if limits.unroll and not set(limits.unroll) & set(wires):
            rule_text = f"axis {axis} of {name} may unroll only {_listed(wires)} (got {_listed(limits.unroll)})"
            yield ("axes", axis, "unroll"), rule_text
        for field, factors in (("factors", limits.factors), ("min_factors", limits.min_factors)):
            for dim, factor in factors.items():
                if factor > 1 and dim not in wires:
                    yield ("axes", axis, field, dim), f"axis {axis} of {name} may unroll only {_listed(wires)}"
    for i, role in enumerate(rule.keep):
        if role not in keeps[name]:
            yield ("keep", i), f"{name} cannot keep {role} (it may keep {_listed(keeps[name])})"
    for i, role in enumerate(rule.bypass):
        if name == next((level for level, roles in keeps.items() if role in roles), None):
            yield ("bypass", i), f"{role} live in {name}, the outermost level that keeps them"


def _listed(words: Collection[str]) -> str:
    return ", ".join(sorted(words) if isinstance(words, set | frozenset) else words) or "none"


def constraints(name: str, levels: Mapping[str, LevelRuleSheet], min_utilisation: float) -> Constraints:
    """Constraints from the rules for levels by name."""
    return Constraints(
        name,
        {
            level: LevelConstraint(
                dims=None if rule.temporal is None else frozenset(rule.temporal),
                innermost=tuple(rule.innermost),
                outermost=tuple(rule.outermost),
                factors=dict(rule.factors),
                min_factors=dict(rule.min_factors),
                max_factors=dict(rule.max_factors),
                keep=frozenset(rule.keep),
                bypass=frozenset(rule.bypass),
                axes={
                    axis: SpatialConstraint(
                        None if limits.unroll is None else frozenset(limits.unroll),
                        dict(limits.factors),
                        dict(limits.min_factors),
                        dict(limits.max_factors),
                    )
                    for axis, limits in rule.axes.items()
                },
            )
            for level, rule in levels.items()
        },
        min_utilisation,
    )


def load(document: Document) -> SpatialAccelerator:
    """The accelerator that a document describes; raises :class:`DocumentError` with all that is wrong."""
    context: dict[str, Any] = {}
    sheet = document.validate(SpatialSheet, context)
    builder = _Builder(document, sheet, context.get("notes", []))
    builder.check()
    builder.stop_on_problems()
    accelerator = builder.build()
    builder.stop_on_problems()
    return accelerator


class _Builder:
    """Resolves a valid sheet; collects problems with their places."""

    def __init__(self, document: Document, sheet: SpatialSheet, notes: list[str]):
        self.document = document
        self.sheet = sheet
        self.problems: list[str] = []
        self.notes = list(dict.fromkeys(notes))

    def problem(self, path: Path_, rule: str, key: bool = False) -> None:
        self.problems.append(self.document.problem(path, rule, key))

    def stop_on_problems(self) -> None:
        if self.problems:
            raise DocumentError(self.problems)

    def check(self) -> None:
        """Rules that span several fields."""
        sheet = self.sheet
        names = [level.name for level in sheet.levels]
        macs = 1
        for i, level in enumerate(sheet.levels):
            at: Path_ = ("levels", i)
            if level.name in names[:i]:
                self.problem((*at, "name"), f"must differ from the other levels' names (got {level.name!r})")
            if level.memory != "dram":
                for key in ("capacity", "width"):
                    if getattr(level, key) is None:
                        self.problem((*at, key), f"is required for {level.memory}")
                if "type" in level.model_fields_set:
                    self.problem((*at, "type"), "is for dram only", key=True)
            elif level.banks > 1:
                self.problem((*at, "banks"), "is for sram only", key=True)
            if level.bandwidth and (level.read_bandwidth or level.write_bandwidth):
                self.problem((*at, "bandwidth"), "give either bandwidth or read_bandwidth and write_bandwidth")
            for axis_name, axis in level.fanout.items():
                macs *= axis.size
                self._check_distinct((*at, "fanout", axis_name, "unroll"), axis.unroll or [])
            self._check_distinct((*at, "keeps"), level.keeps)
        if macs > _MOST_MACS:
            self.problem(("levels",), f"fanouts must multiply to at most {_MOST_MACS} MACs (got {macs})")
        for name in sheet.ramp:
            if name not in names:
                self.problem(("ramp", name), f"must be a level, one of {', '.join(names)}", key=True)
        for role in ROLES:
            if not any(role in level.keeps for level in sheet.levels):
                self.problem(("levels",), f"no level may keep {role}")
        compute = sheet.compute
        outputs = compute.outputs or compute.inputs or compute.type
        if compute.accumulator and type_bits(compute.accumulator) < type_bits(outputs):
            rule = f"must be at least as wide as the outputs, {outputs} (got {compute.accumulator})"
            self.problem(("compute", "accumulator"), rule)
        if compute.scalable is not None:
            self._check_scalable(compute, compute.scalable)
        if sheet.dataflow is not None:
            self._check_dataflow(sheet.dataflow, names)

    def _check_scalable(self, compute: ComputeSheet, scalable: ScalableSheet) -> None:
        path: Path_ = ("compute", "scalable")
        widest = max(type_bits(compute.weights or compute.type), type_bits(compute.inputs or compute.type))
        for i, name in enumerate(scalable.types):
            if not name.lstrip("u").startswith("int") or type_bits(name) >= widest:
                rule = f"must be an integer narrower than the unit's {widest} bits"
                self.problem((*path, "types", i), f"{rule} (got {name})")
        self._check_distinct((*path, "types"), scalable.types)
        for given, factor, what in (
            (compute.energy, scalable.energy_factor, "energy"),
            (compute.area, scalable.area_factor, "area"),
        ):
            if (given is None) == (factor is None):
                rule = f"is required, as {what} is {FROM_TECHNOLOGY!r} and tables have units of one width only"
                wrong = rule if given is None else f"belongs to an {what} {FROM_TECHNOLOGY!r} (got both)"
                self.problem((*path, f"{what}_factor"), wrong)

    def _check_distinct(self, path: Path_, entries: Sequence[str]) -> None:
        for i, entry in enumerate(entries):
            if entry in entries[:i]:
                self.problem((*path, i), f"entries must differ (got {entry} twice)")

    def _check_dataflow(self, dataflow: DataflowSheet, names: list[str]) -> None:
        keeps = {level.name: level.keeps for level in self.sheet.levels}
        for name, rule in dataflow.levels.items():
            path: Path_ = ("dataflow", "levels", name)
            if name not in names:
                self.problem(path, f"must be a level, one of {', '.join(names)}", key=True)
                continue
            axes = {axis: entry.unroll for axis, entry in self.sheet.levels[names.index(name)].fanout.items()}
            for place, text in contradictions(rule):
                self.problem((*path, *place), text)
            for place, text in misfits(rule, name, keeps, axes):
                self.problem((*path, *place), text, key=place[-2:-1] == ("axes",))

    def ask(self, path: Path_, function: Any, *arguments: Any) -> Any:
        """Ask the technology tables; a problem at ``path`` if they do not cover the question."""
        if self.sheet.node is None and function is not technology.dram:
            self.problem(path, f"is {FROM_TECHNOLOGY!r}, so node is required")
            return None
        try:
            return function(*arguments)
        except TechnologyError as error:
            self.problem(path, str(error))
            return None

    def build(self) -> SpatialAccelerator:
        sheet = self.sheet
        levels = tuple(self.level(i, level) for i, level in enumerate(sheet.levels))
        wires = sheet.wires
        if wires is None:
            found = self.ask(("wires",), technology.wire, sheet.node, sheet.cell)
            wires = found.energy_pj_per_bit_mm if found else 0.0
            if found:
                self.notes.append(f"wires: {found.source}")
        return SpatialAccelerator(
            name=sheet.name,
            levels=levels,
            compute=self.compute(),
            clock_hz=sheet.clock,
            node_nm=sheet.node,
            wire_energy_pj_per_bit_mm=wires,
            area_factor=sheet.area_factor,
            dataflow=Constraints()
            if sheet.dataflow is None
            else constraints(sheet.dataflow.name, sheet.dataflow.levels, sheet.dataflow.min_utilisation),
            ramp_cycles=dict(sheet.ramp),
            description=sheet.description,
            source=sheet.source,
            notes=tuple(self.notes),
        )

    def level(self, i: int, level: LevelSheet) -> Level:
        path: Path_ = ("levels", i)
        width = level.width or 64
        read = write = update = area = leakage = 0.0
        source = level.source
        if level.memory == "dram":
            if level.energy is None:
                found = self.ask((*path, "type"), technology.dram, level.type)
                if found:
                    read = write = update = found.energy_pj_per_bit * width
                    source = f"{source}; energy: {found.source}".lstrip("; ")
        elif level.energy is None or level.area is None or level.leakage is None:
            found = self.on_chip_memory(path, level, width)
            if found:
                read, write, update = found.read_energy_pj, found.write_energy_pj, found.write_energy_pj
                area, leakage = found.area_mm2, found.leakage_mw
                source = f"{source}; not given: {found.source}".lstrip("; ")
        if level.energy is not None:
            read, write = level.energy.read, level.energy.write
            update = write if level.energy.update is None else level.energy.update

        def rate(value: tuple[float, bool] | None) -> float | None:
            return None if value is None else value[0] / self.sheet.clock if value[1] else value[0]

        return Level(
            name=level.name,
            keeps=frozenset(level.keeps),
            capacity_bytes=level.capacity,
            width_bits=width,
            read_energy_pj=read,
            fill_energy_pj=write,
            update_energy_pj=update,
            read_bandwidth_bytes_per_cycle=rate(level.read_bandwidth),
            write_bandwidth_bytes_per_cycle=rate(level.write_bandwidth),
            shared_bandwidth_bytes_per_cycle=rate(level.bandwidth),
            multiple_buffering=2 if level.double_buffered else 1,
            fanout=tuple(
                Axis(name, axis.size, None if axis.unroll is None else frozenset(axis.unroll))
                for name, axis in level.fanout.items()
            ),
            leakage_mw=leakage if level.leakage is None else level.leakage,
            area_mm2=area if level.area is None else level.area,
            source=source,
        )

    def on_chip_memory(self, path: Path_, level: LevelSheet, width: int) -> technology.MemoryCost | None:
        node, cell = self.sheet.node, level.cell or self.sheet.cell
        if level.memory == "registers":
            return self.ask(path, technology.registers, level.capacity, width, node)
        return self.ask(path, technology.memory, level.capacity, width, node, cell, level.banks)

    def compute(self) -> Compute:
        sheet, node = self.sheet.compute, self.sheet.node
        weights, inputs = sheet.weights or sheet.type, sheet.inputs or sheet.type
        is_float = sheet.type in FLOAT_BITS
        accumulator = sheet.accumulator or ("fp32" if is_float else "int32")
        energy, area, leakage, add_energy = sheet.energy, sheet.area, sheet.leakage, sheet.add_energy
        adder_area = adder_leakage = 0.0
        source = sheet.source
        if energy is None or area is None or leakage is None:
            mac = self.ask(("compute", "type"), technology.mac, weights, inputs, accumulator, node)
            if mac:
                energy = mac.energy_pj if energy is None else energy
                area = mac.area_mm2 if area is None else area
                leakage = mac.leakage_mw if leakage is None else leakage
                source = f"{source}; not given: {mac.source}".lstrip("; ")
        if add_energy is None:
            adder = self.ask(("compute", "accumulator"), technology.adder, accumulator, node)
            if adder:
                add_energy, adder_area, adder_leakage = adder.energy_pj, adder.area_mm2, adder.leakage_mw
        scalable = sheet.scalable
        modes: tuple[Mode, ...] = ()
        if scalable is not None:
            if sheet.energy is None:
                energy = (energy or 0.0) * (scalable.energy_factor or 1.0)
            if sheet.area is None:
                area = (area or 0.0) * (scalable.area_factor or 1.0)
            if sheet.leakage is None:
                leakage = (leakage or 0.0) * (scalable.area_factor or 1.0)
            modes = self.modes(scalable, weights, inputs, accumulator, energy or 0.0)
            source = f"{source}; scalable: {scalable.source or 'no source given'}, less by the law of multipliers"
        return Compute(
            modes=modes,
            energy_pj=energy or 0.0,
            weight_bits=type_bits(weights),
            input_bits=type_bits(inputs),
            output_bits=type_bits(sheet.outputs or inputs),
            accumulator_bits=type_bits(accumulator),
            add_energy_pj=add_energy or 0.0,
            area_mm2=area or 0.0,
            adder_area_mm2=adder_area,
            leakage_mw=leakage or 0.0,
            adder_leakage_mw=adder_leakage,
            source=source,
        )

    def modes(
        self, scalable: ScalableSheet, weights: str, inputs: str, accumulator: str, energy_pj: float
    ) -> tuple[Mode, ...]:
        """What MACs of narrower operands take, each operand with a width of its own (Bit Fusion, Sharma et al., ISCA
        2018, does 8 x 2 bits as well as 4 x 4).

        Of the energy at full width, ``energy_pj``, the part that a unit of the narrower operands with the same
        accumulator takes of one of full width: cells of the multiplier that have nothing to do switch nothing. What
        steering them costs is in the factor of the datasheet.
        """
        found = []
        try:
            whole_pj = technology.mac(weights, inputs, accumulator, _ANY_NM).energy_pj
            operands = [
                [full, *(t for t in scalable.types if type_bits(t) < type_bits(full))] for full in (weights, inputs)
            ]
            for w, x in itertools.product(*operands):
                part_pj = technology.mac(w, x, accumulator, _ANY_NM).energy_pj
                found.append(Mode(type_bits(w), type_bits(x), energy_pj * part_pj / whole_pj))
        except TechnologyError as error:
            self.problem(("compute", "scalable", "types"), str(error))
        return tuple(found)


def schema() -> dict[str, Any]:
    """JSON schema of the datasheet, for editors."""
    return json_schema(SpatialSheet)


__all__ = [
    "DataflowSheet",
    "Dim",
    "LevelRuleSheet",
    "SpatialRuleSheet",
    "SpatialSheet",
    "constraints",
    "contradictions",
    "load",
    "misfits",
    "schema",
]
