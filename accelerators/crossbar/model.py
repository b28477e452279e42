"""What the operators of a network cost on a crossbar: energy by parts, time, and how layers follow each other.

Three ways of running a network. *Pipelined*, where all weights fit: every layer has arrays of its own, starts as soon
as the rows that its first window needs are there, and image follows image at the interval of the slowest layer; spare
arrays hold copies of slow layers. *Layer by layer*, with weights in place. *Rewritten*, where weights do not fit:
layers take all arrays in turn, in order, and pay for reading their weights from memory and for writing cells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from accelerators.costs import Cost, Infeasible
from accelerators.crossbar import area, arrays
from accelerators.crossbar.analysis import Analysis, lead
from accelerators.crossbar.crossbar import Crossbar
from accelerators.crossbar.mapping import Placement, dynamic, place
from accelerators.crossbar.replication import Demand, interval_bound_s, replicate
from accelerators.crossbar.streaming import Streamed, stream
from accelerators.operators import Operator


@dataclass(frozen=True)
class Step:
    """An operator of a network. ``after`` are the steps (by their index) whose results it reads; ``fused_reads`` as in
    :func:`~accelerators.crossbar.streaming.stream`.
    """

    layer: str
    operator: Operator
    after: tuple[int, ...] = ()
    fused_reads: int | None = None


@dataclass(frozen=True)
class Run:
    """A network on a crossbar: a cost per step, or why there is none.

    Latencies add up to that of one run of the network. ``interval_s`` is the time between runs that follow each other,
    ``bound_s`` what no replication can beat (pipelines only). ``assumed`` says in words what the figures rest on.
    """

    costs: tuple[Cost | Infeasible, ...]
    interval_s: float | None
    bound_s: float | None
    assumed: tuple[str, ...]


@dataclass
class _Job:
    """A step with what is known about it so far."""

    step: Step
    placed: Placement | None = None
    streamed: Streamed | None = None
    refused: Infeasible | None = None
    copies: int = 1
    product_s: float = 0.0
    latency_s: float = 0.0
    bottleneck: str = "digital unit"
    energy: dict[str, float] = field(default_factory=dict)
    busy_s: float = 0.0
    extra_s: float = 0.0


def run(crossbar: Crossbar, steps: Sequence[Step]) -> Run:
    """The cost of every step of a network.

    A design that cannot be (see :attr:`Crossbar.problems`) refuses every step with the code ``design``.
    """
    if crossbar.problems:
        text = "; ".join(f"{name}: {rule}" for name, rule in crossbar.problems)
        refused = Infeasible("design", text, {"rules": [rule for _, rule in crossbar.problems]})
        return Run(tuple(refused for _ in steps), None, None, ())
    # Networks repeat their blocks.
    known: dict[tuple[Operator, int | None], _Job] = {}
    jobs = []
    for step in steps:
        key = step.operator, step.fused_reads
        if key not in known:
            known[key] = _job(crossbar, step)
        first = known[key]
        jobs.append(_Job(**{**vars(first), "step": step, "energy": dict(first.energy)}))
    held = [job for job in jobs if job.placed is not None]
    needed = sum(job.placed.arrays for job in held if job.placed is not None)
    fits = needed <= crossbar.arrays
    pipelined = crossbar.pipelined and fits
    if not fits:
        _rewrite(crossbar, held, needed)
    demands = [_demand(job) for job in held]
    if pipelined and crossbar.replicates:
        for job, copies in zip(held, replicate(demands, crossbar.arrays), strict=True):
            job.copies = copies
    for job in jobs:
        if job.placed is not None:
            job.busy_s = _demand(job).time_s(job.copies) * _passes(crossbar, job.placed)
    _keep_activations(crossbar, jobs, pipelined)
    latencies, period = _timed(jobs, pipelined)
    costs = tuple(
        _cost(crossbar, job, latency) if job.refused is None else job.refused
        for job, latency in zip(jobs, latencies, strict=True)
    )
    interval = None if any(isinstance(cost, Infeasible) for cost in costs) else period
    bound = interval_bound_s(demands, crossbar.arrays)
    used = sum(job.placed.arrays * job.copies for job in held if job.placed is not None)
    said = _assumed(crossbar, held, pipelined, used, fits, needed)
    if pipelined and interval is not None:
        said.append(f"interval {interval * 1e3:.4g} ms, no replication below {bound * 1e3:.4g} ms")
    return Run(costs, interval, bound if pipelined else None, tuple(said))


def _too_wide(crossbar: Crossbar, operator: Operator) -> Infeasible | None:
    """A tensor with more bits than cells, drivers and converters are made for; fewer bits leave cells and cycles idle,
    and cost what all bits do."""
    words = max(crossbar.input_bits, crossbar.output_bits)
    limits = {"weights": words, "inputs": words, "outputs": words}
    if not (operator.passes or dynamic(operator)):
        limits |= {"weights": crossbar.weight_bits, "inputs": crossbar.input_bits}
    for tensor in operator.tensors:
        if tensor.bits is not None and tensor.bits > limits[tensor.role]:
            text = f"{tensor.name} has {tensor.bits} bits, {crossbar.name} computes {limits[tensor.role]}"
            return Infeasible("precision", text, {"tensor": tensor.name, "bits": tensor.bits})
    return None


def _job(crossbar: Crossbar, step: Step) -> _Job:
    """What a step costs by itself: energy without leakage, time of a product or on the digital unit."""
    job = _Job(step)
    operator = step.operator
    job.refused = _too_wide(crossbar, operator)
    if job.refused is not None:
        return job
    if operator.passes or dynamic(operator):
        streamed = stream(crossbar, operator, step.fused_reads)
        if isinstance(streamed, Infeasible):
            job.refused = streamed
            return job
        job.streamed, job.busy_s = streamed, streamed.seconds
        job.energy["digital unit"] = streamed.energy_pj
        _move(crossbar, job, streamed.read_bits, streamed.written_bits)
        buffer = crossbar.buffer
        if buffer is not None:
            bytes_moved = (streamed.read_bits + streamed.written_bits) / 8
            moving_s = bytes_moved / (buffer.bandwidth_bytes_per_s * area.buffers(crossbar))
            if moving_s > job.busy_s:
                job.busy_s, job.bottleneck = moving_s, "buffer bandwidth"
        return job
    placed = place(crossbar, operator)
    if isinstance(placed, Infeasible):
        job.refused = placed
        return job
    job.placed = placed
    matrix = placed.matrix
    for usage, count in placed.tiles:
        one = arrays.product(crossbar, usage)
        for part, pj in one.energy_pj.items():
            job.energy[part] = job.energy.get(part, 0.0) + count * matrix.products * pj
        if one.interval_s >= job.product_s:
            job.product_s, job.bottleneck = one.interval_s, one.bottleneck
        job.latency_s = max(job.latency_s, one.latency_s)
    job.product_s *= placed.turns
    outputs = matrix.products * matrix.columns * matrix.groups
    read = matrix.products * matrix.rows * matrix.groups * placed.column_tiles * crossbar.input_bits
    written = outputs * crossbar.output_bits
    partial = (placed.row_tiles - 1) * outputs
    if partial:
        width = crossbar.result_bits + math.ceil(math.log2(placed.row_tiles))
        job.energy["partial sums"] = partial * arrays.addition_pj(crossbar, width)
    _move(crossbar, job, read, written, partial * crossbar.result_bits)
    buffer = crossbar.buffer
    if buffer is not None:
        # The share of its buffers' bandwidth that the arrays of a copy have.
        share = buffer.bandwidth_bytes_per_s * placed.arrays / buffer.arrays
        moving_s = (read + written) / 8 / matrix.products / share
        if moving_s > job.product_s:
            job.product_s, job.bottleneck = moving_s, "buffer bandwidth"
    return job


def _demand(job: _Job) -> Demand:
    assert job.placed is not None
    return Demand(job.placed.matrix.products, job.product_s, job.placed.arrays)


def _move(crossbar: Crossbar, job: _Job, read_bits: int, written_bits: int, partial_bits: int = 0) -> None:
    """Energy of buffers and wires: half the side of what shares a buffer from it, half the side of the chip beyond."""
    tile_mm = chip_mm = math.sqrt(area.area_mm2(crossbar)) / 2
    buffer = crossbar.buffer
    if buffer is not None:
        reads, writes = read_bits / buffer.width_bits, written_bits / buffer.width_bits
        job.energy["buffers"] = reads * buffer.read_pj + writes * buffer.write_pj
        tile_mm = chip_mm / math.sqrt(area.buffers(crossbar))
    near = read_bits + written_bits + partial_bits
    job.energy["wires"] = (near * tile_mm + written_bits * chip_mm) * crossbar.wire_pj_per_bit_mm


def _passes(crossbar: Crossbar, placed: Placement) -> int:
    """How many times a layer that is larger than the chip takes all of it."""
    return math.ceil(placed.arrays / crossbar.arrays)


def _copies(crossbar: Crossbar, placed: Placement) -> list[int]:
    """Numbers of copies to choose from for a layer that has the whole chip: powers of two, and all that fit."""
    most = min(crossbar.arrays // placed.arrays, placed.matrix.products) if crossbar.replicates else 1
    return sorted({1, max(1, most), *(2**k for k in range(1, max(1, most).bit_length() - 1))})


def _rewrite(crossbar: Crossbar, held: Sequence[_Job], needed: int) -> None:
    """Energy and time of reading the weights of every layer from memory and of writing its cells, for every run.

    With ``replicates`` a layer, which has the chip for itself, is written as often as makes it fastest.
    """
    memory = crossbar.memory
    used = 0
    for job in held:
        placed = job.placed
        assert placed is not None
        used += placed.arrays
        if memory is None:
            if used <= crossbar.arrays:
                continue
            text = (
                f"{used} arrays with those before it, of {needed} in all; {crossbar.name} has {crossbar.arrays}, and "
                "no memory from which weights could be loaded in turn"
            )
            job.refused = Infeasible("capacity", text, {"arrays": needed, "limit": crossbar.arrays})
            return
        bits = placed.weights * crossbar.weight_bits
        cells = placed.weights * crossbar.columns_per_weight * crossbar.rows_per_weight
        job.energy["memory"] = job.energy.get("memory", 0.0) + bits * memory.energy_pj_per_bit
        # Arrays are written row by row; every set of weights is a row more.
        rows = sum(usage.rows * crossbar.rows_per_weight * count for usage, count in placed.tiles)
        fetching_s = bits / 8 / memory.bandwidth_bytes_per_s
        best = math.inf
        for copies in _copies(crossbar, placed):
            at_once = min(crossbar.write_arrays, placed.arrays * copies)
            writing_s = max(fetching_s, rows * copies / at_once * crossbar.cell.write_s)
            seconds = writing_s + _demand(job).time_s(copies) * _passes(crossbar, placed)
            if seconds < best:
                best, job.copies, job.extra_s = seconds, copies, writing_s
        job.energy["writing"] = cells * job.copies * crossbar.cell.write_pj


def _keep_activations(crossbar: Crossbar, jobs: Sequence[_Job], pipelined: bool) -> None:
    """Whether buffers have room: for the rows of all windows in a pipeline, for whole tensors otherwise.

    Layer by layer, a tensor without room goes to memory and comes from there; without memory the layer cannot run.
    """
    buffer, memory = crossbar.buffer, crossbar.memory
    if buffer is None:
        return
    room = buffer.capacity_bytes * area.buffers(crossbar)
    lines = 0.0
    for job in jobs:
        operator = job.step.operator
        if job.refused is not None or job.step.fused_reads is not None:
            continue
        inputs = [t for t in operator.tensors[:-1] if t.role != "weights" or dynamic(operator)]
        read_bytes = sum(operator.touched_words(tensor) for tensor in inputs) * crossbar.input_bits / 8
        written_bytes = operator.words(operator.output) * crossbar.output_bits / 8
        if pipelined:
            lines += read_bytes * lead(operator)
            if lines > room:
                text = f"rows that windows wait for: {lines:.6g} bytes up to here, buffers have {room:.6g}"
                job.refused = Infeasible("capacity", text, {"bytes": lines, "limit": room})
                return
        elif read_bytes + written_bytes > room:
            if memory is None:
                text = f"inputs and outputs: {read_bytes + written_bytes:.6g} bytes, buffers have {room:.6g}"
                job.refused = Infeasible("capacity", text, {"bytes": read_bytes + written_bytes, "limit": room})
                continue
            moved = read_bytes + written_bytes
            job.energy["memory"] = job.energy.get("memory", 0.0) + moved * 8 * memory.energy_pj_per_bit
            seconds = moved / memory.bandwidth_bytes_per_s
            if seconds > job.busy_s:
                job.busy_s, job.bottleneck = seconds, "memory bandwidth"


def _tail(job: _Job) -> float:
    """How much later than the next product could start the result of the last one is there."""
    return max(0.0, job.latency_s - job.product_s)


def _timed(jobs: Sequence[_Job], pipelined: bool) -> tuple[list[float], float]:
    """What every step adds to the latency of the whole, and the interval between runs."""
    if not pipelined:
        latencies = [job.busy_s + job.extra_s + _tail(job) for job in jobs]
        return latencies, sum(latencies)
    starts: list[float] = []
    ends: list[float] = []
    latencies = []
    done = 0.0
    for job in jobs:
        share = lead(job.step.operator)
        start = max((starts[i] + share * (ends[i] - starts[i]) for i in job.step.after), default=0.0)
        # The last product follows the last result that it needs.
        end = max(start + job.busy_s + _tail(job), *(ends[i] + job.latency_s for i in job.step.after), 0.0)
        starts.append(start)
        ends.append(end)
        latencies.append(max(0.0, end - done))
        done = max(done, end)
    shared = sum(job.busy_s for job in jobs if job.streamed is not None)
    return latencies, max([shared, *(job.busy_s for job in jobs if job.placed is not None)])


def _cost(crossbar: Crossbar, job: _Job, latency_s: float) -> Cost:
    energy = {**job.energy, "leakage": area.leakage_mw(crossbar) * latency_s * 1e9}
    placed, operator = job.placed, job.step.operator
    macs = operator.macs
    details = None
    padded = macs
    if placed is not None:
        padded = placed.matrix.products * sum(usage.rows * usage.columns * count for usage, count in placed.tiles)
        bits = crossbar.lossless_bits(_rows_read(crossbar, placed))
        details = Analysis(operator, placed, job.copies, job.busy_s, bits, max(0, bits - crossbar.adc_bits))
    busy = max(job.busy_s + job.extra_s, 0.0)
    held_back = job.extra_s > job.busy_s
    return Cost(
        energy_pj=sum(energy.values()),
        latency_cycles=math.ceil(latency_s / area.cycle_s(crossbar)),
        latency_s=latency_s,
        macs=macs,
        padded_macs=padded,
        utilisation=macs / (area.peak_macs_per_s(crossbar) * busy) if busy and placed is not None else 0.0,
        bottleneck="writing weights" if held_back else job.bottleneck,
        energy_breakdown_pj=energy,
        details=details,
    )


def _rows_read(crossbar: Crossbar, placed: Placement) -> int:
    """Most rows that load a converter at once."""
    rows = min(placed.rows_used * crossbar.rows_per_weight, crossbar.rows_at_once)
    # Blocks on a diagonal share no column.
    rows = min(rows, placed.matrix.rows * crossbar.rows_per_weight)
    rows = rows if crossbar.bit_line_rows is None else min(rows, crossbar.bit_line_rows)
    # Of a pair on rows one cell of two is at its lowest level.
    return max(1, rows // crossbar.rows_per_weight)


def _assumed(
    crossbar: Crossbar, held: Sequence[_Job], pipelined: bool, used: int, fits: bool, needed: int
) -> list[str]:
    said = []
    if crossbar.is_digital:
        said.append("adder trees by the gate")
    else:
        assert crossbar.converter is not None
        said.append(f"ADC {crossbar.adc_bits} bit: {crossbar.converter.text}")
        lost = {}
        for job in held:
            if job.placed is not None:
                short = crossbar.lossless_bits(_rows_read(crossbar, job.placed)) - crossbar.adc_bits
                lost[job.step.layer] = max(0, short)
        worst = max(lost.values(), default=0)
        count = sum(bits > 0 for bits in lost.values())
        said.append(f"truncates up to {worst} bits in {count} of {len(lost)} layers" if worst else "ADC loses nothing")
    said.append(crossbar.values.text)
    if not fits:
        said.append(f"{needed} arrays needed, {crossbar.arrays} there: weights rewritten in every run, layer by layer")
    elif pipelined:
        copies = max((job.copies for job in held), default=1)
        said.append(f"pipelined, at most {copies} copies, {used} of {crossbar.arrays} arrays")
    else:
        said.append(f"layer by layer, weights in place, {used} of {crossbar.arrays} arrays")
    return said
