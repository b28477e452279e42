"""The optimal mapper against proven optima.

    python -m benchmarks.mappers.optima [FILE]

Every case of the file (see ``data/README.md`` for its schema) is searched to its proof; its optimum must be the file's
to one part in 10^9. Times are CPU seconds of this process per case, all but the compilation of the kernels included.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from accelerators.costs import InfeasibleError
from accelerators.operators import matmul
from accelerators.spatial.architecture import SpatialAccelerator
from accelerators.spatial.problem import Problem
from benchmarks._common import LARGEST, BadInputError, fields, read_json, report
from benchmarks._hardware import five_levels, three_levels
from benchmarks.mappers._layers import operator_of
from mappers import OBJECTIVES, Mapspace, Optimal, SpaceTooLargeError
from mappers.search import search

DEFAULT = Path(__file__).parent / "data" / "optima.json"
_TOLERANCE = 1e-9


def hardware_of(where: str, hardware: dict[str, Any]) -> SpatialAccelerator:
    """The accelerator of a case; raises BadInputError with the place."""
    fields(where, hardware, {"kind": str, "fan": list})
    kind = hardware["kind"]
    sizes = {"A": ("glb", "rf"), "B": ("glb", "isp", "wsp", "psp")}.get(kind)
    if sizes is None:
        raise BadInputError(f"{where}: kind must be A or B (got {kind!r})")
    fields(where, hardware, dict.fromkeys(sizes, int))
    for key in sizes:
        if hardware[key] < 1:
            raise BadInputError(f"{where}: {key} must be >= 1 (got {hardware[key]})")
    fan = hardware["fan"]
    if len(fan) != 2 or not all(type(n) is int and 1 <= n <= LARGEST for n in fan):
        raise BadInputError(f"{where}: fan must be two integers >= 1, at most {LARGEST:,} (got {str(fan)[:40]})")
    energies = []
    for key in ("eD", "eG", "eS", "eM"):
        value = hardware.get(key)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= LARGEST:
            raise BadInputError(f"{where}: {key} must be a number >= 0, at most {LARGEST:,} (got {str(value)[:20]})")
        energies.append(float(value))
    array, pj = (fan[0], fan[1]), (energies[0], energies[1], energies[2], energies[3])
    if kind == "A":
        return three_levels("A", array=array, buffer_words=hardware["glb"], register_words=hardware["rf"], energies=pj)
    spads = hardware["isp"], hardware["wsp"], hardware["psp"]
    return five_levels("B", array=array, buffer_words=hardware["glb"], spad_words=spads, energies=pj)


def main(arguments: list[str] | None = None) -> int:
    """Search every case; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mappers.optima", description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, default=DEFAULT, help="cases (JSON)")
    options = parser.parse_args(arguments)
    cases = fields(options.file, read_json(options.file), {"cases": list})["cases"]
    if not cases:
        raise BadInputError(f"{options.file}: no cases")
    problems = []
    for i, case in enumerate(cases):
        where = f"{options.file}: cases[{i}]"
        fields(where, case, {"hardware": dict, "objective": str})
        if case["objective"] not in OBJECTIVES:
            raise BadInputError(
                f"{where}: objective must be one of {', '.join(OBJECTIVES)} (got {case['objective']!r})"
            )
        optimum = case.get("optimum")
        if not isinstance(optimum, int | float) or isinstance(optimum, bool) or not 0 < optimum <= sys.float_info.max:
            raise BadInputError(f"{where}: optimum must be a number > 0 (got {str(optimum)[:20]})")
        problems.append((case, hardware_of(f"{where}: hardware", case["hardware"]), operator_of(where, case)))
    for accelerator in (three_levels(), five_levels()):  # compile
        search(Optimal(Mapspace(Problem(accelerator, matmul(P=2, K=4, C=4)))), 1)
    rows, failures, times = [], [], []
    for case, accelerator, operator in problems:
        name = f"{operator.kind}, {accelerator.name} {case['objective']}"
        start = time.process_time()
        try:
            mapper = Optimal(Mapspace(Problem(accelerator, operator)), case["objective"])
            search(mapper, 1)
        except (InfeasibleError, SpaceTooLargeError) as error:
            failures.append(f"{name}: {error}")
            continue
        seconds = time.process_time() - start
        certificate = mapper.certificate
        difference = certificate.value / case["optimum"] - 1
        times.append(seconds)
        rows.append(
            (
                operator.kind,
                accelerator.name,
                case["objective"],
                f"{certificate.value:.12g}",
                f"{difference:+.1e}",
                "yes" if certificate.proven else f"gap {certificate.gap:.1%}",
                f"{certificate.tiles:,}",
                f"{seconds:.3f}",
            )
        )
        if not certificate.proven:
            failures.append(f"{name}: not proven, within {certificate.gap:.2%}; file {case['optimum']!r}")
        elif not abs(difference) <= _TOLERANCE:
            failures.append(f"{name}: proven {certificate.value!r}, file {case['optimum']!r}")
    good = len(problems) - len(failures)
    figures = (
        f"optima: {good} of {len(problems)} proven equal to {_TOLERANCE:g}; "
        f"{sum(times):.2f} CPU-s in all, slowest {max(times, default=0):.3f}"
    )
    header = ("layer", "hardware", "objective", "optimum", "difference", "proven", "tiles", "CPU s")
    return report(header, rows, failures, figures, passed=good == len(problems) > 0)


if __name__ == "__main__":
    sys.exit(BadInputError.guard(main))
