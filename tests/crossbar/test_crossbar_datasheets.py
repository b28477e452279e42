"""Datasheets of crossbars: what they say, what is refused, the catalog, the command line."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelerators import catalog
from accelerators.costs import Infeasible
from accelerators.crossbar import area, arrays, datasheet
from accelerators.crossbar.converters import Fixed, Integrating, SramAimc, Survey
from accelerators.crossbar.crossbar import Crossbar
from accelerators.documents import DocumentError, parse
from codesign import evaluation, mappings
from codesign.evaluation import on_crossbar
from codesign.networks import ZOO, load

SHEET = """\
name: tiny
kind: crossbar
node: 28 nm
supply: 0.9 V
arrays: {rows: 64, columns: 64, count: 16}
cell:
  kind: resistive
  bits: 2
  on: 50 kohm
  off: 1 uS
  read: {voltage: 0.2 V, time: 10 ns}
  area: 40 F2
  write: {voltage: 2 V, conductance: 20 uS, time: 100 ns, pulses: 5}
weights: {bits: 8, signed: pair_columns}
inputs: {bits: 8}
adc: {model: sram_aimc, bits: 6, columns: 4}
buffer: {capacity: 4 kB, width: 64 bit, arrays: 4, bandwidth: 8 GB/s}
memory: {bandwidth: 4 GB/s}
digital: {lanes: 16, clock: 500 MHz, multiplies: true}
execution: {pipelined: true, replicates: true}
"""
CROSSBARS = catalog.names("crossbar")


def crossbar(text: str = SHEET) -> Crossbar:
    found = catalog.from_text(text)
    assert isinstance(found, Crossbar)
    return found


def named(name: str) -> Crossbar:
    found = catalog.load(name)
    assert isinstance(found, Crossbar)
    return found


def test_what_a_datasheet_says() -> None:
    found = crossbar()
    assert (found.rows, found.columns, found.arrays, found.adc_bits, found.columns_per_adc) == (64, 64, 16, 6, 4)
    assert found.cell.on_us == pytest.approx(20)
    assert found.cell.area_um2 == pytest.approx(40 * 0.028**2)
    assert found.cell.write_pj == pytest.approx(5 * 4 * 20e-6 * 100e-9 * 1e12)
    assert found.cell.write_s == pytest.approx(500e-9)
    # Seven bits of magnitude in four cells, twice.
    assert (found.slices, found.columns_per_weight, found.weight_columns) == (4, 8, 8)
    assert found.memory is not None and found.memory.energy_pj_per_bit == 8
    assert found.buffer is not None and found.buffer.area_mm2 > 0


def test_models_of_converters_by_name() -> None:
    step = "{energy: 1 pJ, time: 1 ns}"
    for text, expected in (
        ("{model: survey, bits: 6, rate: 1 GHz, factor: 3, floor: 10 fJ}", Survey(1e9, 3.0, 0.01)),
        ("{model: sram_aimc, bits: 6, by_density: true}", SramAimc(by_density=True)),
        ("{model: fixed, bits: 6, energy: 2 pJ, time: 1 ns, area: 100 um2, at_bits: 8}", Fixed(2, 1e-9, 100, 8)),
        (
            f"{{model: integrating, bits: 6, sample: {step}, integrate: {step}, step: {step}, area: 10 um2}}",
            Integrating((1, 1e-9), (1, 1e-9), (1, 1e-9), 0, 10, 6, 16),
        ),
    ):
        found = crossbar(SHEET.replace("{model: sram_aimc, bits: 6, columns: 4}", text)).converter
        assert type(found) is type(expected)
        assert [getattr(found, key) for key in vars(expected)] == [
            pytest.approx(value) for value in vars(expected).values()
        ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("bits: 6, columns", "bits: 0, columns", "adc.bits: must be >= 1 (got 0)"),
        ("on: 50 kohm", "on: 5 Mohm", "cell: off conductance must be less than the conductance that is on"),
        ("rows: 64", "rows: 0", "arrays.rows: must be >= 1 (got 0)"),
        ("columns: 64, count", "columns: 7, count", "arrays.columns: must be >= 8, which a weight takes (got 7)"),
        ("bandwidth: 8 GB/s", "bandwidth: 0 GB/s", "buffer.bandwidth: must be > 0"),
        ("bandwidth: 4 GB/s", "bandwidth: 0", "memory.bandwidth: must be > 0"),
        ("supply: 0.9 V", "supply: .nan", "supply: must be finite"),
        ("supply: 0.9 V", "supply: 0 V", "supply: must be > 0"),
        ("node: 28 nm", "node: 3 nm", "node_nm: must be between 7 and 180 nm (got 3.0)"),
        ("bits: 2\n", "bits: 9\n", "cell.bits: must be <= 7, the weight's bits in cells (got 9)"),
        ("inputs: {bits: 8}", "inputs: {bits: 8, bits_per_cycle: 9}", "must be in 1..8, the input's bits (got 9)"),
        ("signed: pair_columns", "signed: pairs", "weights.signed: must be one of"),
        ("weights: {bits: 8", "weights: {bits: 1", "weights.bits: must be >= 2 for pairs"),
        ("  on: 50 kohm\n", "", "cell.on: is required for resistive cells"),
        ("model: sram_aimc", "model: survey", "adc.rate: is required for the model survey"),
        ("columns: 4}", "columns: 4, rate: 1 GHz}", "adc.rate: has no meaning for the model sram_aimc"),
        ("model: sram_aimc", "model: sar", "adc.model: must be one of"),
        ("count: 16}", "count: 16, active_rows: 65}", "arrays.active_rows: must be in 1..64, the rows (got 65)"),
        ("pipelined: true, ", "", "execution.replicates: needs pipelined: true"),
        ("memory: {", "memory: {type: SRAM, ", "memory.type: must be one of LPDDR4"),
        ("area: 40 F2", "area: 0 F2", "cell.area"),
        ("on: 50 kohm", "on: 0 ohm", "cell.on: must be > 0"),
        ("execution:", "tree: {}\nexecution:", "tree: is for digital cells (got kind resistive)"),
        (
            "execution:",
            "values: {inputs: [1, 2]}\nexecution:",
            "one frequency per code, 256 for 8 bit (got 2)",
        ),
        ("execution:", "values: {inputs: [0, 0]}\nexecution:", "frequencies must not all be 0"),
        ("execution:", "values: {weights: gaussian}\nexecution:", "values.weights: must be one of normal, uniform"),
        ("name: tiny", "name: tiny\nclok: 1 GHz", "clok: unknown key: did you mean clock?"),
    ],
)
def test_impossible_crossbars_are_refused(old: str, new: str, expected: str) -> None:
    assert old in SHEET
    with pytest.raises(DocumentError) as caught:
        crossbar(SHEET.replace(old, new, 1))
    assert expected in str(caught.value)


def test_digital_sheets_have_no_converters() -> None:
    with pytest.raises(DocumentError) as caught:
        crossbar(SHEET.replace("kind: resistive", "kind: digital"))
    text = str(caught.value)
    for rule in ("cell.on: is for resistive cells", "adc: is for analog cells"):
        assert rule in text


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["rows", "columns", "arrays", "weight_bits", "input_bits", "cell_bits", "adc_bits", "sets"]),
    st.integers(-2, 40),
    st.sampled_from(["bits_per_cycle", "columns_per_adc", "column_copies", "active_rows"]),
    st.integers(-2, 80),
)
def test_any_figures_give_costs_or_reasons(first: str, one: int, second: str, other: int) -> None:
    design = replace(crossbar(), **{first: one, second: other})
    cost = on_crossbar(load("ds_cnn"), design, {})
    if design.problems:
        assert all("design" in problem for problem in cost.problems)
        return
    for problem in cost.problems:
        assert "capacity" in problem
    if not cost.problems:
        # A number: 24 bits per conversion, a row at a time, take kilojoules.
        assert cost.energy_pj is not None and 0 < cost.energy_pj < 1e18
        assert cost.latency_s is not None and 0 < cost.latency_s < 1e6


# ----------------------------------------------------------------------------------------------------------- catalog


@pytest.mark.parametrize("name", CROSSBARS)
def test_every_crossbar_of_the_catalog(name: str) -> None:
    found = named(name)
    assert found.description
    assert found.source
    graph = load("resnet18")
    cost = on_crossbar(graph, found, {})
    assert cost.problems == []
    assert cost.macs == graph.macs
    assert cost.quality
    assert 0 < (cost.utilisation or 0) <= 1
    assert cost.area_mm2 == pytest.approx(sum(area.area_breakdown_mm2(found).values()))
    assert (cost.interval_s or 0) <= (cost.latency_s or 0)


@pytest.mark.parametrize("network", ZOO)
def test_every_network_runs_or_says_why(network: str) -> None:
    graph = load(network)
    for name in CROSSBARS:
        found = named(name)
        result = on_crossbar(graph, found, graph.fusable())
        for layer in result.layers:
            if isinstance(layer.cost, Infeasible):
                # No unit multiplies two activations there; nothing else is refused.
                assert (name, layer.operator.kind, layer.cost.code) == ("isaac_like", "batched_matmul", "operator")
                continue
            assert layer.cost.macs == layer.operator.macs <= layer.cost.padded_macs
            assert layer.cost.energy_pj == pytest.approx(sum(layer.cost.energy_breakdown_pj.values()))
            assert 0 <= layer.cost.utilisation <= 1
        if not result.problems:
            interval, latency = result.interval_s, result.latency_s
            assert interval is not None and latency is not None
            on_arrays = sum(layer.operator.macs for layer in result.layers if layer.operator.kind != "batched_matmul")
            assert on_arrays <= area.peak_macs_per_s(found) * interval * (1 + 1e-9)
            assert interval <= latency * (1 + 1e-9)


def test_isaac_has_its_published_totals() -> None:
    # Without links: 62.5 mm2 of tiles; 41 TOP/s of 16 bit; a converter needs no more than 8 bit.
    isaac = named("isaac_like")
    assert area.area_mm2(isaac) == pytest.approx(62.5, rel=0.01)
    assert 2 * area.peak_macs_per_s(isaac) == pytest.approx(41.3e12, rel=0.01)
    assert isaac.lossless_bits(128) == 8 == isaac.adc_bits
    assert area.cycle_s(isaac) == pytest.approx(100e-9, rel=0.01)


def test_the_pcm_core_has_its_published_totals() -> None:
    pcm = named("pcm_256")
    assert 2 / area.peak_pj_per_mac(pcm) == pytest.approx(10.5, rel=0.02)
    assert area.product_s(pcm) == pytest.approx(130e-9, rel=0.01)
    core = sum(arrays.area_mm2(pcm).values())
    assert 2 * area.peak_macs_per_s(pcm) / 1e12 / pcm.arrays / core == pytest.approx(1.59, rel=0.02)


def test_neurram_has_its_published_area() -> None:
    # 48 arrays of 1.161 mm2, of which 28 % are neurons, 21 % drivers and 12 % cells.
    parts = area.area_breakdown_mm2(named("neurram"))
    whole = 48 * 1.161143
    assert sum(parts.values()) == pytest.approx(whole, rel=0.01)
    for part, share in (("ADC", 0.28), ("drivers", 0.21), ("cells", 0.12)):
        assert parts[part] == pytest.approx(share * whole, rel=0.01)


def test_kinds_of_hardware_share_a_table() -> None:
    result = evaluation.evaluate("ds_cnn", ["pcm_256", "isaac_like", "eyeriss", "raspberry_pi_4"])
    assert [each.hardware for each in result.results] == ["pcm_256", "isaac_like", "eyeriss", "raspberry_pi_4"]
    assert all(each.energy_pj and each.latency_s for each in result.results)
    isaac = result["isaac_like"]
    assert isaac.runs_per_s is not None and isaac.latency_s is not None
    assert isaac.runs_per_s > 1 / isaac.latency_s
    assert "ADC 8 bit: given converter" in (isaac.quality or "")
    assert "pipelined" in (isaac.quality or "")
    assert mappings.of_network(isaac) is None
    written = json.loads(result.to_json())
    assert "tiles" in json.dumps(written[1])


def test_fused_activations_cost_no_traffic() -> None:
    plain, fused = (evaluation.evaluate("resnet18", "isaac_like", fuse=fuse).results[0] for fuse in (False, True))
    assert fused.energy_breakdown_pj["buffers"] < plain.energy_breakdown_pj["buffers"]
    assert fused.energy_breakdown_pj["ADC"] == plain.energy_breakdown_pj["ADC"]


def test_evaluating_a_network_takes_milliseconds() -> None:
    graph, isaac = load("resnet18"), named("isaac_like")
    on_crossbar(graph, isaac, {})
    times = []
    for bits in range(4, 9):
        started = time.process_time()
        on_crossbar(graph, replace(isaac, adc_bits=bits), {})
        times.append(time.process_time() - started)
    assert min(times) < 0.05


def test_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(SHEET)

    def codesign(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "codesign", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    files = ["--out", "out", "--json", "a.json", "--csv", "a.csv", "--layers"]
    done = codesign("evaluate", "ds_cnn", "--on", "tiny.yaml", "isaac_like", *files)
    assert done.returncode == 0, done.stderr
    assert "SRAM-AIMC fit" in done.stdout
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"layers.csv", "results.json", "summary.csv"}
    shown = codesign("show", "isaac_like")
    assert "16128 arrays of 128 x 128 cells" in shown.stdout
    assert "would lose nothing" in shown.stdout
    assert json.loads(codesign("schema", "crossbar").stdout)["title"] == "CrossbarSheet"
    assert "neurram" in codesign("list", "accelerators").stdout
    refused = codesign("evaluate", "bert_base", "--on", "isaac_like")
    assert refused.returncode == 1
    assert "multiplies two activations" in " ".join(refused.stdout.split())


def test_what_needs_mappings_refuses_crossbars() -> None:
    with pytest.raises(DocumentError, match=r"isaac_like: must be a spatial accelerator \(got a crossbar\)"):
        catalog.load_spatial("isaac_like")


def test_problems_name_the_place() -> None:
    document = parse(SHEET.replace("bits: 6, columns", "bits: 30, columns"), "mine.yaml")
    with pytest.raises(DocumentError, match=r"mine.yaml:16:\d+: adc.bits: must be <= 24 \(got 30\)"):
        datasheet.load(document)


def test_numbers_that_are_none_are_called_so() -> None:
    text = SHEET.replace("columns: 4}", "columns: 4, factor: .nan}").replace("adc:", "area_factor: .nan\nadc:")
    with pytest.raises(DocumentError) as error:
        catalog.from_text(text)
    assert [problem.partition(": ")[2] for problem in error.value.problems] == [
        "adc.factor: must be finite (got nan)",
        "area_factor: must be finite (got nan)",
    ]


@pytest.mark.parametrize("rate", ["1 GS/s", "1 GHz", "1e9"])
def test_rates_are_samples_per_second(rate: str) -> None:
    found = crossbar(SHEET.replace("model: sram_aimc, bits: 6", f"model: survey, bits: 6, rate: {rate}"))
    assert found.converter == Survey(1e9)


def test_converters_beyond_the_survey_are_refused() -> None:
    text = SHEET.replace("model: sram_aimc, bits: 6", "model: survey, bits: 8, rate: 1e12")
    with pytest.raises(DocumentError, match=r"adc: 8 bits at 1e\+06 MS/s would take 1.86e\+04 pJ, far beyond"):
        catalog.from_text(text)
    fine = crossbar(SHEET.replace("model: sram_aimc, bits: 6", "model: survey, bits: 6, rate: 1 GHz"))
    assert [name for name, _ in replace(fine, adc_bits=24).problems] == ["converter"]


def test_arrays_are_written_one_per_buffer() -> None:
    assert crossbar().write_arrays == 4
    assert crossbar(SHEET.replace("replicates: true}", "replicates: true, write_arrays: 3}")).write_arrays == 3
    lone = SHEET.replace("buffer: {capacity: 4 kB, width: 64 bit, arrays: 4, bandwidth: 8 GB/s}\n", "")
    assert crossbar(lone).write_arrays == 1


def test_layers_that_fail_alike_share_a_line() -> None:
    cost = on_crossbar(load("vit_b_16"), named("isaac_like"), {})
    assert len(cost.refused) == 24
    (problem,) = cost.problems
    assert problem.startswith("encoder.layers.encoder_layer_0.self_attention.scores, ")
    assert "and 22 more: operator: batched_matmul multiplies two activations" in problem
