"""CPU seconds until the optimum of every distinct layer is proven, and the reference layer against Timeloop's best.

    python -m benchmarks.mappers.proofs [--objective edp|energy|latency]

Times are CPU seconds of one process with kernels compiled, per network (all distinct layers) and for its worst layer.
"Free bypass" lets every level but the outermost skip every tensor that it may keep.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable

from accelerators import catalog
from accelerators.operators import Operator, conv2d, matmul
from accelerators.spatial.architecture import SpatialAccelerator
from accelerators.spatial.problem import Problem
from benchmarks._common import BadInputError, report
from benchmarks._hardware import five_levels, three_levels, tpu_like
from benchmarks.mappers.quality import distinct_layers
from mappers import OBJECTIVES, Certificate, Mapspace, Objective, Optimal
from mappers.search import search

#: (accelerator, network, free bypass, most CPU seconds for the network, most for one layer); the targets are for EDP.
_CASES = (
    ("tpu_like", "resnet18", False, 0.5, None),
    ("16x16", "resnet50", False, 0.5, 0.1),
    ("16x16", "mobilenet_v2", False, 0.5, 0.1),
    ("16x16", "bert_base", False, None, 0.1),
    ("eyeriss", "resnet50", False, None, 0.5),
    ("eyeriss", "mobilenet_v2", False, None, 0.5),
    ("eyeriss", "bert_base", False, None, 0.5),
    ("nvdla_256", "resnet50", False, None, None),
    ("nvdla_256", "mobilenet_v2", False, None, None),
    ("nvdla_256", "bert_base", False, None, None),
    ("16x16", "resnet50", True, None, 5.0),
    ("16x16", "mobilenet_v2", True, None, 5.0),
    ("eyeriss", "resnet50", True, None, 5.0),
    ("eyeriss", "mobilenet_v2", True, None, 5.0),
)
#: Timeloop's best of four searches in 60 CPU-seconds each on the layer below, EDP in pJ x cycles.
_LAYER = conv2d(K=64, C=64, P=56, Q=56, R=3, S=3)
_TIMELOOP = (("16x16", three_levels(), 3.102e14), ("14x12 with bypass", five_levels(), 7.466e14))
_SECONDS = 1.0


def prove(accelerator: SpatialAccelerator, operator: Operator, objective: Objective, bypass: bool) -> Certificate:
    """Run the optimal mapper to its end."""
    mapper = Optimal(Mapspace(Problem(accelerator, operator), bypass=bypass), objective)
    search(mapper, 1)
    return mapper.certificate


def timed(
    accelerator: SpatialAccelerator, operators: Iterable[Operator], objective: Objective, bypass: bool
) -> tuple[list[Certificate], list[float]]:
    """Certificates and CPU seconds of several operators."""
    certificates, seconds = [], []
    for operator in operators:
        start = time.process_time()
        certificates.append(prove(accelerator, operator, objective, bypass))
        seconds.append(time.process_time() - start)
    return certificates, seconds


def main(arguments: list[str] | None = None) -> int:
    """Measure; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mappers.proofs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--objective", choices=OBJECTIVES, default="edp", help="what is minimised (edp)")
    objective: Objective = parser.parse_args(arguments).objective
    hardware = {
        "tpu_like": tpu_like(),
        "16x16": three_levels(),
        "eyeriss": catalog.load_spatial("eyeriss"),
        "nvdla_256": catalog.load_spatial("nvdla_256"),
    }
    for accelerator in hardware.values():
        prove(accelerator, matmul(P=4, K=8, C=8), objective, bypass=False)
    rows: list[tuple[str, ...]] = []
    missed: list[str] = []
    targets = 0
    for name, network, bypass, most, most_each in _CASES:
        layers = list(distinct_layers(network).values())
        certificates, seconds = timed(hardware[name], layers, objective, bypass)
        proven = sum(certificate.proven for certificate in certificates)
        title = f"{network} on {name}{', free bypass' if bypass else ''}"
        rows.append((title, f"{proven} of {len(layers)}", f"{sum(seconds):.3f}", f"{max(seconds):.3f}"))
        targets += 1
        if proven < len(layers):
            missed.append(f"{title}: {len(layers) - proven} layers not proven")
        if objective != "edp":
            continue
        for what, value, limit in (("all layers", sum(seconds), most), ("one layer", max(seconds), most_each)):
            targets += limit is not None
            if limit is not None and value > limit:
                missed.append(f"{title}: {value:.3f} CPU-s for {what} (target {limit:g})")
    if objective == "edp":
        for name, accelerator, theirs in _TIMELOOP:
            (certificate,), (spent,) = timed(accelerator, [_LAYER], objective, bypass=False)
            title = (
                f"{_LAYER} on {name}: {certificate.value:.4e}, Timeloop {theirs:.4e} ({certificate.value / theirs:.3f})"
            )
            rows.append((title, "1 of 1" if certificate.proven else "0 of 1", f"{spent:.3f}", f"{spent:.3f}"))
            targets += 2
            if not certificate.proven or certificate.value >= theirs:
                missed.append(f"{title}: not below")
            if spent >= _SECONDS:
                missed.append(f"{title}: {spent:.3f} CPU-s (target {_SECONDS:g})")
    header = (f"least {objective}", "proven", "CPU-s", "worst layer")
    return report(header, rows, missed, f"proofs: {targets} targets, {len(missed)} missed", passed=not missed)


if __name__ == "__main__":
    sys.exit(BadInputError.guard(main))
