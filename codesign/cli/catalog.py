"""``list``, ``show`` and ``schema``: what there is, and how files of each kind look."""

from __future__ import annotations

import inspect
import json
import re
import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from codesign.cli._app import RefusedError, app, console_of, hardware_of
from codesign.reports.tables import capacity, si

if TYPE_CHECKING:
    from accelerators.crossbar.crossbar import Crossbar
    from accelerators.processors.processor import Processor

#: Networks of a space that are counted exactly in its list.
_EXACT = 10**6


@app.command("list")
def list_things(
    what: Annotated[str, typer.Argument(help="accelerators, networks, spaces, mappers or dataflows")],
) -> None:
    """List what is in the catalog, in the zoo or among network spaces."""
    console = console_of()
    table = Table(box=None)
    if what == "accelerators":
        from accelerators import catalog
        from accelerators.crossbar import area
        from accelerators.crossbar.crossbar import Crossbar
        from accelerators.processors.processor import Processor

        for column in ("name", "kind", "peak", "on-chip", "RAM", "power", "clock", "node"):
            table.add_column(column, justify="left" if column in ("name", "kind") else "right")
        table.add_column("description")
        hardware = [catalog.load(name) for name in catalog.names()]
        for a in sorted(hardware, key=lambda a: (isinstance(a, Processor), isinstance(a, Crossbar), a.name)):
            if isinstance(a, Crossbar):
                held = capacity(a.weights * a.weight_bits / 8)
                reads = f"{1e-6 / area.cycle_s(a):.4g} MHz"
                peak = f"{si(2 * area.peak_macs_per_s(a))}OP/s"
                table.add_row(a.name, "crossbar", peak, held, "", "", reads, f"{a.node_nm:g} nm", a.description)
                continue
            clock = f"{a.clock_hz / 1e6:g} MHz"
            if isinstance(a, Processor):
                cached = capacity(sum(cache.capacity_bytes for cache in a.caches)) if a.caches else ""
                memory, power = capacity(a.ram_bytes), f"{si(a.load_w)}W"
                row = ("processor", f"{si(a.type.peak_ops_per_s)}OP/s", cached, memory, power, clock, "")
            else:
                node = f"{a.node_nm:g} nm" if a.node_nm else ""
                peak = f"{si(2 * a.macs * a.clock_hz)}OP/s"
                row = ("spatial", peak, capacity(a.on_chip_bytes), "", "", clock, node)
            table.add_row(a.name, *row, a.description)
    elif what == "networks":
        from codesign.networks import ZOO

        for column in ("name", "GMACs", "parameters"):
            table.add_column(column, justify="left" if column == "name" else "right")
        table.add_column("description")
        for name, entry in ZOO.items():
            network = entry.build()
            table.add_row(name, f"{network.macs / 1e9:.4g}", f"{network.parameters:,}", entry.summary)
    elif what == "spaces":
        from codesign.nas.spaces import SPACES

        for column in ("name", "networks", "options", "description"):
            table.add_column(column, justify="right" if column == "networks" else "left")
        for name, space in SPACES.items():
            parameters = inspect.signature(space).parameters.values()
            needs = [p for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
            takes = ", ".join(p.name if p.default is p.empty else f"{p.name}={p.default}" for p in parameters)
            size = None if needs else space().size
            count = "" if size is None else f"{size:,}" if size < _EXACT else f"{Decimal(size):.3g}"
            said = (inspect.getdoc(space) or "").partition(";")[0].splitlines()[0]
            table.add_row(name, count, takes, re.sub(r":data:`~[\w.]*?(\w+)`|``", r"\1", said).rstrip("."))
    elif what == "mappers":
        from mappers import MAPPERS

        for column in ("name", "description"):
            table.add_column(column)
        for name, mapper in MAPPERS.items():
            table.add_row(name, (sys.modules[mapper.__module__].__doc__ or "").splitlines()[0])
    elif what == "dataflows":
        from accelerators.spatial import constraint_files

        for column in ("name", "source"):
            table.add_column(column)
        for name in constraint_files.names():
            table.add_row(name, constraint_files.load(name).sheet.source)
    else:
        from accelerators.suggestions import did_you_mean

        known = ("accelerators", "networks", "spaces", "mappers", "dataflows")
        raise RefusedError(f"there are lists of {' and '.join(known)} (got {what!r}){did_you_mean(what, known)}")
    console.print(table)


@app.command()
def show(name: Annotated[str, typer.Argument(help="hardware: name from the catalog, or file")]) -> None:
    """Show hardware: what was read, what came from the technology tables, area and leakage."""
    from accelerators.crossbar.crossbar import Crossbar
    from accelerators.processors.processor import Processor
    from codesign.devices import LearnedDevice, TableDevice

    accelerator = hardware_of([name])[0]
    console = console_of()
    if isinstance(accelerator, TableDevice | LearnedDevice):
        for line in accelerator.describe():
            console.print(line, markup=False, highlight=False)
        return
    if isinstance(accelerator, Crossbar):
        _show_crossbar(console, accelerator)
        return
    if isinstance(accelerator, Processor):
        _show_processor(console, accelerator)
        return
    console.print(f"{accelerator.name}: {accelerator.description}".rstrip(": "), markup=False, highlight=False)
    if accelerator.source:
        console.print(f"source: {accelerator.source}", markup=False, highlight=False)
    node = f", {accelerator.node_nm:g} nm" if accelerator.node_nm else ""
    console.print(
        f"{accelerator.macs} MACs at {accelerator.clock_hz / 1e6:g} MHz{node} = "
        f"{si(2 * accelerator.macs * accelerator.clock_hz)}OP/s, on chip {accelerator.on_chip_bytes / 1024:.4g} kB, "
        f"area {accelerator.area_mm2:.4g} mm2 (wires and control: factor {accelerator.area_factor:g}), "
        f"leakage {accelerator.leakage_mw:.4g} mW",
        highlight=False,
    )
    table = Table(box=None)
    for column in ("level", "instances", "capacity", "width", "keeps", "pJ read/write/update", "bandwidth B/cycle"):
        table.add_column(column)
    table.add_column("fanout")
    for level, instances in zip(accelerator.levels, accelerator.instances, strict=False):
        bandwidths = {
            "read": level.read_bandwidth_bytes_per_cycle,
            "write": level.write_bandwidth_bytes_per_cycle,
            "shared": level.shared_bandwidth_bytes_per_cycle,
        }
        fanout = " ".join(
            f"{axis.name}:{axis.size} ({'any' if axis.dims is None else ' '.join(sorted(axis.dims))})"
            for axis in level.fanout
        )
        table.add_row(
            level.name,
            str(instances),
            "unbounded" if level.capacity_bytes is None else f"{level.capacity_bytes:g} B",
            f"{level.width_bits} bit",
            " ".join(sorted(level.keeps)),
            f"{level.read_energy_pj:.4g}/{level.fill_energy_pj:.4g}/{level.update_energy_pj:.4g}",
            " ".join(f"{key} {value:g}" for key, value in bandwidths.items() if value is not None) or "unlimited",
            fanout,
        )
    compute = accelerator.compute
    console.print(table)
    console.print(
        f"MAC: {compute.weight_bits} x {compute.input_bits} bit into {compute.accumulator_bits}, "
        f"{compute.energy_pj:.4g} pJ; addition {compute.add_energy_pj:.4g} pJ; wires "
        f"{accelerator.wire_energy_pj_per_bit_mm:.4g} pJ per bit and mm",
        highlight=False,
    )
    console.print(f"dataflow: {accelerator.dataflow.name}", markup=False, highlight=False)
    for note in accelerator.notes:
        console.print(f"note: {note}", markup=False, highlight=False)
    for level in accelerator.levels:
        if level.source:
            console.print(f"{level.name}: {level.source}", markup=False, highlight=False)
    if compute.source:
        console.print(f"MAC: {compute.source}", markup=False, highlight=False)


def _show_processor(console: Console, processor: Processor) -> None:
    from accelerators.processors.processor import CLASSES

    console.print(f"{processor.name}: {processor.description}".rstrip(": "), markup=False, highlight=False)
    if processor.source:
        console.print(f"source: {processor.source}", markup=False, highlight=False)
    flash = "" if processor.flash_bytes is None else f", flash {capacity(processor.flash_bytes)}"
    console.print(
        f"{processor.cores} cores at {processor.clock_hz / 1e6:g} MHz, memory {capacity(processor.ram_bytes)}"
        f"{flash}, {processor.idle_w:g} W idle, {processor.load_w:g} W at work",
        highlight=False,
    )
    table = Table(box=None)
    for column in ("", "peak or bandwidth", "lanes or capacity", "operations per byte at the ridge"):
        table.add_column(column)
    for arithmetic in processor.arithmetic:
        table.add_row(arithmetic.type, f"{si(arithmetic.peak_ops_per_s)}OP/s", str(arithmetic.lanes), "")
    peak = processor.type.peak_ops_per_s
    memories = [("RAM", processor.ram_bandwidth_bytes_per_s, processor.ram_bytes)]
    memories += [(cache.name, cache.bandwidth_bytes_per_s, cache.capacity_bytes) for cache in processor.caches]
    for name, rate, held in memories:
        table.add_row(name, f"{si(rate)}B/s", capacity(held), f"{peak / rate:.3g}")
    console.print(table)
    runtime = processor.runtime
    said = [
        f"{processor.cores_used} of {processor.cores} cores",
        f"starts an operator in {si(runtime.dispatch_s)}s"
        + (", while the device works" if runtime.asynchronous else ""),
        f"batch normalisation {'folded' if runtime.folds_batch_norm else 'by itself'}",
        f"elementwise operators {'fused' if runtime.fuses_elementwise else 'by themselves'}",
        f"unreachable operators {'dropped' if runtime.drops_unreachable else 'executed'}",
        f"operators on zeros {'folded' if runtime.folds_zero_inputs else 'executed'}",
        f"duplicates {'merged' if runtime.merges_duplicates else 'executed'}",
    ]
    console.print(f"runtime {runtime.name}: {'; '.join(said)}", markup=False, highlight=False)
    reached = [f"{kind} {share:g}" for kind, share in runtime.efficiency.items() if kind not in runtime.scalar]
    scalar = [
        f"{kind} without vectors, cycles per operation: {runtime.scalar_cycles:g}"
        for kind in CLASSES
        if kind in runtime.scalar
    ]
    tiles = ", ".join(f"{channels} x {pixels}" for channels, pixels in processor.tiles)
    lines = [
        f"part of the peak that kernels reach: {', '.join([*reached, *scalar, 'others 1'])}",
        f"a core computes tiles of channels x pixels: {tiles}",
    ]
    if runtime.source:
        lines.append(f"runtime: {runtime.source}")
    if runtime.changed:
        own = (
            f"{place} {_figure(place, after)} (else {_figure(place, before)})"
            for place, before, after in runtime.changed
        )
        lines.append(f"this datasheet departs from its runtime: {', '.join(own)}")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _figure(place: str, value: object) -> str:
    """A figure of a runtime as its datasheet would have it."""
    if value is None:
        return "all cores" if place == "threads" else "1"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{si(value)}s" if place == "dispatch" else f"{value:g}"
    return str(value)


def _show_crossbar(console: Console, crossbar: Crossbar) -> None:
    from accelerators.crossbar import area, arrays

    console.print(f"{crossbar.name}: {crossbar.description}".rstrip(": "), markup=False, highlight=False)
    if crossbar.source:
        console.print(f"source: {crossbar.source}", markup=False, highlight=False)
    peak, pj = area.peak_macs_per_s(crossbar), area.peak_pj_per_mac(crossbar)
    total = area.area_mm2(crossbar)
    console.print(
        f"{crossbar.arrays} arrays of {crossbar.rows} x {crossbar.columns} cells, {si(crossbar.weights)}weights of "
        f"{crossbar.weight_bits} bit, inputs {crossbar.input_bits} bit, {crossbar.node_nm:g} nm, "
        f"{crossbar.supply_v:g} V; full arrays: {si(2 * peak)}OP/s, {2 / pj:.4g} TOPS/W, "
        f"{2 * peak / 1e12 / total:.4g} TOPS/mm2 of {total:.4g} mm2; leakage {area.leakage_mw(crossbar):.4g} mW",
        highlight=False,
        soft_wrap=True,
    )
    product = arrays.product(crossbar, area.full(crossbar))
    whole = sum(product.energy_pj.values())
    table = Table(box=None)
    table.add_column("part")
    for column in ("pJ per product of a full array", "share", "mm2 of the chip", "share"):
        table.add_column(column, justify="right")
    areas = area.area_breakdown_mm2(crossbar)
    for part in dict.fromkeys((*product.energy_pj, *areas)):
        energy, mm2 = product.energy_pj.get(part), areas.get(part)
        table.add_row(
            part,
            *(("", "") if energy is None else (f"{energy:.4g}", f"{energy / whole:.1%}")),
            *(("", "") if mm2 is None else (f"{mm2:.4g}", f"{mm2 / total:.1%}")),
        )
    console.print(table)
    said = [f"a product takes {si(product.interval_s)}s, bound by {product.bottleneck}"]
    if crossbar.converter is not None:
        lossless = crossbar.lossless_bits(crossbar.rows_at_once // crossbar.rows_per_weight)
        said.append(f"ADC {crossbar.adc_bits} bit, {lossless} would lose nothing: {crossbar.converter.text}")
    said.append(crossbar.values.text)
    for text in (*said, *(f"note: {note}" for note in crossbar.notes)):
        console.print(text, markup=False, highlight=False)


@app.command()
def schema(
    what: Annotated[
        str, typer.Argument(help="accelerator, processor, crossbar, experiment, mappings or constraints")
    ] = "accelerator",
) -> None:
    """Print the JSON schema of a kind of file, for editors."""
    from accelerators.crossbar import datasheet as crossbars
    from accelerators.processors import datasheet as processors
    from accelerators.spatial import constraint_files, datasheet, mapping_file
    from codesign.experiments import sheet

    schemas = {
        "accelerator": datasheet.schema,
        "processor": processors.schema,
        "crossbar": crossbars.schema,
        "experiment": sheet.schema,
        "mappings": mapping_file.schema,
        "constraints": constraint_files.schema,
    }
    if what not in schemas:
        raise RefusedError(f"there are schemas of {', '.join(schemas)} (got {what!r})")
    print(json.dumps(schemas[what](), indent=1))
