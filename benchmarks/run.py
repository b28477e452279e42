"""Run every benchmark on its default data: ``python -m benchmarks.run``."""

from __future__ import annotations

import subprocess
import sys

COMMANDS = (
    "benchmarks.validation.timeloop",
    "benchmarks.validation.gemmini",
    "benchmarks.validation.systolic",
    "benchmarks.validation.eyeriss",
    "benchmarks.validation.crossbar",
    "benchmarks.validation.lut",
    "benchmarks.validation.profile",
    "benchmarks.papers.proxylessnas",
    "benchmarks.nas.zeroshot",
    "benchmarks.validation.devices",
    "benchmarks.nas.ofa",
    "benchmarks.nas.nb201",
    "benchmarks.mappers.optima",
    "benchmarks.mappers.proofs",
    "benchmarks.mappers.quality",
    "benchmarks.mappers.network_optimum",
    "benchmarks.search.quality",
    "benchmarks.search.speed",
    "benchmarks.search.three_levels",
    "benchmarks.nas.inner_search",
    "benchmarks.nas.analognas",
    "benchmarks.nas.crossbar_accuracy",
    "benchmarks.speed.kernel",
    "benchmarks.speed.analog",
    "benchmarks.speed.startup",
)


def main() -> int:
    """Run them in turn; returns 1 if one is below its target."""
    codes = {}
    for command in COMMANDS:
        print(f"\n== python -m {command}", flush=True)
        codes[command] = subprocess.run([sys.executable, "-m", command], check=False).returncode
    below = [command for command, code in codes.items() if code]
    missed = f"; not {', '.join(below)}" if below else ""
    print(f"\nbenchmarks: {len(codes) - len(below)} of {len(codes)} at target{missed}")
    return 1 if below else 0


if __name__ == "__main__":
    sys.exit(main())
