"""Whole networks on a crossbar: replication, intervals, latencies, rewriting, conservation."""

from __future__ import annotations

import itertools
import math
import pickle
from dataclasses import replace

import pytest
from designs import BUFFER, MEMORY, UNIT, adders, analog
from hypothesis import given, settings
from hypothesis import strategies as st

from accelerators.costs import Cost, Infeasible
from accelerators.crossbar import area
from accelerators.crossbar.analysis import lead
from accelerators.crossbar.crossbar import Crossbar
from accelerators.crossbar.model import Run, Step, run
from accelerators.crossbar.replication import Demand, interval_bound_s, replicate
from accelerators.operators import batched_matmul, conv2d, elementwise, matmul, pool2d, softmax

CHAIN = [
    Step("a", conv2d(K=16, C=4, P=8, Q=8, R=2, S=2)),
    Step("b", conv2d(K=16, C=16, P=4, Q=4, R=1, S=1, stride=2), (0,)),
    Step("c", matmul(P=1, K=16, C=16), (1,)),
]


def costs(result: Run) -> list[Cost]:
    found = [cost for cost in result.costs if isinstance(cost, Cost)]
    assert len(found) == len(result.costs), result.costs
    return found


def latency_s(result: Run) -> float:
    return sum(cost.latency_s for cost in costs(result))


def refusal(result: Run, step: int = 0) -> Infeasible:
    found = result.costs[step]
    assert isinstance(found, Infeasible)
    return found


# -------------------------------------------------------------------------------------------------------- replication


def least_interval(layers: list[Demand], budget: int) -> float:
    """By trying all assignments."""
    best = math.inf
    ranges = [range(1, min(layer.products, budget // layer.arrays) + 1) for layer in layers]
    for copies in itertools.product(*ranges):
        if sum(n * layer.arrays for n, layer in zip(copies, layers, strict=True)) <= budget:
            best = min(best, max(layer.time_s(n) for n, layer in zip(copies, layers, strict=True)))
    return best


demands = st.builds(Demand, st.integers(1, 12), st.sampled_from([1.0, 1.5, 4.0]), st.integers(1, 3))


@settings(max_examples=150, deadline=None)
@given(st.lists(demands, min_size=1, max_size=3), st.integers(0, 10))
def test_replication_is_the_best_of_all_assignments(layers: list[Demand], spare: int) -> None:
    budget = sum(layer.arrays for layer in layers) + spare
    copies = replicate(layers, budget)
    found = max(layer.time_s(n) for layer, n in zip(layers, copies, strict=True))
    assert sum(n * layer.arrays for n, layer in zip(copies, layers, strict=True)) <= budget
    assert found == pytest.approx(least_interval(layers, budget))
    assert found >= interval_bound_s(layers, budget) * (1 - 1e-12)


def test_replication_meets_its_bound_where_it_divides() -> None:
    layers = [Demand(64, 1.0, 1), Demand(32, 1.0, 2), Demand(16, 1.0, 4)]
    assert replicate(layers, 3 * 16) == [16, 8, 4]
    assert interval_bound_s(layers, 3 * 16) == 4.0


def test_doubling_all_copies_halves_the_interval() -> None:
    layers = [Demand(64, 1.0, 1), Demand(32, 1.0, 2), Demand(16, 1.0, 4)]
    one = max(layer.time_s(n) for layer, n in zip(layers, replicate(layers, 48), strict=True))
    two = max(layer.time_s(n) for layer, n in zip(layers, replicate(layers, 96), strict=True))
    assert two == one / 2


def test_copies_without_gain_are_taken_back() -> None:
    # Eight products: five, six or seven copies still need two rounds.
    assert replicate([Demand(8, 1.0, 1)], 7) == [4]


def test_a_budget_below_one_copy_each_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"takes 5 arrays \(got 4\)"):
        replicate([Demand(1, 1.0, 2), Demand(1, 1.0, 3)], 4)


# ----------------------------------------------------------------------------------------------------------- pipelines


def test_a_layer_by_hand() -> None:
    chip = analog(accumulates=False)
    (cost,) = costs(run(chip, CHAIN[:1]))
    pixels = 64
    assert cost.macs == cost.padded_macs == 64 * 16 * 16
    assert cost.energy_breakdown_pj["ADC"] == pytest.approx(pixels * 16 * 2.0)
    assert cost.energy_breakdown_pj["cells"] == pytest.approx(pixels * 256 * 0.5 * 0.04 * 10.5 * 10e-9 * 1e6)
    assert cost.latency_s == pytest.approx(pixels * area.product_s(chip))
    # One of eight arrays works, all of it.
    assert cost.utilisation == pytest.approx(1 / 8)
    assert cost.energy_pj == pytest.approx(sum(cost.energy_breakdown_pj.values()))


def test_without_copies_the_interval_is_the_slowest_layer() -> None:
    chip = analog(pipelined=True)
    result = run(chip, CHAIN)
    assert result.interval_s == pytest.approx(64 * area.product_s(chip))
    assert latency_s(result) > result.interval_s
    by_layer = run(replace(chip, pipelined=False), CHAIN)
    assert by_layer.interval_s == pytest.approx(latency_s(by_layer))
    assert latency_s(result) < latency_s(by_layer)


def test_copies_shorten_interval_and_latency() -> None:
    chip = analog(pipelined=True)
    plain = run(chip, CHAIN)
    copied = run(replace(chip, replicates=True), CHAIN)
    assert plain.interval_s is not None and copied.interval_s is not None and copied.bound_s is not None
    assert copied.bound_s <= copied.interval_s * (1 + 1e-12)
    # 64, 16 and one product on eight arrays: five, two and one of them.
    assert copied.interval_s == pytest.approx(math.ceil(64 / 5) * area.product_s(chip))
    assert latency_s(copied) < latency_s(plain)
    for few, many in zip(costs(plain), costs(copied), strict=True):
        # What is computed is the same; leakage goes with time.
        assert few.energy_breakdown_pj["ADC"] == many.energy_breakdown_pj["ADC"]


def test_a_layer_starts_when_its_first_window_is_there() -> None:
    conv = conv2d(K=1, C=1, P=6, Q=6, R=3, S=3)
    assert lead(conv) == pytest.approx((2 * 8 + 3) / 64)
    assert lead(matmul(P=5, K=2, C=3)) == pytest.approx(1 / 5)
    assert lead(matmul(P=1, K=2, C=3)) == 1
    assert lead(pool2d(K=3, P=1, Q=1, R=4, S=4)) == 1
    assert lead(batched_matmul(G=1, P=2, K=2, C=2)) == 1
    assert lead(elementwise(100)) == 0
    assert lead(softmax(rows=4, length=10)) == pytest.approx(1 / 4)


def test_branches_run_at_the_same_time() -> None:
    chip = analog(pipelined=True)
    layer = conv2d(K=16, C=16, P=8, Q=8, R=1, S=1)
    alone = run(chip, [Step("a", layer)])
    both = run(chip, [Step("a", layer), Step("b", layer)])
    after = run(chip, [Step("a", layer), Step("b", layer, (0,))])
    assert latency_s(both) == pytest.approx(latency_s(alone))
    assert latency_s(alone) < latency_s(after) < 2 * latency_s(alone)


def test_batches_fill_the_pipeline() -> None:
    chip = analog(pipelined=True)
    one, eight = (run(chip, [Step("a", conv2d(K=16, C=16, P=4, Q=4, R=1, S=1, N=n))]) for n in (1, 8))
    assert one.interval_s is not None and eight.interval_s is not None
    assert eight.interval_s == pytest.approx(8 * one.interval_s)


# ----------------------------------------------------------------------------------------- weights that do not fit


LARGE = [Step("a", matmul(P=4, K=64, C=64)), Step("b", matmul(P=4, K=64, C=64), (0,))]


def test_without_a_memory_a_network_that_is_too_large_is_refused() -> None:
    result = run(analog(), LARGE)
    found = refusal(result)
    assert found.code == "capacity"
    assert "16 arrays with those before it, of 32 in all; small has 8" in found.message
    assert result.interval_s is None


def test_weights_are_rewritten_in_turn() -> None:
    chip = analog(memory=MEMORY, pipelined=True)
    result = run(chip, LARGE)
    first, second = costs(result)
    assert first.energy_breakdown_pj["writing"] == 64 * 64 * 10
    assert first.energy_breakdown_pj["memory"] == 64 * 64 * 1 * 8.0
    # Sixteen arrays of sixteen rows, one row at a time; two passes over the chip.
    writing = 16 * 16 * 1e-6
    assert first.latency_s > writing
    assert first.latency_s == pytest.approx(writing + 2 * 4 * area.product_s(chip), rel=1e-3)
    assert first.bottleneck == "writing weights"
    assert second.latency_s == first.latency_s
    at_once = run(replace(chip, write_arrays=8), LARGE)
    assert latency_s(at_once) < latency_s(result)
    assert "rewritten in every run" in " ".join(result.assumed)


def test_a_layer_alone_on_the_chip_is_copied_if_that_is_faster() -> None:
    many = [Step("a", conv2d(K=16, C=32, P=64, Q=64, R=1, S=1)), Step("b", matmul(P=1, K=16, C=16 * 8), (0,))]
    chip = analog(memory=MEMORY, pipelined=True, write_arrays=8)
    once, copied = (run(each, many) for each in (chip, replace(chip, replicates=True)))
    assert latency_s(copied) < latency_s(once)
    assert costs(copied)[0].energy_breakdown_pj["writing"] == 4 * costs(once)[0].energy_breakdown_pj["writing"]


# ----------------------------------------------------------------------------------------------- buffers, digital unit


def test_buffers_and_wires() -> None:
    chip = analog(buffer=BUFFER, wire_pj_per_bit_mm=0.1)
    (cost,) = costs(run(chip, CHAIN[:1]))
    read, written = 64 * 16 * 1 / 64, 64 * 16 * 8 / 64
    assert cost.energy_breakdown_pj["buffers"] == pytest.approx(read * 1.0 + written * 2.0)
    side = math.sqrt(area.area_mm2(chip))
    tile = side / 2 / math.sqrt(2)
    bits = 64 * 16, 64 * 16 * 8
    assert cost.energy_breakdown_pj["wires"] == pytest.approx((sum(bits) * tile + bits[1] * side / 2) * 0.1)


def test_a_slow_buffer_is_the_bottleneck() -> None:
    chip = analog(buffer=replace(BUFFER, bandwidth_bytes_per_s=1e6))
    (cost,) = costs(run(chip, CHAIN[:1]))
    # A quarter of a buffer that four arrays share: 16 inputs of one bit and 16 outputs of eight per product.
    assert cost.bottleneck == "buffer bandwidth"
    assert cost.latency_s == pytest.approx(64 * (16 + 128) / 8 / (1e6 / 4), rel=1e-6)


def test_activations_without_room_go_to_memory_or_are_refused() -> None:
    small = analog(buffer=replace(BUFFER, capacity_bytes=64))
    assert refusal(run(small, CHAIN)).code == "capacity"
    with_memory = costs(run(replace(small, memory=MEMORY), CHAIN))[0]
    moved = (9 * 9 * 4 * 1 + 64 * 16 * 8) / 8
    assert with_memory.energy_breakdown_pj["memory"] == pytest.approx(moved * 8 * 8.0)
    tiny = replace(small, pipelined=True, buffer=replace(BUFFER, capacity_bytes=3))
    result = run(tiny, CHAIN)
    assert isinstance(result.costs[0], Cost)
    assert "rows that windows wait for: 6.15306 bytes up to here, buffers have 6" in refusal(result, 1).message


def test_operators_without_weights_run_on_the_digital_unit() -> None:
    chip = analog(digital=UNIT, buffer=BUFFER)
    found = costs(run(chip, [Step("pool", pool2d(K=4, P=2, Q=2, R=2, S=2)), Step("relu", elementwise(16), (0,), 0)]))
    assert found[0].energy_breakdown_pj["digital unit"] == pytest.approx(0.1 * 4 * 9)
    assert found[1].energy_breakdown_pj["buffers"] == 0
    assert found[1].energy_breakdown_pj["digital unit"] == pytest.approx(1.6)
    assert found[1].latency_s == pytest.approx(4e-9)
    scores = batched_matmul(G=2, P=4, K=4, C=4)
    (attention,) = costs(run(chip, [Step("scores", scores)]))
    assert attention.energy_breakdown_pj["digital unit"] == pytest.approx(128 * 0.3)
    assert attention.macs == attention.padded_macs == 128


def test_what_has_no_place_is_refused_with_a_reason() -> None:
    pool = [Step("pool", pool2d(K=4, P=2, Q=2, R=2, S=2))]
    assert "needs a digital unit, and small has none" in refusal(run(analog(), pool)).message
    scores = [Step("scores", batched_matmul(G=2, P=4, K=4, C=4))]
    chip = analog(digital=replace(UNIT, multiplies=False))
    assert "multiplies two activations" in refusal(run(chip, scores)).message


# -------------------------------------------------------------------------------------------------------- invariants


operators = st.one_of(
    st.builds(
        conv2d,
        K=st.integers(1, 20),
        C=st.integers(1, 20),
        P=st.integers(1, 6),
        Q=st.integers(1, 6),
        R=st.integers(1, 3),
        S=st.integers(1, 3),
        G=st.integers(1, 4),
    ),
    st.builds(matmul, P=st.integers(1, 6), K=st.integers(1, 40), C=st.integers(1, 40)),
)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(operators, min_size=1, max_size=4),
    st.booleans(),
    st.sampled_from([analog(arrays=64), adders(arrays=64), analog(arrays=2, sets=2)]),
)
def test_macs_and_energy_are_conserved(layers: list, pipelined: bool, chip: Crossbar) -> None:
    chip = replace(chip, pipelined=pipelined, replicates=pipelined, memory=MEMORY, buffer=BUFFER, digital=UNIT)
    steps = [Step(str(i), each, (i - 1,) if i else ()) for i, each in enumerate(layers)]
    result = run(chip, steps)
    if any(isinstance(cost, Infeasible) for cost in result.costs):
        assert all(cost.code == "capacity" for cost in result.costs if isinstance(cost, Infeasible))
        return
    found = costs(result)
    peak = area.peak_macs_per_s(chip)
    for cost, operator in zip(found, layers, strict=True):
        assert cost.macs == operator.macs <= cost.padded_macs
        assert cost.energy_pj == pytest.approx(sum(cost.energy_breakdown_pj.values()))
        assert min(cost.energy_breakdown_pj.values()) >= 0
        assert 0 < cost.utilisation <= 1 + 1e-9
        assert math.isfinite(cost.latency_s) and cost.latency_s >= 0
    assert result.interval_s is not None
    total = sum(operator.macs for operator in layers)
    # No network is faster than all arrays full, at either measure of speed.
    assert total <= peak * result.interval_s * (1 + 1e-9)
    assert result.interval_s <= latency_s(result) * (1 + 1e-9)


def test_energy_grows_with_converter_bits() -> None:
    energies = [sum(c.energy_pj for c in costs(run(analog(adc_bits=bits), CHAIN))) for bits in range(2, 10)]
    assert energies == sorted(energies)
    assert len(set(energies)) == len(energies)


def test_what_a_converter_cuts_off_is_told() -> None:
    exact, short = run(analog(adc_bits=5), CHAIN), run(analog(adc_bits=3), CHAIN)
    assert "ADC loses nothing" in exact.assumed
    assert "truncates up to 2 bits in 3 of 3 layers" in short.assumed
    details = costs(short)[0].details
    assert (details.lossless_bits, details.truncated_bits) == (5, 2)


def test_designs_that_cannot_be_refuse_every_operator() -> None:
    result = run(analog(adc_bits=0), CHAIN)
    assert {refusal(result, i).code for i in range(3)} == {"design"}
    assert "adc_bits: must be >= 1 (got 0)" in refusal(result).message


def test_designs_can_be_sent_to_other_processes() -> None:
    chip = analog(pipelined=True)
    run(chip, CHAIN)
    again = pickle.loads(pickle.dumps(chip))
    assert again == chip
    assert hash(again) == hash(chip)
    assert replace(chip, rows=8) != chip


# ------------------------------------------------------------------------------------------------------- brute force


def simulated_s(layers: list[tuple[int, int, int]], times: list[tuple[float, float]]) -> float:
    """When a chain of convolutions without padding is done: every product by itself, when its window is there.

    ``layers`` are (rows and columns of outputs, kernel, stride), ``times`` the interval and latency of a product.
    """
    ready: list[list[float]] | None = None
    done = 0.0
    for (size, kernel, stride), (interval, latency) in zip(layers, times, strict=True):
        free = 0.0
        out = [[0.0] * size for _ in range(size)]
        for p, q in itertools.product(range(size), repeat=2):
            # Rows come one after another: the last pixel of the window comes last.
            last = 0.0 if ready is None else ready[stride * p + kernel - 1][stride * q + kernel - 1]
            start = max(free, last)
            free = start + interval
            out[p][q] = start + latency
        ready = out
        done = out[-1][-1]
    return done


@pytest.mark.parametrize("channels", [(16, 16, 16), (16, 4, 16), (4, 16, 2), (2, 4, 16)])
@pytest.mark.parametrize("shapes", [((12, 3, 1), (10, 3, 1), (8, 3, 1)), ((13, 1, 1), (6, 3, 2), (6, 1, 1))])
def test_latencies_are_those_of_a_walk_through_all_products(
    channels: tuple[int, ...], shapes: tuple[tuple[int, int, int], ...]
) -> None:
    chip = analog(pipelined=True, arrays=64, columns_per_adc=16, rows=64)
    steps, times = [], []
    for i, ((size, kernel, stride), K) in enumerate(zip(shapes, channels, strict=True)):
        C = 4 if i == 0 else channels[i - 1]
        layer = conv2d(K=K, C=C, P=size, Q=size, R=kernel, S=kernel, stride=stride)
        steps.append(Step(str(i), layer, (i - 1,) if i else ()))
        alone = run(chip, [Step("alone", layer)])
        interval = costs(alone)[0].details.busy_s / size**2
        times.append((interval, interval + latency_s(alone) - interval * size**2))
    walked = simulated_s(list(shapes), times)
    result = run(chip, steps)
    assert latency_s(result) == pytest.approx(walked, rel=0.06)
    assert result.interval_s == pytest.approx(
        max(size**2 * interval for (size, _, _), (interval, _) in zip(shapes, times, strict=True))
    )
