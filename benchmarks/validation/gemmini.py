"""Mappings of Gemmini against Timeloop's scores and against cycles of the RTL.

    python -m benchmarks.validation.gemmini [--scored FILE] [--rtl FILE]

Scored mappings (Timeloop + Accelergy, many sizes of the array and its memories): cycles must agree within 1 in 99 % of
the rows and energy within 1 % in 98.5 % with the exact model; with the sliding rule of the Timeloop release that scored
them in 99.8 % and 99.5 %. In these files the accumulator's fills are not elided for the first update; that, and the
older rule, live here only. A row that differs is listed with the sliding rule that reproduces its figures, if one does:
the older one, or the mean of the words under both, which fits a few rows exactly for a cause that is not known.

RTL cycles: Spearman of the analytical cycles at least 0.97; and with the fill/drain/DMA ramp of
:mod:`benchmarks.validation._gemmini_ramp`, fitted on half of the problems and scored on the other half, a mean of the
median errors of at most 10 % over 20 seeded splits. The model must be able to run every mapping of the RTL file.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from scipy.stats import spearmanr

from accelerators.costs import InfeasibleError
from benchmarks._common import BadInputError, report
from benchmarks.validation import _gemmini_ramp as ramp
from benchmarks.validation._gemmini_rows import MAC_PJ, WORD_BITS, Row, read_rows

_DATA = Path(__file__).parent / "data" / "gemmini"
SCORED = _DATA / "timeloop_scored_mappings.csv.gz"
RTL = _DATA / "gemmini_rtl_cycles.csv"


class Figures(NamedTuple):
    """What a mapping costs."""

    cycles: int | float
    energy_pj: float

    def agree(self, other: Figures) -> tuple[bool, bool]:
        """Whether cycles agree within 1, energies within 1 %.

        Timeloop rounds a quotient of floats up, which is one cycle too high in some rows.
        """
        return abs(self.cycles - other.cycles) <= 1, abs(self.energy_pj - other.energy_pj) <= 0.01 * other.energy_pj


def figures(row: Row, arriving_inputs: int | None = None) -> Figures:
    """Cycles and energy with the conventions of the files.

    ``arriving_inputs`` are the words of inputs that the scratchpad gets from DRAM, if not those of the model. Raises
    InfeasibleError if the model cannot run the mapping.
    """
    cycles, energy = row.analysis.compute_cycles, row.operator.macs * MAC_PJ
    for level, hardware in zip(row.analysis.levels, row.accelerator.levels, strict=True):
        words_per_access = hardware.width_bits // WORD_BITS
        read = written = 0
        for tensor in level.tensors:
            reads, fills = tensor.reads, tensor.fills
            if level.level == "L1" and tensor.tensor == "outputs":
                fills += tensor.partition_words
            if tensor.tensor == "inputs" and arriving_inputs is not None:
                reads = arriving_inputs if level.level == "L3" else reads
                fills = arriving_inputs if level.level == "L2" else fills
            accesses = sum(-(-count // words_per_access) for count in (reads, fills, tensor.updates))
            energy += level.instances * accesses * hardware.read_energy_pj
            read += reads
            written += fills + tensor.updates
        for words, bandwidth in (
            (read, hardware.read_bandwidth_bytes_per_cycle),
            (written, hardware.write_bandwidth_bytes_per_cycle),
            (read + written, hardware.shared_bandwidth_bytes_per_cycle),
        ):
            if bandwidth is not None:
                cycles = max(cycles, math.ceil(words / bandwidth))
    return Figures(cycles, energy)


def exact_sliding(row: Row) -> int:
    """Input words that arrive at the scratchpad in the model: a walk over all loops."""
    return row.analysis.levels[1].tensor("inputs").fills


def older_sliding(row: Row) -> int:
    """Input words that arrive at the scratchpad under the older rule.

    No sliding if the innermost active DRAM loop is K, else only along the innermost relevant loop: no zero moves, no
    seams between loops.
    """
    operator, loops = row.operator, row.mapping.block("L3").temporal
    inputs = operator.tensor("inputs")
    tile = row.analysis.levels[1].tensor("inputs").tile_words
    relevant = [position for position, (dim, _) in enumerate(loops) if dim in inputs.dims]
    if not relevant:
        return tile
    dim, bound = loops[relevant[-1]]
    runs = math.prod(factor for _, factor in loops[: relevant[-1] + 1])
    if loops[-1][0] == "K":
        return tile * runs
    inside = dict(operator.bounds)
    for d, factor in loops:
        inside[d] //= factor
    extents = inputs.extents(inside)
    rank = next(i for i, r in enumerate(inputs.ranks) if dim in dict(r))
    step = dict(inputs.ranks[rank])[dim] * inside[dim]
    overlap = tile // extents[rank] * max(0, extents[rank] - step)
    return tile * runs - overlap * (runs // bound * (bound - 1))


class Check(NamedTuple):
    """One line of the table."""

    name: str
    target: str
    reached: str
    passed: bool


class Outcome(NamedTuple):
    """What came out of one file: lines of the table, rows that differ with the reason, and the figures in short."""

    checks: list[Check]
    differing: list[str]
    summary: str


def _share(name: str, good: Sequence[bool], target: float) -> Check:
    share = sum(good) / len(good)
    return Check(name, f">= {target:.1%}", f"{share:.3%}", share >= target)


def check_scored(path: Path) -> Outcome:
    """The exact and the older rule against the scores of Timeloop."""
    rows = read_rows(path, ("target.cycle", "target.energy"), energy=True)
    exact, older, differing = [], [], []
    for row in rows:
        theirs = Figures(row.targets["target.cycle"], row.targets["target.energy"] * 1e6)
        try:
            ours = figures(row)
        except InfeasibleError as error:
            exact.append((False, False))
            older.append((False, False))
            differing.append(f"scored, line {row.line}: refused: {error.reason}; {row.text}")
            continue
        exact.append(ours.agree(theirs))
        older.append(figures(row, older_sliding(row)).agree(theirs))
        if not all(exact[-1]):
            differing.append(
                f"scored, line {row.line}: cycles {ours.cycles} ({theirs.cycles:.0f}), "
                f"uJ {ours.energy_pj / 1e6:.5g} ({theirs.energy_pj / 1e6:.5g}): {_reason(row, theirs)}; {row.text}"
            )
    checks = [
        _share(f"scored: {what} ({rule})", [agree[position] for agree in agreeing], target)
        for rule, agreeing, targets in (("exact", exact, (0.99, 0.985)), ("older sliding rule", older, (0.998, 0.995)))
        for position, (what, target) in enumerate(zip(("cycles within 1", "energy within 1 %"), targets, strict=True))
    ]
    summary = (
        f"cycles {checks[0].reached}, energy {checks[1].reached} of {len(rows)} rows exact, "
        f"{checks[2].reached}, {checks[3].reached} with the older rule"
    )
    return Outcome(checks, differing, summary)


def _reason(row: Row, theirs: Figures) -> str:
    """Why a row differs under the exact model, as far as other rules reproduce its figures."""
    exact, older = exact_sliding(row), older_sliding(row)
    if all(figures(row, older).agree(theirs)):
        return "sliding inputs: explained by the older rule"
    if all(figures(row, (exact + older) // 2).agree(theirs)):
        return "sliding inputs: halfway between the two rules"
    ours = figures(row)
    wrong = [
        f"{name} {mine / their - 1:+.2%}"
        for name, agrees, mine, their in zip(("cycles", "energy"), ours.agree(theirs), ours, theirs, strict=True)
        if not agrees
    ]
    why = "both sliding rules give the same" if exact == older else "no sliding rule explains it"
    return f"{' and '.join(wrong)}, {why}"


def check_rtl(path: Path) -> Outcome:
    """The analytical cycles and the ramp model against cycles of the RTL."""
    rows = read_rows(path, (ramp.MEASURED,))
    if len({row.problem for row in rows}) < 2:
        raise BadInputError(f"{path}: prob.*: must have at least 2 problems (got 1)")
    runnable, cycles, differing = [], [], []
    for row in rows:
        try:
            cycles.append(figures(row).cycles)
            runnable.append(row)
        except InfeasibleError as error:
            differing.append(f"RTL, line {row.line}: refused: {error.reason}; {row.text}")
    enough = len({row.problem for row in runnable}) > 1
    correlation = float(spearmanr(cycles, ramp.measured(runnable)).statistic) if enough else math.nan
    score = ramp.score(runnable) if enough else ramp.Score((math.nan,))
    spread = f"{100 * score.best:.1f}-{100 * score.worst:.1f}"
    checks = [
        Check("RTL: mappings that the model can run", "all", f"{len(runnable)} of {len(rows)}", not differing),
        Check("RTL: Spearman of the analytical cycles", ">= 0.97", f"{correlation:.4f}", correlation >= 0.97),
        Check("RTL: ramp, mean of median errors", "<= 10 %", f"{score.mean:.2%} ({spread})", score.mean <= 0.10),
    ]
    return Outcome(checks, differing, f"RTL Spearman {checks[1].reached}, ramp {checks[2].reached}")


def main(arguments: list[str] | None = None) -> int:
    """Run the comparison; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.validation.gemmini", description=__doc__)
    parser.add_argument(
        "--scored", type=Path, default=SCORED, metavar="FILE", help="scored mappings (CSV, maybe gzipped)"
    )
    parser.add_argument("--rtl", type=Path, default=RTL, metavar="FILE", help="cycles of the RTL (CSV, maybe gzipped)")
    options = parser.parse_args(arguments)
    outcomes = [check_scored(options.scored), check_rtl(options.rtl)]
    checks = [check for outcome in outcomes for check in outcome.checks]
    return report(
        ("check", "target", "reached"),
        [check[:3] for check in checks],
        [line for outcome in outcomes for line in outcome.differing],
        f"gemmini: {'; '.join(outcome.summary for outcome in outcomes)}",
        passed=all(check.passed for check in checks),
    )


if __name__ == "__main__":
    sys.exit(BadInputError.guard(main))
