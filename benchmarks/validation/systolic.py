"""Cycle counts of rigid systolic arrays against SCALE-Sim.

    python -m benchmarks.validation.systolic [FILE]

A product of an M x K and a K x N matrix runs on an R x C array in one of three dataflows. Nothing here is special to
systolic arrays: the layer is padded to the array, the mapping is the dataflow, and the array's ``ramp`` charges fill
and drain per tile of the PEs. What stays in the PEs:

    os  outputs: M on the rows, N on the columns, K in time;          ramp R + C - 2 per tile (skew in, skew out)
    ws  weights: K on the rows, N on the columns, M in time;          ramp 2R + C - 2 (loading takes R more)
    is  inputs:  K on the rows, M on the columns, N in time;          ramp 2R + C - 2
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from accelerators.costs import Infeasible, InfeasibleError
from accelerators.operators import ROLES, matmul
from accelerators.spatial.architecture import Axis, Compute, Level, SpatialAccelerator
from accelerators.spatial.mapping import Block, Mapping
from accelerators.spatial.model import evaluate
from benchmarks._common import BadInputError, fields, read_json, report

DEFAULT = Path(__file__).parent / "data" / "chips" / "systolic_cycles.json"

#: dataflow: (dimension on the rows, on the columns, in time inside the PE) in the operator's letters (M is P, N is K, K
#: is C).
_DATAFLOWS = {"os": ("P", "K", "C"), "ws": ("C", "K", "P"), "is": ("C", "P", "K")}


def array(rows: int, columns: int, dataflow: str) -> SpatialAccelerator:
    """A rows x columns array between an unlimited buffer and one register per operand and PE."""
    ramp = rows + columns - 2 if dataflow == "os" else 2 * rows + columns - 2
    axes = (Axis("rows", rows), Axis("columns", columns))
    levels = (Level("buffer", fanout=axes), Level("PE"))
    return SpatialAccelerator("systolic", levels, Compute(0.0), clock_hz=1e9, ramp_cycles={"PE": ramp})


def cycles(M: int, K: int, N: int, rows: int, columns: int, dataflow: str) -> int:
    """Cycles of our model for one product; raises InfeasibleError if it cannot run it."""
    on_rows, on_columns, in_time = _DATAFLOWS[dataflow]
    operator = matmul(P=M, C=K, K=N)
    folds = {on_rows: -(-operator.bound(on_rows) // rows), on_columns: -(-operator.bound(on_columns) // columns)}
    padded = {on_rows: folds[on_rows] * rows, on_columns: folds[on_columns] * columns}
    outer = Block(
        "buffer", ROLES, tuple(folds.items()), (("rows", ((on_rows, rows),)), ("columns", ((on_columns, columns),)))
    )
    inner = Block("PE", ROLES, ((in_time, operator.bound(in_time)),))
    cost = evaluate(array(rows, columns, dataflow), operator, [Mapping((outer, inner))], padded)[0]
    if isinstance(cost, Infeasible):
        raise InfeasibleError(cost)
    return cost.latency_cycles


def main(arguments: list[str] | None = None) -> int:
    """Run the comparison; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.validation.systolic", description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=DEFAULT, help="cases (JSON)")
    options = parser.parse_args(arguments)
    cases = fields(options.file, read_json(options.file), {"cases": list})["cases"]
    rows: dict[str, Counter[str]] = {}
    failures = []
    sizes = ("M", "K", "N", "array_rows", "array_cols")
    for number, case in enumerate(cases):
        where = f"{options.file}: cases[{number}]"
        wanted: dict[str, Any] = {**dict.fromkeys(sizes, int), "dataflow": str, "compute_cycles": int}
        fields(where, case, wanted)
        if case["dataflow"] not in _DATAFLOWS:
            raise BadInputError(f"{where}: dataflow must be one of {', '.join(_DATAFLOWS)} (got {case['dataflow']!r})")
        for key in sizes:
            if case[key] < 1:
                raise BadInputError(f"{where}: {key} must be >= 1 (got {case[key]})")
        M, K, N, array_rows, array_columns = (case[key] for key in sizes)
        try:
            ours: int | str = cycles(M, K, N, array_rows, array_columns, case["dataflow"])
        except InfeasibleError as error:
            ours = f"refused: {error.reason}"
        exact = ours == case["compute_cycles"]
        rows.setdefault(case["dataflow"], Counter())["exact" if exact else "differs"] += 1
        if not exact:
            shape = " ".join(f"{key}={case[key]}" for key in sizes)
            failures.append(
                f"{case.get('layer', number)} {case['dataflow']} {shape}: {ours} ({case['compute_cycles']})"
            )
    total = sum(rows.values(), Counter())
    table = [(dataflow, n["exact"], n["differs"]) for dataflow, n in sorted(rows.items())]
    figures = f"systolic: {total['exact']} of {total.total()} cycle counts exact"
    return report(("dataflow", "exact", "differs"), table, failures, figures, passed=not failures and total.total() > 0)


if __name__ == "__main__":
    sys.exit(BadInputError.guard(main))
