"""Fixed mappings against the figures that timeloop-model printed for them.

    python -m benchmarks.validation.timeloop [FILE]

Every valid case with perfect factors must agree exactly in tiles, used instances, reads, fills, updates, multicast and
utilised MACs; in cycles exactly (within 1 where a bandwidth limits, because Timeloop rounds a quotient of floats); in
energy to 1e-9. Every infeasible case must be refused for the same reason. Cases with residual (imperfect) factors are
out of scope and counted.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from accelerators.costs import Infeasible, InfeasibleError
from accelerators.operators import Operator, Role, Tensor
from accelerators.spatial.architecture import Axis, Compute, Level, SpatialAccelerator
from accelerators.spatial.mapping import Block, Mapping
from accelerators.spatial.model import Analysis, TensorCounts, evaluate
from benchmarks._common import BadInputError, fields, read_json, report

DEFAULT = Path(__file__).parent / "data" / "timeloop" / "cases.json.gz"

#: What Timeloop's refusals mean in our codes, by a phrase of its message.
REASONS = {
    "product of all factors": "factors",
    "capacity": "capacity",
    "tile size": "capacity",
    "mapped max": "fanout",
    "fanout": "fanout",
    "exceeds hardware": "fanout",
}


def operator_of(problem: dict[str, Any]) -> Operator:
    """The operator of a case; tensors are named as in the file, roles go by position."""
    roles: list[Role] = ["weights", "inputs"]
    tensors = []
    for tensor in problem["tensors"]:
        role: Role = "outputs" if tensor["role"] == "output" else (roles.pop(0) if roles else "inputs")
        ranks = tuple(tuple((dim, int(c)) for dim, c in rank) for rank in tensor["projection"])
        tensors.append(Tensor(tensor["name"], role, ranks))
    tensors.sort(key=lambda t: t.role == "outputs")
    return Operator(problem.get("name", "problem"), tuple(problem["dims"].items()), tuple(tensors))


def accelerator_of(arch: dict[str, Any]) -> SpatialAccelerator:
    """The architecture of a case: networks, adders and leakage cost nothing there."""
    levels = []
    for level in arch["levels"]:
        word_bytes = level["word_bits"] / 8

        def bandwidth(name: str, level: dict[str, Any] = level, word_bytes: float = word_bytes) -> float | None:
            return None if level.get(name) is None else level[name] * word_bytes

        energy = level["energy_pj_per_access"]
        x, y = level["fanout"]
        levels.append(
            Level(
                level["name"],
                capacity_bytes=None if level["capacity_words"] is None else level["capacity_words"] * word_bytes,
                width_bits=level["word_bits"] * level["block_size"],
                read_energy_pj=energy["read"],
                fill_energy_pj=energy["fill"],
                update_energy_pj=energy["update"],
                read_bandwidth_bytes_per_cycle=bandwidth("read_bandwidth"),
                write_bandwidth_bytes_per_cycle=bandwidth("write_bandwidth"),
                shared_bandwidth_bytes_per_cycle=bandwidth("shared_bandwidth"),
                fanout=(Axis("x", x), Axis("y", y)),
            )
        )
    bits = arch["levels"][0]["word_bits"]
    compute = Compute(arch["mac"]["energy_pj"], bits, bits, bits, bits)
    return SpatialAccelerator(arch["name"], tuple(levels), compute, clock_hz=1e9)


def mapping_of(blocks: list[dict[str, Any]]) -> Mapping | None:
    """The mapping of a case, or None if a loop has a residual factor."""
    if any(len(loop) > 2 for b in blocks for key in ("temporal", "spatial_x", "spatial_y") for loop in b[key]):
        return None

    def loops(pairs: list[list[Any]]) -> tuple[tuple[str, int], ...]:
        return tuple((dim, int(factor)) for dim, factor in pairs)

    return Mapping(
        tuple(
            Block(
                b["level"],
                tuple(b["keep"]),
                loops(b["temporal"]),
                (("x", loops(b["spatial_x"])), ("y", loops(b["spatial_y"]))),
            )
            for b in blocks
        )
    )


def reason_code(text: str) -> str:
    """Our code for Timeloop's message ("unknown" if no phrase is recognised)."""
    return next((code for phrase, code in REASONS.items() if phrase in text or code == text), "unknown")


def differences(case: dict[str, Any]) -> list[str] | None:
    """Where our figures differ from a case's; None if the case is out of scope."""
    mapping = mapping_of(case["mapping"])
    if mapping is None:
        return None
    accelerator, operator = accelerator_of(case["arch"]), operator_of(case["problem"])
    try:
        cost = evaluate(accelerator, operator, [mapping])[0]
    except InfeasibleError as error:
        cost = error.reason
    expected = case["outputs"]
    if not expected["valid"]:
        wanted = reason_code(expected["reason"])
        if not isinstance(cost, Infeasible):
            return [f"valid here, Timeloop: {expected['reason']}"]
        return [] if cost.code == wanted else [f"reason: {cost} where Timeloop gives {wanted}: {expected['reason']}"]
    if isinstance(cost, Infeasible):
        return [f"refused: {cost}"]
    found = list(_compare_levels(cost.details, expected))
    limited = any(level["throttling"] < 1 for level in expected["levels"].values())
    if abs(cost.latency_cycles - expected["cycles"]) > (1 if limited else 0):
        found.append(f"cycles {cost.latency_cycles} (Timeloop {expected['cycles']})")
    if not math.isclose(cost.energy_pj, expected["energy_pj_total"], rel_tol=1e-9):
        found.append(f"energy {cost.energy_pj!r} (Timeloop {expected['energy_pj_total']!r})")
    return found


def _compare_levels(analysis: Analysis, expected: dict[str, Any]) -> Iterator[str]:
    kept = [block.keep for block in analysis.mapping.blocks]
    for position, level in enumerate(analysis.levels):
        theirs = expected["levels"][level.level]
        network = theirs.get("network_to_child", {}).get("tensors", {})
        for tensor in level.tensors:
            name = f"{level.level}.{tensor.tensor}"
            reference = theirs["tensors"].get(tensor.tensor)
            if reference is None:
                if tensor.kept:
                    yield f"{name}: kept here only"
                continue
            ours = {
                "tile_words": tensor.tile_words,
                "instances": level.instances,
                "reads_per_instance": tensor.reads,
                "fills_per_instance": tensor.fills,
                "updates_per_instance": tensor.updates,
            }
            for key, value in ours.items():
                if value != reference[key]:
                    yield f"{name}.{key}: {value} (Timeloop {reference[key]})"
            if tensor.updates and tensor.partition_words != reference.get("partition_words", tensor.partition_words):
                yield f"{name}.partition_words: {tensor.partition_words} (Timeloop {reference['partition_words']})"
            if tensor.tensor in network:
                # Timeloop lets its DRAM not accumulate: old partial sums travel down and count as ingresses there.
                extra = tensor.reads if position == 0 and tensor.updates else 0
                # Below a bypassing child Timeloop divides the hops of its own tile by the words of the grandchildren.
                child_keeps = position + 1 == len(kept) or tensor.tensor in kept[position + 1]
                yield from _compare_network(name, tensor, network[tensor.tensor], extra, child_keeps)


def _compare_network(
    name: str, tensor: TensorCounts, reference: dict[str, Any], extra: int, hops: bool
) -> Iterator[str]:
    theirs: Counter[int] = Counter()
    for factor, words in reference["words_by_multicast_factor"]:
        theirs[factor] += words
    theirs_plain = {int(m): w for m, w in theirs.items() if w}
    scale = Fraction(tensor.updates + extra, tensor.updates) if tensor.updates else 1
    ours = {m: w * scale for m, w in tensor.multicast.items() if w}
    if ours != theirs_plain:
        yield f"{name}.multicast: {ours} (Timeloop {theirs_plain})"
    if hops and abs(tensor.hops - reference["average_hops"]) > 0.006 * max(1, tensor.hops):
        yield f"{name}.hops: {tensor.hops} (Timeloop {reference['average_hops']})"


def main(arguments: list[str] | None = None) -> int:
    """Run the comparison; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.validation.timeloop", description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=DEFAULT, help="cases (JSON, may be gzipped)")
    options = parser.parse_args(arguments)
    cases = fields(options.file, read_json(options.file), {"cases": list})["cases"]
    rows: dict[str, Counter[str]] = {}
    failures = []
    for number, case in enumerate(cases):
        where = f"{options.file}: cases[{number}]"
        fields(
            where, case, {"id": str, "category": str, "arch": dict, "problem": dict, "mapping": list, "outputs": dict}
        )
        try:
            found = differences(case)
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise BadInputError(f"{where} ({case['id']}): {type(error).__name__}: {error}") from error
        verdict = "out of scope" if found is None else "differs" if found else "exact"
        rows.setdefault(case["category"], Counter())[verdict] += 1
        failures += [f"{case['id']} ({case['category']}): {text}" for text in found or []]
    total = sum(rows.values(), Counter())
    table = [(category, n["exact"], n["differs"], n["out of scope"]) for category, n in sorted(rows.items())]
    return report(
        ("category", "exact", "differs", "out of scope"),
        table,
        failures,
        f"timeloop: {total['exact']} exact, {total['differs']} differ, {total['out of scope']} out of scope "
        f"(imperfect factors)",
        passed=total["differs"] == 0 and total["exact"] > 0,
    )


if __name__ == "__main__":
    sys.exit(BadInputError.guard(main))
