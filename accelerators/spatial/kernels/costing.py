"""Cost = counts x unit costs: energy and cycles of a counted mapping, and of batches of mappings."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from accelerators.jit import kernel
from accelerators.spatial.kernels.arrays import VALID
from accelerators.spatial.kernels.counting import count


@kernel
def _accesses(words, words_per_access):
    return (words + words_per_access - 1) // words_per_access


@kernel
def _cycles_at(bits, bits_per_cycle):
    """Least whole number of cycles that moves the bits; exact where the quotient of floats is one too high."""
    if bits <= 0 or bits_per_cycle == np.inf:
        return 0
    cycles = np.int64(np.ceil(bits / bits_per_cycle))
    if (cycles - 1) * bits_per_cycle >= bits:
        cycles -= 1
    return cycles


@kernel
def latency(operator, hardware, counts):
    """Cycles of a counted mapping: compute, or the level whose bandwidth is short; plus the ramp of every tile.

    Leaves the cycles that each level alone would need in ``counts.level_cycles``.
    """
    levels, tensors = counts.reads.shape
    output = tensors - 1
    cycles = counts.base_cycles[0]
    ramp = 0.0
    for level in range(levels):
        read_bits = 0
        write_bits = 0
        for t in range(output):
            read_bits += counts.reads[level, t] * operator.bits[t]
            write_bits += counts.fills[level, t] * operator.bits[t]
        partial_bits = operator.bits[tensors]
        final = counts.final_updates[level]
        read_bits += counts.reads[level, output] * partial_bits
        write_bits += (counts.fills[level, output] + counts.updates[level, output] - final) * partial_bits
        write_bits += final * operator.bits[output]
        needed = max(
            _cycles_at(read_bits, hardware.read_bits_per_cycle[level]),
            _cycles_at(write_bits, hardware.write_bits_per_cycle[level]),
            _cycles_at(read_bits + write_bits, hardware.shared_bits_per_cycle[level]),
        )
        counts.level_cycles[level] = needed
        cycles = max(cycles, needed)
        ramp += hardware.ramp_cycles[level] * counts.tiles_run[level]
    return cycles + np.int64(np.ceil(ramp))


@kernel
def price(operator, hardware, counts, cycles, energy):
    """Energy of a counted mapping that takes ``cycles``, in pJ; its parts are left in ``energy``."""
    levels, tensors = counts.reads.shape
    output = tensors - 1
    total = 0.0
    reductions = 0
    for level in range(levels):
        used = counts.instances[level]
        for t in range(tensors):
            if t < output:
                pj = (
                    _accesses(counts.reads[level, t], hardware.words_per_access[level, t]) * hardware.read_pj[level, t]
                    + _accesses(counts.fills[level, t], hardware.words_per_access[level, t])
                    * hardware.fill_pj[level, t]
                )
                network_bits = operator.bits[t]
            else:
                whole = hardware.words_per_access[level, output]
                partial = hardware.words_per_access[level, tensors]
                final = counts.final_updates[level]
                unfinished = counts.updates[level, output] - final
                pj = (
                    _accesses(counts.reads[level, output], partial) * hardware.read_pj[level, tensors]
                    + _accesses(counts.fills[level, output], partial) * hardware.fill_pj[level, tensors]
                )
                if operator.bits[output] == operator.bits[tensors]:
                    pj += _accesses(final + unfinished, whole) * hardware.update_pj[level, output]
                else:
                    pj += _accesses(final, whole) * hardware.update_pj[level, output]
                    pj += _accesses(unfinished, partial) * hardware.update_pj[level, tensors]
                reductions += used * (counts.delivered[level, t] - counts.injected[level, t])
                network_bits = operator.bits[output] if counts.complete[level, 1] else operator.bits[tensors]
            energy.levels[level, t] = used * pj
            total += energy.levels[level, t]
            network = 0.0
            if hardware.has_network[level]:
                # sum over m of A[m] * (half + m - 1), as sum A[m] = injected and sum m * A[m] = delivered.
                hops = counts.injected[level, t] * (counts.half_extent[level] - 1.0) + counts.delivered[level, t]
                network = used * hops * network_bits * hardware.network_pj_per_bit[level]
            energy.networks[level, t] = network
            total += network
    macs = counts.base_cycles[0] * counts.instances[levels]
    energy.other[0] = macs * hardware.scalars[0]
    energy.other[1] = reductions * hardware.scalars[1]
    energy.other[2] = cycles * hardware.scalars[2]
    return total + energy.other[0] + energy.other[1] + energy.other[2]


@kernel
def evaluate_one(operator, hardware, mappings, i, counts, energy):
    """Status, energy in pJ and cycles of mapping ``i``; (status, inf, -1) if it is not valid."""
    status = count(operator, hardware, mappings, i, counts)
    if status != VALID:
        return status, np.inf, np.int64(-1)
    cycles = latency(operator, hardware, counts)
    return status, price(operator, hardware, counts, cycles, energy), cycles


@kernel
def evaluate_batch(operator, hardware, mappings, counts, energy, status, facts, energy_pj, cycles):
    """Evaluate all n mappings of a batch.

    ``counts`` and ``energy`` are scratch (and hold the last mapping's figures afterwards); results go to ``status``
    (n,), ``facts`` (n, 2), ``energy_pj`` (n,) and ``cycles`` (n,).
    """
    for i in range(mappings.temporal.shape[0]):
        status[i], energy_pj[i], cycles[i] = evaluate_one(operator, hardware, mappings, i, counts, energy)
        facts[i, 0] = counts.facts[0]
        facts[i, 1] = counts.facts[1]
