"""Rooflines: bounds that no operator beats, traffic that caches save, what a runtime starts."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelerators import catalog
from accelerators.documents import DocumentError
from accelerators.operators import Operator, batched_matmul, conv2d, depthwise, elementwise, matmul, pool2d, softmax
from accelerators.processors.processor import Processor
from accelerators.processors.roofline import Step, compute_s, dispatch_s, fill, memory_s, run, traffic_words
from codesign import evaluation, mappings, processors
from codesign.experiments.experiment import Experiment
from codesign.nas.spaces import nas_bench_201
from codesign.networks import Builder, Network, load
from codesign.networks.execution import live, memory_misfit, steps

TINY = """\
name: tiny
kind: processor
clock: 1 GHz
cores: 2
compute:
  fp32: {peak: 16 GOP/s, lanes: 4}
  int8: {peak: 64 GOP/s, lanes: 16}
caches:
  - {name: L2, capacity: 256 kB, bandwidth: 16 GB/s}
  - {name: L1, capacity: 32 kB, bandwidth: 64 GB/s}
memory: {capacity: 16 MB, bandwidth: 4 GB/s}
power: {idle: 1 W, load: 3 W}
"""
PROCESSORS = catalog.names("processor")
#: The table of MIT's TinyML lecture: operations per second, bytes of memory, watts.
LECTURE = {
    "gtx_1080ti": (10e12, 11 * 2**30, 250),
    "core_i9_9900k": (500e9, None, 95),
    "pixel_1": (50e9, 4 * 2**30, 5),
    "raspberry_pi_3": (50e9, 2**30, 1.5),
    "raspberry_pi_4": (48e9, None, None),
    "micro_bit": (16e6, 16 * 2**10, 1e-3),
    "arduino_uno": (4e6, 2 * 2**10, 1e-3),
}


def processor(text: str = TINY) -> Processor:
    found = catalog.from_text(text)
    assert isinstance(found, Processor)
    return found


def named(name: str) -> Processor:
    found = catalog.load(name)
    assert isinstance(found, Processor)
    return found


operators = st.one_of(
    st.builds(
        conv2d,
        K=st.integers(1, 70),
        C=st.integers(1, 70),
        P=st.integers(1, 30),
        Q=st.integers(1, 30),
        R=st.sampled_from([1, 3, 5]),
        S=st.sampled_from([1, 3]),
        N=st.integers(1, 3),
        stride=st.sampled_from([1, 2]),
    ),
    st.builds(depthwise, G=st.integers(2, 80), P=st.integers(1, 30), Q=st.integers(1, 30), R=st.just(3), S=st.just(3)),
    st.builds(matmul, P=st.integers(1, 70), K=st.integers(1, 200), C=st.integers(1, 200)),
    st.builds(batched_matmul, G=st.integers(1, 8), P=st.integers(1, 30), K=st.integers(1, 30), C=st.integers(1, 30)),
    st.builds(pool2d, K=st.integers(1, 70), P=st.integers(1, 20), Q=st.integers(1, 20), R=st.just(3), S=st.just(3)),
    st.builds(elementwise, st.integers(1, 5000), operands=st.integers(1, 3)),
    st.builds(softmax, rows=st.integers(1, 100), length=st.integers(1, 100)),
)


@settings(max_examples=150, deadline=None)
@given(operators, st.sampled_from(PROCESSORS))
def test_no_operator_beats_the_roofline(operator: Operator, name: str) -> None:
    found = named(name)
    (cost,) = run(found, [Step("a", operator)])
    assert cost.latency_s >= 2 * operator.macs / found.type.peak_ops_per_s
    assert cost.energy_pj == pytest.approx(sum(cost.energy_breakdown_pj.values()))
    assert found.idle_w * cost.latency_s * 1e12 <= cost.energy_pj * (1 + 1e-9)
    assert cost.energy_pj <= found.load_w * cost.latency_s * 1e12 * (1 + 1e-9)
    assert 0 <= cost.utilisation <= 1
    assert cost.macs == operator.macs
    # Nothing from memory twice that fits the innermost memory, and everything at least once where nothing is held.
    words = sum(map(operator.touched_words, operator.tensors))
    assert sum(traffic_words(operator, math.inf)) == words


@settings(max_examples=100, deadline=None)
@given(operators, st.floats(16, 20_000), st.floats(1, 8))
def test_a_larger_cache_never_takes_more_traffic(operator: Operator, words: float, more: float) -> None:
    small, large = traffic_words(operator, words), traffic_words(operator, words * more)
    assert sum(large) <= sum(small) * (1 + 1e-12)
    least = [operator.touched_words(tensor) for tensor in operator.tensors]
    assert all(moved >= each for moved, each in zip(large, least, strict=True))


def test_traffic_of_a_product_is_that_of_the_best_square_tiles() -> None:
    # Hong and Kung (1981): of order 2 n^3 / sqrt(S). With one tensor in place, tiles of 64 x 64 of the outputs stay.
    operator = matmul(P=512, K=512, C=512)
    moved = traffic_words(operator, 64 * 64 + 2 * 64 + 1)
    assert sum(moved) == 2 * 512**3 / 64 + 512**2
    brute = min(
        512**3 / k + 512**3 / p + 512**2
        for k, p in itertools.product([2**i for i in range(10)], repeat=2)
        if k * p + k + p <= 64 * 64 + 2 * 64 + 1
    )
    assert sum(moved) == brute


def test_tensors_come_from_where_they_are_held() -> None:
    found = processor()
    small = conv2d(K=8, C=8, P=8, Q=8, R=1, S=1)
    assert memory_s(found, Step("a", small))["RAM"] == 0
    seconds = memory_s(found, Step("a", small, resident_bytes=2**20))
    assert seconds["RAM"] == pytest.approx(64 * 4 / 4e9)  # only weights, which are too many for the caches
    large = elementwise(100_000, kind="relu")
    assert memory_s(found, Step("a", large))["RAM"] == pytest.approx(2 * 400_000 / 4e9)
    assert memory_s(found, Step("a", large, extra_words=1000))["RAM"] == pytest.approx(804_000 / 4e9)


def test_lanes_and_cores_are_filled_by_channels_and_pixels() -> None:
    found = processor()
    assert fill(found, conv2d(K=8, C=3, P=4, Q=4, R=3, S=3)) == 1
    assert fill(found, conv2d(K=5, C=3, P=4, Q=4, R=3, S=3)) == 5 / 8
    assert fill(found, conv2d(K=4, C=3, P=1, Q=1, R=3, S=3)) == 1 / 2
    assert fill(found, depthwise(G=6, P=4, Q=4, R=3, S=3)) == 6 / 8
    one = replace(found, runtime=replace(found.runtime, threads=1))
    assert fill(one, conv2d(K=8, C=3, P=4, Q=4, R=3, S=3)) == 1 / 2
    channels = replace(found, runtime=replace(found.runtime, divides_pixels=False))
    assert fill(channels, conv2d(K=4, C=3, P=4, Q=4, R=3, S=3)) == 1 / 2
    assert fill(channels, conv2d(K=4, C=3, P=4, Q=4, R=3, S=3, N=2)) == 1


def test_batch_normalisations_by_themselves_are_started_by_channel() -> None:
    b = Builder("n", 1)
    b.conv(b.input(3, 8, 8), "conv", K=48, kernel=3, padding=1, bn=True)
    found = processor(TINY + "runtime: {dispatch: 10 us, channel_dispatches: 0.1, folds_batch_norm: false}\n")
    conv, norm = steps(b.network, found.runtime, 32)
    assert (conv.channels, norm.channels) == (0, 48)
    assert dispatch_s(found, norm) == pytest.approx(10e-6 * (1 + 4.8))
    # In inference every element is read once.
    assert norm.operator.passes == 1


def test_figures_by_class_keep_those_of_the_runtime_that_they_vary() -> None:
    found = processor(TINY + "runtime: {like: pytorch_cuda, efficiency: {convolution: 1.0}}\n").runtime
    assert found.efficiency == {**named("titan_rtx").runtime.efficiency, "convolution": 1.0}
    assert found.changed == (("efficiency.convolution", 0.35, 1.0),)
    assert named("titan_rtx").runtime.changed == ()
    assert [place for place, *_ in named("galaxy_s7").runtime.changed] == [
        "dispatch",
        "folds_batch_norm",
        "merges_duplicates",
    ]


def test_one_thread_has_the_caches_of_its_core_alone() -> None:
    found = processor()
    one = replace(found, runtime=replace(found.runtime, threads=1))
    step = Step("a", elementwise(100_000, kind="relu"))
    for name, factor in (("RAM", 1), ("L2", 2), ("L1", 2)):
        assert memory_s(one, step)[name] == pytest.approx(factor * memory_s(found, step)[name])


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("lanes: 4", "lanes: 4, cycles: 1e-320", "compute.fp32.cycles: must be >= 0.0001"),
        ("lanes: 4", "lanes: 4, cycles: .nan", "compute.fp32.cycles: must be finite (got nan)"),
        ("power:", "runtime: {efficiency: {pool: 1e-320}}\npower:", "efficiency.pool: must be >= 1e-09"),
    ],
)
def test_figures_that_cannot_be(old: str, new: str, expected: str) -> None:
    with pytest.raises(DocumentError) as caught:
        processor(TINY.replace(old, new, 1))
    assert expected in str(caught.value)


def test_scalar_code_and_grain() -> None:
    found = processor()
    pool = pool2d(K=10, P=10, Q=10, R=3, S=3)
    runtime = replace(found.runtime, scalar=frozenset({"pool"}), scalar_cycles=2.0, grain=100_000)
    assert compute_s(replace(found, runtime=runtime), pool) == pytest.approx(9000 * 2 / 1e9)
    assert compute_s(found, pool) == pytest.approx(9000 / 16e9)


def test_starts_hide_behind_the_work_of_their_operator_or_do_not() -> None:
    found = processor()
    work = [Step(str(i), conv2d(K=64, C=64, P=32, Q=32, R=3, S=3)) for i in range(4)]
    busy = run(found, work[:1])[0].latency_s
    late = replace(found, runtime=replace(found.runtime, dispatch_s=busy / 2))
    ahead = replace(late, runtime=replace(late.runtime, asynchronous=True))
    slow = replace(ahead, runtime=replace(ahead.runtime, dispatch_s=busy * 2))
    assert sum(cost.latency_s for cost in run(late, work)) == pytest.approx(6 * busy)
    assert sum(cost.latency_s for cost in run(ahead, work)) == pytest.approx(4 * busy)
    assert sum(cost.latency_s for cost in run(slow, work)) == pytest.approx(8 * busy)
    assert run(slow, work)[1].bottleneck == "start of operators"
    sums = replace(late, runtime=replace(late.runtime, fuses_elementwise=False, dispatches={"elementwise": 3}))
    assert dispatch_s(sums, Step("a", elementwise(10, operands=4, kind="add"))) == pytest.approx(9 * busy / 2)


# ------------------------------------------------------------------------------------------------------ the networks

_DEAD = "|none~0|+|nor_conv_3x3~0|nor_conv_1x1~1|+|none~0|skip_connect~1|nor_conv_1x1~2|"


def test_dead_operators_are_dropped_as_the_runtime_does() -> None:
    eager = replace(processor().runtime, drops_unreachable=False, folds_zero_inputs=False)
    network = nas_bench_201.network(_DEAD, cells_per_stage=1)
    everything = live(network, eager)
    assert everything == [layer.name for layer in network]
    drops = live(network, replace(eager, drops_unreachable=True))
    folds = live(network, replace(eager, drops_unreachable=True, folds_zero_inputs=True))
    assert set(folds) < set(drops) < set(everything)
    kinds = {name: network.layer(name).operator.kind for name in everything}
    assert not any(kinds[name] == "zero" for name in drops)
    # The 1x1 convolution of a node that is nothing but zeros is executed or folded.
    lost = [name for name in drops if name not in folds]
    assert any(kinds[name] == "conv2d" for name in lost)


def test_unreachable_operators_are_those_that_no_output_needs() -> None:
    cut = "|nor_conv_3x3~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|none~2|"
    whole = "|none~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|none~2|"
    runtime = replace(processor().runtime, folds_zero_inputs=False)

    def convolutions(cell: str) -> int:
        network = nas_bench_201.network(cell, cells_per_stage=1)
        return sum(network.layer(name).operator.kind == "conv2d" for name in live(network, runtime))

    # The 3x3 convolution leads to a node of which nothing is used.
    assert convolutions(cut) == convolutions(whole)


def test_what_computes_the_same_is_run_once() -> None:
    runtime = replace(processor().runtime, drops_unreachable=False, folds_zero_inputs=False)
    # Nodes 1 and 2 are both the pooled input, so that node 3 sums three poolings of two different tensors.
    same = "|avg_pool_3x3~0|+|avg_pool_3x3~0|none~1|+|avg_pool_3x3~0|avg_pool_3x3~1|avg_pool_3x3~2|"

    def kinds(cell: str, merges: bool) -> Counter[str]:
        network = nas_bench_201.network(cell, cells_per_stage=1)
        found = replace(runtime, merges_duplicates=merges, drops_unreachable=merges)
        return Counter(network.layer(name).operator.kind for name in live(network, found) if "layers" in name)

    assert kinds(same, False) == {"pool": 15, "zero": 3}
    # The sum of a pooling and zeros is a tensor of its own: node 2 is pooled by itself.
    assert kinds(same, True) == {"pool": 9}
    # Convolutions have weights of their own.
    apart = "|nor_conv_1x1~0|+|nor_conv_1x1~0|skip_connect~1|+|none~0|skip_connect~1|skip_connect~2|"
    assert kinds(apart, True)["conv2d"] == 6


def test_memory_holds_what_is_merged_until_its_last_reader_has_run() -> None:
    b = Builder("net")
    x = b.conv(b.input(3, 8, 8), "conv", K=8, kernel=3, padding=1)
    first, second = (b.pool(x, name, kernel=3, stride=1, padding=1) for name in ("one", "two"))
    b.add("sum", b.add("inner", first, x), second)
    runtime = replace(processor().runtime, merges_duplicates=True, fuses_elementwise=False)
    assert live(b.network, runtime) == ["conv", "one", "inner", "sum"]
    word = processor().type.bits / 8
    # conv, one and inner are needed at once; weights are in the same memory.
    least = (b.network.parameters + 3 * 8 * 8 * 8) * word
    fits = replace(processor(), runtime=runtime, flash_bytes=None, ram_bytes=least)
    assert memory_misfit(b.network, fits) is None
    assert memory_misfit(b.network, replace(fits, ram_bytes=least - 1)) is not None


def test_batch_normalisation_and_activations_run_by_themselves_or_inside() -> None:
    b = Builder("net")
    x = b.conv(b.input(3, 8, 8), "conv", K=8, kernel=3, padding=1, bn=True, activation="relu")
    b.add("sum", x, b.conv(x, "other", K=8, kernel=1, bn=True))
    alone = replace(processor().runtime, folds_batch_norm=False, fuses_elementwise=False)
    assert [(step.layer, step.operator.kind) for step in steps(b.network, alone, 32)] == [
        ("conv", "conv2d"),
        ("conv", "normalization"),
        ("conv.relu", "relu"),
        ("other", "conv2d"),
        ("other", "normalization"),
        ("sum", "add"),
    ]
    inside = steps(b.network, processor().runtime, 32)
    assert [(step.layer, step.extra_words) for step in inside] == [("conv", 0), ("other", 8 * 8 * 8)]


def test_a_network_without_room_names_the_tensor() -> None:
    b = Builder("net")
    x = b.conv(b.input(1, 16, 16), "conv", K=8, kernel=3, padding=1)
    b.linear(b.flatten(x), "fc", K=10)
    found = processor()
    assert memory_misfit(b.network, found) is None
    weights = (72 + 8 + 8 * 16 * 16 * 10 + 10) * 4
    little = memory_misfit(b.network, replace(found, ram_bytes=weights - 1))
    assert little is not None
    assert little.message.startswith("weights of fc:")
    # The image counts with the zeros around it.
    most = (18 * 18 + 8 * 16 * 16) * 4
    peak = memory_misfit(b.network, replace(found, ram_bytes=most - 1, flash_bytes=weights))
    assert peak is not None
    assert peak.message == f"outputs of conv: {most} bytes with what else is needed then, memory has {most - 1}"
    assert memory_misfit(b.network, replace(found, ram_bytes=most, flash_bytes=weights)) is None
    result = evaluation.evaluate(b.network, replace(found, ram_bytes=weights - 1))["tiny"]
    assert result.energy_pj is None
    assert result.problems == [f"fc: capacity: {little.message}"]


def test_an_activation_inside_its_producer_takes_no_memory_of_its_own() -> None:
    b = Builder("net")
    b.conv(b.input(1, 16, 16), "conv", K=8, kernel=3, padding=1, activation="relu")
    found = replace(processor(), flash_bytes=1e6, ram_bytes=(18 * 18 + 8 * 16 * 16) * 4)
    assert memory_misfit(b.network, found) is None
    alone = replace(found, runtime=replace(found.runtime, fuses_elementwise=False))
    misfit = memory_misfit(b.network, alone)
    assert misfit is not None
    assert misfit.facts["layer"] == "conv.relu"


def test_dropped_and_merged_layers_are_told_apart() -> None:
    network = nas_bench_201.network(_DEAD, cells_per_stage=1)
    found = replace(processor(), runtime=replace(processor().runtime, folds_zero_inputs=False))
    states = {layer.name: layer.record()["status"] for layer in processors.on_processor(network, found).layers}
    kinds = {layer.name: layer.operator.kind for layer in network}
    assert {states[name] for name, kind in kinds.items() if kind == "zero"} == {"dropped"}
    merged = [name for name, state in states.items() if state == "fused"]
    assert merged
    assert not any(network.layer(name).operator.macs for name in merged)
    assert set(states.values()) <= {"ok", "fused", "dropped"}


def test_kinds_of_hardware_share_a_table() -> None:
    result = evaluation.evaluate("ds_cnn", ["raspberry_pi_4", "eyeriss", "micro_bit"])
    assert [each.hardware for each in result.results] == ["raspberry_pi_4", "eyeriss", "micro_bit"]
    graph = load("ds_cnn")
    for each in result.results:
        assert each.energy_pj
        assert len(each.layers) == len(graph)
        assert each.edp_js == pytest.approx(each.energy_pj * 1e-12 * (each.latency_s or 0))
    assert result["raspberry_pi_4"].area_mm2 is None
    assert "roofline, fp32, litert" in str(result["raspberry_pi_4"].record()["mappings"])


def test_results_say_how_many_cores_work_and_in_which_type() -> None:
    tiny = processor()
    small = load("ds_cnn")

    def quality(found: Processor, network: Network = small) -> str | None:
        return processors.on_processor(network, found).quality

    assert quality(tiny) == "roofline, fp32, runtime"
    assert quality(replace(tiny, runtime=replace(tiny.runtime, threads=1))) == "roofline, fp32, runtime, 1 of 2 cores"
    assert quality(replace(tiny, runtime=replace(tiny.runtime, threads=8))) == "roofline, fp32, runtime"
    eight = Network("eight")
    eight.add("a", matmul(P=4, K=8, C=8).with_bits(weights=4, inputs=8, outputs=8))
    assert quality(tiny, eight) == "roofline, int8, runtime"
    only = processor(TINY.replace("  int8: {peak: 64 GOP/s, lanes: 16}\n", ""))
    assert quality(only, eight) == "roofline, fp32 although tensors have up to 8 bits, runtime"


def test_results_of_processors_are_written(tmp_path: Path) -> None:
    result = evaluation.evaluate("ds_cnn", ["raspberry_pi_4", "eyeriss"])
    assert mappings.of_network(result["raspberry_pi_4"]) is None
    assert mappings.of_network(result["eyeriss"]) is not None
    command = [sys.executable, "-m", "codesign", "evaluate", "ds_cnn", "--on", "raspberry_pi_4", "--layers"]
    files = ["--out", "out", "--json", "a.json", "--csv", "a.csv"]
    done = subprocess.run([*command, *files], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"layers.csv", "results.json", "summary.csv"}


def test_what_needs_mappings_refuses_processors(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"raspberry_pi_4: must be a spatial accelerator \(got a processor\)"):
        catalog.load_spatial("raspberry_pi_4")
    text = "name: a\nnetworks: ds_cnn\nhardware: {space: naas, budget: {like: raspberry_pi_4}}\n"
    with pytest.raises(DocumentError, match="must be an accelerator or a crossbar"):
        Experiment.parse(text, tmp_path / "experiment.yaml")


@pytest.mark.parametrize("name", PROCESSORS)
def test_every_processor_of_the_catalog_runs_networks(name: str) -> None:
    found = named(name)
    assert found.description
    assert found.source
    network: Network = load("ds_cnn")
    cost = processors.on_processor(network, found)
    if name == "arduino_uno":
        assert cost.problems
        return
    assert not cost.problems
    assert 0 < (cost.utilisation or 0) <= 1
    assert (cost.latency_s or 0) >= 2 * network.macs / found.type.peak_ops_per_s


@pytest.mark.parametrize("name", LECTURE)
def test_the_lectures_table(name: str) -> None:
    peak, memory, watts = LECTURE[name]
    found = named(name)
    assert found.type.peak_ops_per_s == peak
    assert memory in (None, found.ram_bytes)
    assert watts in (None, found.load_w)


# ------------------------------------------------------------------------------------------------------- bad datasheets


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("bandwidth: 4 GB/s", "bandwidth: 0 GB/s", "memory.bandwidth: must be > 0"),
        ("bandwidth: 16 GB/s", "bandwidth: 0", "caches[0].bandwidth: must be > 0"),
        ("bandwidth: 16 GB/s", "bandwidth: 2 GB/s", "caches[0].bandwidth: must be at least that of memory"),
        (
            "peak: 16 GOP/s",
            "peak: 7 GOP/s",
            "fp32.peak: must be at least what the cores give: 2 cores x 4 lanes",
        ),
        ("capacity: 32 kB", "capacity: 512 kB", "caches[1].capacity: must be smaller than L2"),
        ("load: 3 W", "load: 0.5 W", "power.load: must be at least the idle power, 1000 mW (got 500)"),
        ("cores: 2", "cores: 0", "cores: must be >= 1"),
        ("fp32:", "fp33:", "compute.fp33: must be int1 to int64 or one of"),
        ("name: L1", "name: L2", "caches[1].name: must differ from the others"),
        ("power:", "runtime: litrt\npower:", "runtime: unknown runtime 'litrt': did you mean litert?"),
        ("power:", "runtime: {dispatch: 1 s, grains: 1}\npower:", "runtime.grains: unknown key: did you mean grain?"),
        ("clock: 1 GHz", "clock: .nan", "clock: must be finite"),
    ],
)
def test_impossible_rooflines_are_refused(old: str, new: str, expected: str) -> None:
    assert old in TINY
    with pytest.raises(DocumentError) as caught:
        processor(TINY.replace(old, new, 1))
    assert expected in str(caught.value)


def test_runtimes_are_taken_by_name_and_changed() -> None:
    found = processor(TINY + "runtime: {like: pytorch_cpu, dispatch: 7 us, name: mine}\n")
    assert found.runtime.name == "mine"
    assert found.runtime.dispatch_s == pytest.approx(7e-6)
    assert found.runtime.grain == 32768
    assert not found.runtime.drops_unreachable
