"""A processor's YAML datasheet.

Example::

    name: tiny_cpu
    kind: processor
    clock: 1.5 GHz
    cores: 4
    compute:
      fp32: {peak: 48 GOP/s, lanes: 4}      # the first type is the one that networks run in
      int8: {peak: 96 GOP/s, lanes: 16}
    caches:                                  # from the outermost inwards, all cores' parts together
      - {name: L2, capacity: 1 MB, bandwidth: 20 GB/s}
      - {name: L1, capacity: 128 kB, bandwidth: 90 GB/s}
    memory: {capacity: 4 GB, bandwidth: 4 GB/s}
    power: {idle: 2.7 W, load: 6.4 W}
    runtime: litert                          # a name, or a mapping with the same keys as the runtimes that come along
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from accelerators.documents import Document, DocumentError, StrictModel, json_schema, read
from accelerators.fields import Capacity, Clock, NumberType, Power, measured, type_bits
from accelerators.processors.processor import Arithmetic, Cache, Class, Processor, Runtime
from accelerators.suggestions import did_you_mean

_RUNTIMES = Path(__file__).parent / "runtimes"

BytesPerSecond = Annotated[float, measured("rate in bytes per second", 1.0, 1e18)]
Operations = Annotated[float, measured("rate in operations per second", 1.0, 1e21)]
Duration = Annotated[float, measured("time in seconds", 0, 1e3)]
Part = Annotated[float, Field(ge=1e-9, le=1)]
Cycles = Annotated[float, Field(ge=1e-4, le=1e6)]
Multiple = Annotated[float, Field(ge=0, le=1e6)]


class ArithmeticSheet(StrictModel):
    """One number type."""

    peak: Annotated[Operations, Field(description="of the whole processor; a multiply-accumulate is two operations")]
    lanes: Annotated[int, Field(ge=1, le=65536, description="operations that a core does side by side")] = 1
    cycles: Annotated[Cycles, Field(description="per operation and lane")] = 1.0


class CacheSheet(StrictModel):
    """A cache, all cores' parts together."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
    capacity: Capacity
    bandwidth: BytesPerSecond
    keeps: Annotated[bool, Field(description="an operator finds there what the one before left")] = True


class MemorySheet(StrictModel):
    """The memory in which a network runs."""

    capacity: Capacity
    bandwidth: BytesPerSecond


class PowerSheet(StrictModel):
    """Power without work, and while operators run."""

    idle: Power
    load: Power


class RuntimeSheet(StrictModel):
    """What starts operators; see :class:`~accelerators.processors.processor.Runtime`."""

    name: str = "runtime"
    description: str = ""
    source: str = ""
    dispatch: Annotated[Duration, Field(description="time to start the simplest operator")] = 0.0
    dispatches: Annotated[dict[Class, Multiple], Field(description="times that, by class")] = {}
    channel_dispatches: Annotated[Multiple, Field(description="times that, per channel of a batch normalisation")] = 0.0
    asynchronous: bool = False
    efficiency: dict[Class, Part] = {}
    scalar: Annotated[list[Class], Field(description="classes without vectors")] = []
    scalar_cycles: Cycles = 1.0
    grain: Annotated[int, Field(ge=1, le=10**9, description="elements for which one core is enough")] = 1
    threads: Annotated[int | None, Field(ge=1, description="cores that are used at most")] = None
    divides_pixels: Annotated[bool, Field(description="cores share the pixels of an image, not only channels")] = True
    folds_batch_norm: bool = True
    fuses_elementwise: bool = True
    drops_unreachable: bool = True
    folds_zero_inputs: bool = True
    merges_duplicates: Annotated[bool, Field(description="what computes the same is run once")] = False


def _runtime(value: object) -> object:
    return {"like": value} if isinstance(value, str) else value


class RuntimeUseSheet(RuntimeSheet):
    """A runtime: one that comes along (``like``), with what is different here."""

    like: str | None = None


class ProcessorSheet(StrictModel):
    """A processor's datasheet."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=100)]
    kind: Literal["processor"]
    description: str = ""
    source: str = ""
    clock: Clock
    cores: Annotated[int, Field(ge=1, le=1_000_000)]
    compute: Annotated[dict[NumberType, ArithmeticSheet], Field(min_length=1)]
    tiles: Annotated[
        list[Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=2, max_length=2)]],
        Field(description="[channels, pixels] of an output that a core computes at once; lanes x 1 if absent"),
    ] = []
    caches: list[CacheSheet] = []
    memory: MemorySheet
    flash: Annotated[Capacity | None, Field(description="for weights, where they are not in memory")] = None
    power: PowerSheet
    runtime: Annotated[RuntimeUseSheet, BeforeValidator(_runtime, json_schema_input_type=RuntimeUseSheet | str)] = (
        RuntimeUseSheet()
    )


def runtimes() -> tuple[str, ...]:
    """Names of the runtimes that come along."""
    return tuple(sorted(path.stem for path in _RUNTIMES.glob("*.yaml")))


@cache
def _known_runtime(name: str) -> RuntimeSheet:
    return read(_RUNTIMES / f"{name}.yaml").validate(RuntimeSheet)


def load(document: Document) -> Processor:
    """The processor that a document describes; raises :class:`DocumentError` with all that is wrong."""
    context: dict[str, Any] = {}
    sheet = document.validate(ProcessorSheet, context)
    problems = list(_contradictions(document, sheet))
    if problems:
        raise DocumentError(problems)
    arithmetic = tuple(
        Arithmetic(name, type_bits(name), entry.peak, entry.lanes) for name, entry in sheet.compute.items()
    )
    return Processor(
        name=sheet.name,
        clock_hz=sheet.clock,
        cores=sheet.cores,
        arithmetic=arithmetic,
        caches=tuple(Cache(c.name, c.capacity, c.bandwidth, c.keeps) for c in sheet.caches),
        ram_bytes=sheet.memory.capacity,
        ram_bandwidth_bytes_per_s=sheet.memory.bandwidth,
        runtime=_runtime_of(sheet.runtime),
        tiles=tuple((across, along) for across, along in sheet.tiles) or ((arithmetic[0].lanes, 1),),
        idle_w=sheet.power.idle / 1e3,
        load_w=sheet.power.load / 1e3,
        flash_bytes=sheet.flash,
        description=sheet.description,
        source=sheet.source,
        notes=tuple(dict.fromkeys(context.get("notes", []))),
    )


def _runtime_of(sheet: RuntimeUseSheet) -> Runtime:
    given: dict[str, Any] = {key: getattr(sheet, key) for key in sheet.model_fields_set if key != "like"}
    changed: tuple[tuple[str, Any, Any], ...] = ()
    if sheet.like is not None:
        known = _known_runtime(sheet.like)
        changed = tuple(_changed(known, given))
        for key in known.model_fields_set:
            value = getattr(known, key)
            # Of figures by class the others stay.
            given[key] = {**value, **given.get(key, {})} if isinstance(value, dict) else given.get(key, value)
    values = {key: value for key, value in given.items() if key not in ("description", "dispatch", "scalar")}
    if "dispatch" in given:
        values["dispatch_s"] = given["dispatch"]
    if "scalar" in given:
        values["scalar"] = frozenset(given["scalar"])
    return Runtime(**{"name": "runtime", **values}, changed=changed)


def _changed(known: RuntimeSheet, given: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Figures that a datasheet gives otherwise than the runtime has them, in the order of the sheet's fields."""
    for key in RuntimeSheet.model_fields:
        if key not in given or key in ("name", "description", "source"):
            continue
        before, after = getattr(known, key), given[key]
        if isinstance(after, dict):
            of_class = ((f"{key}.{kind}", before.get(kind), figure) for kind, figure in after.items())
            yield from (each for each in of_class if each[1] != each[2])
        elif before != after:
            yield key, before, after


def _contradictions(document: Document, sheet: ProcessorSheet) -> list[str]:
    """Rules that span several fields."""
    problems = []
    for name, entry in sheet.compute.items():
        least = sheet.cores * sheet.clock * entry.lanes / entry.cycles
        if entry.peak < least * (1 - 1e-9):
            rule = (
                f"must be at least what the cores give: {sheet.cores} cores x {entry.lanes} lanes at "
                f"{sheet.clock / 1e6:g} MHz, {entry.cycles:g} cycles each, are {least:.4g} operations per second"
            )
            problems.append(document.problem(("compute", name, "peak"), f"{rule} (got {entry.peak:.4g})"))
    outer, outer_name, outer_rate = sheet.memory.capacity, "memory", sheet.memory.bandwidth
    for i, cache_sheet in enumerate(sheet.caches):
        at = ("caches", i)
        # The caches of many cores may add up to more than the one behind them.
        if cache_sheet.capacity >= outer and cache_sheet.keeps:
            rule = f"must be smaller than {outer_name}, {outer:g} bytes (got {cache_sheet.capacity:g})"
            problems.append(document.problem((*at, "capacity"), rule))
        if cache_sheet.bandwidth < outer_rate:
            rule = f"must be at least that of {outer_name}, {outer_rate:.4g} bytes per second"
            problems.append(document.problem((*at, "bandwidth"), f"{rule} (got {cache_sheet.bandwidth:.4g})"))
        if cache_sheet.name in ("RAM", *(other.name for other in sheet.caches[:i])):
            problems.append(document.problem((*at, "name"), f"must differ from the others (got {cache_sheet.name!r})"))
        outer, outer_name, outer_rate = cache_sheet.capacity, cache_sheet.name, cache_sheet.bandwidth
    if sheet.power.load < sheet.power.idle:
        rule = f"must be at least the idle power, {sheet.power.idle:g} mW (got {sheet.power.load:g})"
        problems.append(document.problem(("power", "load"), rule))
    like = sheet.runtime.like
    if like is not None and like not in runtimes():
        rule = f"unknown runtime {like!r}{did_you_mean(like, runtimes())} (known: {', '.join(runtimes())})"
        problems.append(document.problem(("runtime",), rule))
    return problems


def schema() -> dict[str, Any]:
    """JSON schema of the datasheet, for editors."""
    return json_schema(ProcessorSheet)


__all__ = ["ProcessorSheet", "RuntimeSheet", "load", "runtimes", "schema"]
