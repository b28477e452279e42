"""A crossbar's YAML datasheet.

Example::

    name: tiny_crossbar
    kind: crossbar
    node: 28 nm
    supply: 0.9 V
    arrays: {rows: 256, columns: 256, count: 64}
    cell:
      kind: resistive                        # or charge, digital
      device: pcm                            # or hermes, reram, {gaussian: {programming: 0.02, read: 0.01, ...}}
      on: 25 uS                              # or a resistance: 40 kohm
      off: 0.1 uS
      bits: 4
      read: {voltage: 0.2 V, time: 10 ns}
      area: 40 F2
      write: {voltage: 1.5 V, conductance: 25 uS, time: 100 ns, pulses: 10}
    weights: {bits: 8, signed: pair_columns} # or pair_rows, offset
    inputs: {bits: 8, bits_per_cycle: 1, coding: voltage}
    adc: {model: sram_aimc, bits: 8, columns: 8, sample_and_hold: true}
    buffer: {capacity: 64 kB, width: 256 bit, arrays: 8, bandwidth: 32 GB/s}
    digital: {lanes: 64, clock: 500 MHz}
    execution: {pipelined: true, replicates: true}
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from accelerators.crossbar.converters import Converter, Fixed, Integrating, SramAimc, Survey
from accelerators.crossbar.crossbar import Buffer, Cell, Crossbar, DigitalUnit, Memory, SelectLine, Tree
from accelerators.crossbar.devices import DEVICES, Device, Gaussian
from accelerators.crossbar.gates import gates
from accelerators.crossbar.values import INPUTS, MOST_BITS, WEIGHTS, Distribution, Values, probabilities
from accelerators.documents import Document, DocumentError, StrictModel, json_schema
from accelerators.fields import AccessEnergy, AreaLimit, Capacity, Clock, Node, Power, Width, measured
from accelerators.technology import MemoryCost, TechnologyError, adder, dram, dram_kinds, mac, memory, sram, wire
from accelerators.units import quantity

Voltage = Annotated[float, measured("voltage in V", 0.01, 1e3)]
Duration = Annotated[float, measured("time in seconds", 0, 1e3)]
Capacitance = Annotated[float, measured("capacitance in fF", 0, 1e6)]
BytesPerSecond = Annotated[float, measured("rate in bytes per second", 1.0, 1e18)]
SampleRate = Annotated[float, measured("rate in samples per second", 1e3, 1e12)]
Count = Annotated[int, Field(ge=1, le=10**7)]
Bits = Annotated[int, Field(ge=1, le=MOST_BITS)]
Multiple = Annotated[float, Field(gt=0, le=1e6)]

#: Areas of cells that follow from the technology.
_AREA_LAWS = ("sram", "logic")
_LEAST_US, _MOST_US = 1e-9, 1e9
#: Widest port of the SRAM tables.
_WIDEST_PORT = 512


def _conductance(value: object) -> float:
    """A conductance in uS, or a resistance."""
    number, kind = quantity(value, "conductance in uS", "resistance in ohm")
    if kind.startswith("resistance"):
        if number <= 0:
            raise ValueError("must be > 0")
        number = 1e6 / number
    if not (number == 0 or _LEAST_US <= number <= _MOST_US):
        raise ValueError(f"must be 0, or between {_LEAST_US:g} and {_MOST_US:g} uS")
    return number


def _cell_area(value: object) -> tuple[float, bool] | str:
    """An area as (number, whether it is in F2), or the name of a law."""
    if isinstance(value, str) and value in _AREA_LAWS:
        return value
    try:
        number, kind = quantity(value, "area in F2", "area in mm2")
    except ValueError as error:
        raise ValueError(f"{error}, or one of {', '.join(_AREA_LAWS)}") from None
    if number <= 0:
        raise ValueError("must be > 0")
    if number > 1e9:
        raise ValueError("must be <= 1e9")
    return (number, True) if kind == "area in F2" else (number * 1e6, False)


def _distribution(names: tuple[str, ...]) -> BeforeValidator:
    def convert(value: object) -> Distribution:
        if isinstance(value, str):
            if value not in names:
                raise ValueError(f"must be one of {', '.join(names)}, or a list of frequencies")
            return value
        if not isinstance(value, list) or not value:
            raise ValueError(f"must be one of {', '.join(names)}, or a list of frequencies")
        numbers = []
        for entry in value:
            if isinstance(entry, bool) or not isinstance(entry, int | float) or not 0 <= entry < math.inf:
                raise ValueError(f"frequencies must be finite numbers >= 0 (got {entry!r})")
            numbers.append(float(entry))
        if not sum(numbers):
            raise ValueError("frequencies must not all be 0")
        return tuple(numbers)

    return BeforeValidator(convert, json_schema_input_type=str | list[float])


Conductance = Annotated[float, BeforeValidator(_conductance, json_schema_input_type=float | str)]
CellArea = Annotated[tuple[float, bool] | str, BeforeValidator(_cell_area, json_schema_input_type=float | str)]


class ArraysSheet(StrictModel):
    """The arrays: how many, and their shape."""

    rows: Annotated[int, Field(ge=1, le=65536, description="that compute")]
    columns: Annotated[int, Field(ge=1, le=65536)]
    count: Count = 1
    active_rows: Annotated[int | None, Field(ge=1, description="read at once; all, if absent")] = None
    bit_line_rows: Annotated[int | None, Field(ge=1, description="that load one line to a converter")] = None
    sets: Annotated[int, Field(ge=1, le=65536, description="cells behind each one that computes")] = 1
    column_copies: Annotated[int, Field(ge=1, le=64, description="for different bits of the input")] = 1
    leakage: Annotated[Power | None, Field(description="per array; from the technology, if absent")] = None


class SelectSheet(StrictModel):
    """Lines that connect cells, apart from those that carry inputs."""

    cell: Capacitance
    driver: Capacitance = 0.0
    voltage: Voltage


class ReadSheet(StrictModel):
    """Reading a resistive cell."""

    voltage: Voltage
    time: Annotated[Duration, Field(description="per level of the input, if coded by the width of pulses")]


class WriteSheet(StrictModel):
    """Writing: energy per cell, or voltage, conductance and time of a pulse; pulses include those that verify."""

    voltage: Voltage | None = None
    conductance: Conductance | None = None
    energy: AccessEnergy | None = None
    time: Annotated[Duration, Field(description="of a pulse; a row of an array is written at once")]
    pulses: Count = 1


class GaussianSheet(StrictModel):
    """Noise in parts of the largest conductance, and drift (t / t0)^-nu."""

    programming: Annotated[float, Field(ge=0, le=10, description="standard deviation of programming")] = 0.0
    read: Annotated[float, Field(ge=0, le=10, description="standard deviation of a read-out")] = 0.0
    drift: Annotated[float, Field(ge=-1, le=1, description="mean of the exponent nu")] = 0.0
    drift_std: Annotated[float, Field(ge=0, le=1, description="of the exponents of devices")] = 0.0
    t0: Duration = 1.0


class DeviceSheet(StrictModel):
    """A device by name, which may be written alone, or by its figures."""

    name: Literal["pcm", "hermes", "reram"] | None = None
    gaussian: GaussianSheet | None = None


def _device_by_name(value: object) -> object:
    if isinstance(value, str):
        if value not in DEVICES:
            raise ValueError(f"must be one of {', '.join(DEVICES)}, or {{gaussian: {{programming: .., read: ..}}}}")
        return {"name": value}
    return value


DeviceField = Annotated[DeviceSheet, BeforeValidator(_device_by_name, json_schema_input_type=str | DeviceSheet)]


class CellSheet(StrictModel):
    """The memory cell."""

    kind: Literal["resistive", "charge", "digital"]
    bits: Annotated[int, Field(ge=1, le=MOST_BITS)] = 1
    on: Annotated[Conductance | None, Field(description="or a resistance")] = None
    off: Annotated[Conductance | None, Field(description="or a resistance")] = None
    read: ReadSheet | None = None
    area: Annotated[
        CellArea,
        Field(description="or sram: by the tables for memories; logic: six transistors with the rules of logic"),
    ]
    gate: Annotated[Capacitance | None, Field(description="what a cell adds to its row's line")] = None
    select: SelectSheet | None = None
    write: WriteSheet | None = None
    device: Annotated[
        DeviceField | None,
        Field(description="how cells scatter and drift: resistive ones as pcm, if absent; charge cells not at all"),
    ] = None
    source: str = ""


class TreeSheet(StrictModel):
    """Adders of digital cells; see :class:`~accelerators.crossbar.crossbar.Tree`."""

    by_columns: bool = False
    booth: bool = False
    accumulate_first: bool = False
    pipelined: bool = False


class WeightsSheet(StrictModel):
    """Weights in cells."""

    bits: Bits = 8
    signed: Literal["pair_columns", "pair_rows", "offset"] = "offset"


class InputsSheet(StrictModel):
    """Inputs on rows."""

    bits: Bits = 8
    bits_per_cycle: Annotated[int, Field(ge=1, le=MOST_BITS)] = 1
    coding: Literal["voltage", "pulse_width"] = "voltage"
    signed: bool = False
    energy: Annotated[AccessEnergy | None, Field(description="of a row's driver, per read")] = None
    area: Annotated[AreaLimit | None, Field(description="of a row's driver")] = None


class StepSheet(StrictModel):
    """Energy and time of a step of an integrating converter."""

    energy: AccessEnergy
    time: Duration


class AdcSheet(StrictModel):
    """Converters; which keys apply depends on the model."""

    model: Literal["survey", "sram_aimc", "fixed", "integrating"]
    bits: Annotated[int, Field(ge=1, le=24)]
    columns: Annotated[int, Field(ge=1, le=65536, description="that a converter reads in turn")] = 1
    sample_and_hold: Annotated[bool, Field(description="reads while it converts")] = True
    hold_energy: AccessEnergy | None = None
    hold_area: AreaLimit = 0.0
    flipped_columns: Annotated[bool, Field(description="saves a bit (ISAAC)")] = False
    full_scale: Annotated[
        Literal["calibrated", "fixed"],
        Field(description="set by the data, or what all rows at once can give: for accuracies"),
    ] = "calibrated"
    factor: Multiple = 1.0
    rate: Annotated[SampleRate | None, Field(description="conversions per second")] = None
    floor: Annotated[AccessEnergy, Field(description="least energy per bit")] = 0.0
    by_density: Annotated[bool, Field(description="energy with the share of cells that are not zero")] = False
    energy: AccessEnergy | None = None
    time: Duration | None = None
    area: AreaLimit | None = None
    at_bits: Annotated[int | None, Field(ge=1, le=24, description="resolution of the figures; bits, if absent")] = None
    sample: StepSheet | None = None
    integrate: StepSheet | None = None
    step: StepSheet | None = None
    add: Annotated[AccessEnergy, Field(description="digital part of a step")] = 0.0
    phase_bits: Annotated[int, Field(ge=1, le=MOST_BITS)] = MOST_BITS
    source: str = ""


#: Keys that a model of converters needs, and those that it may have besides those of all.
_ADC_KEYS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "survey": (("rate",), ("factor", "floor")),
    "sram_aimc": ((), ("factor", "by_density")),
    "fixed": (("energy", "time", "area"), ("at_bits",)),
    "integrating": (("sample", "integrate", "step", "area"), ("add", "phase_bits", "at_bits")),
}
_ADC_COMMON = (
    "model", "bits", "columns", "sample_and_hold", "hold_energy", "hold_area", "flipped_columns", "full_scale",
    "source",
)  # fmt: skip


class OutputsSheet(StrictModel):
    """Results and their digital accumulation beside the array."""

    bits: Annotated[int, Field(ge=1, le=64)] = 8
    accumulator: Annotated[int | None, Field(ge=1, le=128)] = None
    accumulates: Annotated[bool, Field(description="adds slices and cycles")] = True
    area: Annotated[AreaLimit | None, Field(description="of adders and registers of an array")] = None


class BufferSheet(StrictModel):
    """A buffer that some arrays share; energy, area and leakage from the tables where not given."""

    capacity: Capacity
    width: Width
    arrays: Annotated[int, Field(ge=1, le=10**7, description="that share it")]
    bandwidth: BytesPerSecond
    read: AccessEnergy | None = None
    write: AccessEnergy | None = None
    area: AreaLimit | None = None
    leakage: Power | None = None
    source: str = ""


class MemorySheet(StrictModel):
    """Off-chip memory."""

    type: str = "LPDDR4"
    energy: Annotated[AccessEnergy | None, Field(description="per bit")] = None
    bandwidth: BytesPerSecond


class DigitalSheet(StrictModel):
    """The unit for operators that no array can hold."""

    lanes: Annotated[int, Field(ge=1, le=10**6)]
    clock: Clock
    multiplies: Annotated[bool, Field(description="products of two activations (attention) run here")] = False
    energy: Annotated[AccessEnergy | None, Field(description="per element and pass; an addition, if absent")] = None
    area: AreaLimit | None = None
    leakage: Power = 0.0


class ValuesSheet(StrictModel):
    """What inputs and weights are assumed to be; see :class:`~accelerators.crossbar.values.Values`."""

    inputs: Annotated[Distribution, _distribution(INPUTS)] = "rectified_normal"
    weights: Annotated[Distribution, _distribution(WEIGHTS)] = "normal"
    toggle_rate: Annotated[float | None, Field(ge=0, le=1)] = None
    weight_density: Annotated[float | None, Field(ge=0, le=1)] = None


class ExecutionSheet(StrictModel):
    """How layers share the chip."""

    pipelined: bool = False
    replicates: bool = False
    write_arrays: Annotated[
        int | None, Field(ge=1, le=10**7, description="written at once; one per buffer, if absent")
    ] = None


class CrossbarSheet(StrictModel):
    """A crossbar's datasheet."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=100)]
    kind: Literal["crossbar"]
    description: str = ""
    source: str = ""
    node: Node
    supply: Voltage
    clock: Annotated[Clock | None, Field(description="of the arrays; as fast as they can be, if absent")] = None
    arrays: ArraysSheet
    cell: CellSheet
    weights: WeightsSheet = WeightsSheet()
    inputs: InputsSheet = InputsSheet()
    outputs: OutputsSheet = OutputsSheet()
    adc: AdcSheet | None = None
    tree: TreeSheet | None = None
    buffer: BufferSheet | None = None
    memory: MemorySheet | None = None
    digital: DigitalSheet | None = None
    values: ValuesSheet = ValuesSheet()
    execution: ExecutionSheet = ExecutionSheet()
    area: Annotated[AreaLimit, Field(description="of all that is not listed, on the whole chip")] = 0.0
    leakage: Annotated[Power, Field(description="of all that is not listed, on the whole chip")] = 0.0
    area_factor: Annotated[float, Field(ge=1, le=100)] = 1.0


#: Where the figures of a Crossbar stand in a datasheet.
_PLACES = {
    "rows": ("arrays", "rows"),
    "columns": ("arrays", "columns"),
    "active_rows": ("arrays", "active_rows"),
    "bit_line_rows": ("arrays", "bit_line_rows"),
    "weight_bits": ("weights", "bits"),
    "signed": ("weights", "signed"),
    "input_bits": ("inputs", "bits"),
    "bits_per_cycle": ("inputs", "bits_per_cycle"),
    "cell_bits": ("cell", "bits"),
    "adc_bits": ("adc", "bits"),
    "columns_per_adc": ("adc", "columns"),
    "converter": ("adc",),
}


def load(document: Document) -> Crossbar:
    """The crossbar that a document describes; raises :class:`DocumentError` with all that is wrong."""
    context: dict[str, Any] = {}
    sheet = document.validate(CrossbarSheet, context)
    problems = [document.problem(path, rule) for path, rule in _contradictions(sheet)]
    if problems:
        raise DocumentError(problems)
    at: tuple[str, ...] = ("buffer",)
    try:
        buffer = None if sheet.buffer is None else _buffer(sheet.buffer, sheet.node)
        at = ("node",)
        found = _resolve(sheet, buffer, tuple(dict.fromkeys(context.get("notes", []))))
    except TechnologyError as error:
        raise DocumentError([document.problem(at, str(error))]) from None
    problems = [document.problem(_PLACES.get(name, (name,)), rule) for name, rule in found.problems]
    if not problems:
        for name, bits, signed in (
            ("inputs", found.input_bits, found.signed_inputs),
            ("weights", found.weight_bits, True),
        ):
            try:
                probabilities(getattr(found.values, name), bits, signed)
            except ValueError as error:
                problems.append(document.problem(("values", name), str(error)))
    if problems:
        raise DocumentError(problems)
    return found


def _contradictions(sheet: CrossbarSheet) -> list[tuple[tuple[str | int, ...], str]]:
    """Rules that span several fields."""
    problems: list[tuple[tuple[str | int, ...], str]] = []
    cell = sheet.cell
    if cell.kind == "resistive":
        for key in ("on", "off", "read"):
            if getattr(cell, key) is None:
                problems.append((("cell", key), "is required for resistive cells"))
    else:
        for key in ("on", "off", "read", "select"):
            if getattr(cell, key) is not None:
                problems.append((("cell", key), f"is for resistive cells (got kind {cell.kind})"))
    if cell.device is not None:
        name, noise = cell.device.name, cell.device.gaussian
        if (name is None) == (noise is None):
            problems.append((("cell", "device"), "needs a name or gaussian, and not both"))
        elif cell.kind == "digital":
            problems.append((("cell", "device"), "is for analog cells: digital ones are exact"))
        elif name is not None and cell.kind != "resistive":
            problems.append((("cell", "device"), f"{name} is a resistive device (got kind {cell.kind})"))
        if noise is not None and noise.t0 <= 0:
            problems.append((("cell", "device", "gaussian", "t0"), "must be > 0"))
    if cell.write is not None and cell.write.energy is None and None in (cell.write.voltage, cell.write.conductance):
        problems.append((("cell", "write"), "needs energy, or voltage and conductance"))
    if cell.kind == "digital":
        if sheet.adc is not None:
            problems.append((("adc",), "is for analog cells: digital ones have a tree of adders"))
    else:
        if sheet.tree is not None:
            problems.append((("tree",), f"is for digital cells (got kind {cell.kind})"))
        if sheet.adc is None:
            problems.append((("adc",), f"is required for {cell.kind} cells"))
    if sheet.adc is not None:
        required, optional = _ADC_KEYS[sheet.adc.model]
        for key in required:
            if getattr(sheet.adc, key) is None:
                problems.append((("adc", key), f"is required for the model {sheet.adc.model}"))
        for key in sheet.adc.model_fields_set.difference(_ADC_COMMON, required, optional):
            problems.append((("adc", key), f"has no meaning for the model {sheet.adc.model}"))
        if sheet.adc.time == 0:
            problems.append((("adc", "time"), "must be > 0"))
    if sheet.execution.replicates and not sheet.execution.pipelined:
        problems.append((("execution", "replicates"), "needs pipelined: true, copies serve a pipeline"))
    if sheet.memory is not None and sheet.memory.energy is None and sheet.memory.type not in dram_kinds():
        rule = f"must be one of {', '.join(dram_kinds())}, or energy must be given (got {sheet.memory.type!r})"
        problems.append((("memory", "type"), rule))
    if cell.write is None and sheet.memory is not None:
        problems.append((("cell", "write"), "is required where there is a memory from which weights are loaded"))
    return problems


def _resolve(sheet: CrossbarSheet, buffer: Buffer | None, notes: tuple[str, ...]) -> Crossbar:
    adc = sheet.adc
    inputs, shape = sheet.inputs, sheet.arrays
    return Crossbar(
        name=sheet.name,
        node_nm=sheet.node,
        supply_v=sheet.supply,
        rows=shape.rows,
        columns=shape.columns,
        arrays=shape.count,
        cell=_cell(sheet),
        weight_bits=sheet.weights.bits,
        input_bits=inputs.bits,
        output_bits=sheet.outputs.bits,
        cell_bits=sheet.cell.bits,
        bits_per_cycle=inputs.bits_per_cycle,
        adc_bits=1 if adc is None else adc.bits,
        columns_per_adc=1 if adc is None else adc.columns,
        active_rows=shape.active_rows,
        bit_line_rows=shape.bit_line_rows,
        sets=shape.sets,
        column_copies=shape.column_copies,
        signed=sheet.weights.signed,
        signed_inputs=inputs.signed,
        coding=inputs.coding,
        converter=None if adc is None else _converter(adc),
        tree=_tree(sheet),
        accumulator_bits=sheet.outputs.accumulator,
        accumulates=sheet.outputs.accumulates,
        flipped_columns=adc is not None and adc.flipped_columns,
        full_scale="calibrated" if adc is None else adc.full_scale,
        sample_and_hold=adc is not None and adc.sample_and_hold,
        hold_pj=None if adc is None else adc.hold_energy,
        driver_pj=inputs.energy,
        driver_area_um2=None if inputs.area is None else inputs.area * 1e6,
        adder_area_um2=None if sheet.outputs.area is None else sheet.outputs.area * 1e6,
        hold_area_um2=0.0 if adc is None else adc.hold_area * 1e6,
        clock_hz=sheet.clock,
        buffer=buffer,
        memory=None if sheet.memory is None else _memory(sheet.memory),
        digital=None if sheet.digital is None else _digital(sheet.digital, sheet),
        values=Values(**{key: getattr(sheet.values, key) for key in type(sheet.values).model_fields}),
        pipelined=sheet.execution.pipelined,
        replicates=sheet.execution.replicates,
        write_arrays=_written_at_once(sheet),
        wire_pj_per_bit_mm=wire(sheet.node).energy_pj_per_bit_mm,
        array_leakage_mw=shape.leakage,
        logic_leakage_mw_per_mm2=_logic_leakage(sheet.node),
        extra_area_mm2=sheet.area,
        extra_leakage_mw=sheet.leakage,
        area_factor=sheet.area_factor,
        description=sheet.description,
        source=sheet.source,
        notes=notes,
    )


def _written_at_once(sheet: CrossbarSheet) -> int:
    """Arrays that are written at once: as many as buffers, from each of which weights come to one array at a time."""
    if sheet.execution.write_arrays is not None:
        return sheet.execution.write_arrays
    return 1 if sheet.buffer is None else math.ceil(sheet.arrays.count / sheet.buffer.arrays)


def sram_cell_um2(cells: int, columns: int, node_nm: float) -> float:
    """Area of a cell of a memory of so many cells by the SRAM tables, its share of the periphery included."""
    return _memory_of_cells(cells, columns, node_nm).area_mm2 * 1e6 / cells


def _memory_of_cells(cells: int, columns: int, node_nm: float) -> MemoryCost:
    return memory(cells / 8, min(columns, _WIDEST_PORT), node_nm)


def _logic_leakage(node_nm: float) -> float:
    """Leakage per area of logic, that of an adder."""
    unit = adder("int32", node_nm)
    return unit.leakage_mw / unit.area_mm2


def _cell(sheet: CrossbarSheet) -> Cell:
    cell, shape, read, write = sheet.cell, sheet.arrays, sheet.cell.read, sheet.cell.write
    leakage = 0.0
    if cell.kind != "resistive":
        cells = shape.rows * shape.columns * shape.sets
        leakage = _memory_of_cells(cells, shape.columns, sheet.node).leakage_mw / cells
    if cell.area == "sram":
        area = sram_cell_um2(shape.rows * shape.columns * shape.sets, shape.columns, sheet.node)
    elif cell.area == "logic":
        area = gates(sheet.node, sheet.supply).cell_area_um2
    else:
        assert isinstance(cell.area, tuple)
        number, in_nodes = cell.area
        area = number * (sheet.node * 1e-3) ** 2 if in_nodes else number
    write_pj = write_s = 0.0
    if write is not None:
        pulse_pj = write.energy
        if pulse_pj is None:
            assert write.voltage is not None and write.conductance is not None
            pulse_pj = write.voltage**2 * write.conductance * write.time * 1e6
        write_pj, write_s = pulse_pj * write.pulses, write.time * write.pulses
    return Cell(
        kind=cell.kind,
        area_um2=area,
        on_us=cell.on or 0.0,
        off_us=cell.off or 0.0,
        read_voltage_v=0.0 if read is None else read.voltage,
        read_s=0.0 if read is None else read.time,
        write_pj=write_pj,
        write_s=write_s,
        leakage_mw=leakage,
        gate_ff=cell.gate,
        select=None if cell.select is None else SelectLine(cell.select.cell, cell.select.driver, cell.select.voltage),
        source=cell.source,
        device=_device(cell),
    )


def _device(cell: CellSheet) -> Device | None:
    """How cells scatter and drift: where a sheet does not say, as phase change, the kind that is known for any time."""
    given = cell.device
    if given is not None and given.gaussian is not None:
        noise = given.gaussian
        return Gaussian(
            programming_sigma=noise.programming,
            read_sigma=noise.read,
            drift_mean=noise.drift,
            drift_std=noise.drift_std,
            t0_s=noise.t0,
        )
    name = "pcm" if given is None or given.name is None else given.name
    return DEVICES[name]() if cell.kind == "resistive" else None


def _converter(adc: AdcSheet) -> Converter:
    if adc.model == "survey":
        assert adc.rate is not None
        return Survey(adc.rate, adc.factor, adc.floor)
    if adc.model == "sram_aimc":
        return SramAimc(adc.factor, adc.by_density)
    assert adc.area is not None
    at_bits = adc.bits if adc.at_bits is None else adc.at_bits
    if adc.model == "fixed":
        assert adc.energy is not None and adc.time is not None
        return Fixed(adc.energy, adc.time, adc.area * 1e6, at_bits)
    assert adc.sample is not None and adc.integrate is not None and adc.step is not None
    return Integrating(
        sample=(adc.sample.energy, adc.sample.time),
        integrate=(adc.integrate.energy, adc.integrate.time),
        step=(adc.step.energy, adc.step.time),
        add_pj=adc.add,
        area_um2=adc.area * 1e6,
        bits=at_bits,
        phase_bits=adc.phase_bits,
    )


def _tree(sheet: CrossbarSheet) -> Tree | None:
    if sheet.cell.kind != "digital":
        return None
    tree = TreeSheet() if sheet.tree is None else sheet.tree
    return Tree(tree.by_columns, tree.booth, tree.accumulate_first, tree.pipelined)


def _buffer(buffer: BufferSheet, node_nm: float) -> Buffer:
    given = (buffer.read, buffer.write, buffer.area, buffer.leakage)
    known = None if None not in given else sram(buffer.capacity, min(buffer.width, _WIDEST_PORT), node_nm)
    source = buffer.source
    ports = 1.0
    if known is not None:
        source = f"{source}; {known.source}" if source else known.source
        # Wider accesses take several ports side by side.
        ports = buffer.width / min(buffer.width, _WIDEST_PORT)

    def figure(value: float | None, name: str, times: float) -> float:
        return getattr(known, name) * times if value is None else value

    return Buffer(
        capacity_bytes=buffer.capacity,
        width_bits=buffer.width,
        arrays=buffer.arrays,
        read_pj=figure(buffer.read, "read_energy_pj", ports),
        write_pj=figure(buffer.write, "write_energy_pj", ports),
        bandwidth_bytes_per_s=buffer.bandwidth,
        area_mm2=figure(buffer.area, "area_mm2", 1.0),
        leakage_mw=figure(buffer.leakage, "leakage_mw", 1.0),
        source=source,
    )


def _memory(sheet: MemorySheet) -> Memory:
    if sheet.energy is not None:
        return Memory(sheet.energy, sheet.bandwidth, "given")
    found = dram(sheet.type)
    return Memory(found.energy_pj_per_bit, sheet.bandwidth, found.source)


def _digital(unit: DigitalSheet, sheet: CrossbarSheet) -> DigitalUnit:
    bits = max(2, sheet.inputs.bits)
    add = adder(f"int{min(64, 2 * bits)}", sheet.node)
    product = mac(f"int{bits}", f"int{bits}", f"int{min(64, 4 * bits)}", sheet.node)
    each = product if unit.multiplies else add
    return DigitalUnit(
        lanes=unit.lanes,
        clock_hz=unit.clock,
        operation_pj=add.energy_pj if unit.energy is None else unit.energy,
        mac_pj=product.energy_pj,
        multiplies=unit.multiplies,
        area_mm2=unit.lanes * each.area_mm2 if unit.area is None else unit.area,
        leakage_mw=unit.leakage,
        source=each.source,
    )


def schema() -> dict[str, Any]:
    """JSON schema of the datasheet, for editors."""
    return json_schema(CrossbarSheet)


__all__ = ["CrossbarSheet", "load", "schema", "sram_cell_um2"]
