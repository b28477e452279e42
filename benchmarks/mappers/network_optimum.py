"""By how much the proven optimum of a network's EDP beats the layers' own EDP optima.

    python -m benchmarks.mappers.network_optimum [--pad]

The network's EDP is (sum of energies) x (sum of latencies), so a layer may do well to trade one against the other. A
gain of 0 means that the layers' own optima are the network's, and the bound proves that.
"""

from __future__ import annotations

import argparse
import sys
import time

from accelerators import catalog
from accelerators.costs import Infeasible
from benchmarks._common import BadInputError, report
from benchmarks._hardware import five_levels, three_levels, tpu_like
from codesign import networks
from mappers import map_network

_NETWORKS = ("resnet50", "mobilenet_v2", "bert_base", "resnet18")
_CATALOG = ("eyeriss", "nvdla_256", "tpu_v1", "simba_chiplet")
_NODE_LIMIT = 20_000_000


def main(arguments: list[str] | None = None) -> int:
    """Measure; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mappers.network_optimum",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--pad", action="store_true", help="let mappings pad bounds that the array does not divide")
    pad: bool = parser.parse_args(arguments).pad
    hardware = [three_levels(), five_levels(), tpu_like(), *map(catalog.load_spatial, _CATALOG)]
    rows: list[tuple[str, ...]] = []
    missed: list[str] = []
    for accelerator in hardware:
        for network in _NETWORKS:
            layers = [
                (operator, len(names))
                for operator, names in networks.load(network).unique().items()
                if not operator.passes
            ]
            start = time.process_time()
            best = map_network(accelerator, layers, node_limit=_NODE_LIMIT, pad=pad)
            spent = time.process_time() - start
            title = f"{network} on {accelerator.name}"
            if isinstance(best, Infeasible):
                missed.append(f"{title}: {best}")
                continue
            gain = 1 - best.edp / best.separate_edp
            proof = "yes" if best.proven else f"within {best.gap:.2%}"
            rows.append((title, f"{best.edp:.5e}", f"{gain:.4%}", proof, str(len(best.prices)), f"{spent:.2f}"))
            if best.edp > best.separate_edp:
                missed.append(f"{title}: above the layers' own optima")
    header = ("network", "EDP pJ x cycles", "gain", "proven", "prices", "CPU-s")
    return report(header, rows, missed, f"network optimum: {len(rows)} solved, {len(missed)} failures", not missed)


if __name__ == "__main__":
    sys.exit(BadInputError.guard(main))
