"""A latency table of this machine against networks that were really timed on it.

    python -m benchmarks.validation.profile [--space SPACE] [--networks N] [--repeats N] [--threads N] [--plot FILE]

Operators of random networks of a space are timed with PyTorch; then other random networks are timed whole and compared
with the sums of the table. Networks with operators that the table lacks are interpolated and counted. Latencies are
those of a machine that does nothing else: other work on it shows in both.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from rich.progress import Progress
from scipy.stats import spearmanr

from benchmarks._common import BadInputError, report
from codesign.devices import operator_key
from codesign.nas import spaces
from codesign.networks import NetworkError
from codesign.profiling import Settings, cover, network_s, profile

_LEAST_RANK, _MOST_ERROR = 0.95, 0.15


def main(arguments: list[str] | None = None) -> int:
    """Profile and compare; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.validation.profile",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--space", default="nas_bench_201")
    parser.add_argument("--networks", type=int, default=30, help="networks that are timed whole (30)")
    parser.add_argument("--timed", type=int, default=60, help="networks whose operators are timed at most (60)")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="predicted against measured, a .png or .svg file")
    options = parser.parse_args(arguments)
    if options.networks < 5 or options.timed < 1:
        raise BadInputError("--networks must be >= 5 and --timed >= 1")
    try:
        space = spaces.load(options.space)
        settings = Settings(repeats=options.repeats, threads=options.threads)
    except (NetworkError, ValueError) as problem:
        raise BadInputError(str(problem)) from None
    timed = cover(space, seed=options.seed, most=options.timed)
    with Progress(transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("operators", total=None)
        table = profile(timed, settings, progress=lambda done, all_: progress.update(task, completed=done, total=all_))
        # Another seed, so that these are other networks.
        codes = space.sample(np.random.default_rng([options.seed, 1]), options.networks)
        lines, predicted, stds, measured, guessed = [], [], [], [], 0
        for code in progress.track(codes, description="networks"):
            network = space.network(code)
            found = table.latency([operator_key(layer) for layer in network], interpolate=True)
            took_s, _ = network_s(network, settings)
            guessed += bool(found.interpolated)
            predicted.append(found.latency_ms)
            stds.append(found.std_ms or 0.0)
            measured.append(took_s * 1e3)
            off = found.latency_ms / (took_s * 1e3) - 1
            note = f"{len(found.interpolated)} interpolated" if found.interpolated else ""
            lines.append((space.digest(code), f"{found.latency_ms:.3f}", f"{took_s * 1e3:.3f}", f"{off:+.1%}", note))
    ours, theirs = np.array(predicted), np.array(measured)
    rank = float(spearmanr(ours, theirs)[0])
    error = float(np.median(np.abs(ours / theirs - 1)))
    failures = [] if rank >= _LEAST_RANK else [f"Spearman {rank:.3f}, must be at least {_LEAST_RANK}"]
    if error > _MOST_ERROR:
        failures.append(f"median error {error:.1%}, must be at most {_MOST_ERROR:.0%}")
    if options.plot is not None:
        from codesign.reports.charts import predicted_against_measured

        predicted_against_measured([(space.name, "ms", ours, np.array(stds), theirs)], options.plot)
    header = ("network", "table, ms", "timed, ms", "error", "")
    figures = (
        f"{table.about['device']}: {len(table.entries)} operators of {len(timed)} networks; {len(codes)} others: "
        f"Spearman {rank:.3f}, median error {error:.1%}, {guessed} with interpolated operators"
    )
    return report(header, lines, failures, figures, not failures)


if __name__ == "__main__":
    sys.exit(BadInputError.guard(main))
