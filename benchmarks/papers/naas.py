"""The published experiments of NAAS (Lin, Yang, Han, DAC 2021), run again with our cost model.

    python -m benchmarks.papers.naas --figure 5|8|9|10|nasaic [--protocol paper|strict] [--seeds N] [--only BASELINE ..]
        [--space SPACE ..] [--queries N]

Figure 5: hardware searched within the resources of a published design, against that design. Figure 8: against a search
of its sizes alone. Figure 9: importance-based against index-based encoding. Figure 10: hardware, mappings and networks
searched together, against ResNet-50 on Eyeriss and against sizes with networks. nasaic: hardware and mappings against
NASAIC's design of two parts (benchmarks/papers/_nasaic.py says what of it is assumed).

Paper protocol: the baseline's tiles are fixed, one description of loops for all layers of all networks, as the paper's
cost backend takes them; DRAM has no limit of bandwidth in any arm, since the paper's resources have none. Two such
baselines are shown: the dataflow that is published (unrolling, order of loops, tiles inside the array; tiles of the
buffers, on which it is silent, are the best fixed ones), and the best fixed description at all. Strict protocol: the
baseline's dataflow with the proven-best tiles of every layer and the design's own DRAM; the search is then compared
with a sweep over connectivity and sizes (figure 5).
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import Progress

from benchmarks._common import BadInputError, report
from benchmarks.papers import _cosearch, _nasaic
from benchmarks.papers._arms import (
    CMA_EVALUATIONS,
    Arm,
    Totals,
    accelerator_of,
    datasheet,
    described,
    network,
    search,
    shares,
    totals,
)
from benchmarks.papers._fixed import PUBLISHED, Description
from benchmarks.papers._resources import Settings, resources, sizing_space
from benchmarks.papers._sweep import sweep
from benchmarks.papers._top1 import GAINS, RESNET50_TOP1, SPACES
from mappers.processes import kill, worker_pool

LARGE = ("vgg16", "resnet50", "unet")
SMALL = ("mobilenet_v2", "squeezenet", "mnasnet")


@dataclass(frozen=True)
class Claim:
    """What the paper reports for one set of resources: networks, speedup and energy saving."""

    networks: tuple[str, ...]
    speedup: float
    saving: float


#: Lin et al., figure 5.
FIGURE_5 = {
    "edge_tpu": Claim(LARGE, 2.6, 1.1),
    "nvdla_1024": Claim(LARGE, 2.2, 1.1),
    "eyeriss": Claim(SMALL, 4.4, 2.1),
    "nvdla_256": Claim(SMALL, 1.7, 1.4),
    "shidiannao": Claim(SMALL, 4.4, 4.9),
}
#: Figure 8: EDP of the sizing-only search over that of the full one.
FIGURE_8 = {
    ("edge_tpu", "vgg16"): 3.52,
    ("edge_tpu", "mobilenet_v2"): 1.42,
    ("nvdla_1024", "vgg16"): 2.61,
    ("nvdla_1024", "mobilenet_v2"): 1.62,
}
#: Figure 9: EDP with the index-based encoding over that with the importance-based one.
FIGURE_9 = (1.4, 7.4)
_DESCRIPTIONS_TRIED = 600
#: Of searches with networks inside, so that three seeds take about an hour on two cores.
_GENERATIONS, _STRICT_GENERATIONS = 10, 5
#: Of searches without networks. With 4,096 MACs they are not at their end after 20: the sweep is hard to reach.
_ALONE, _STRICT_ALONE = 20, 40
#: What the search must reach of the best design of the sweep.
_OF_SWEEP = 0.95
_PARTS = ("DRAM", "on-chip", "MACs", "leakage")
_BOUNDS = ("compute", "on-chip", "DRAM")


@functools.cache
def descriptions(name: str, networks: tuple[str, ...], dram: bool) -> tuple[Description, Description]:
    """The published dataflow of a design with the best tiles where it is silent, and the best description at all."""
    accelerator = accelerator_of(datasheet(name, dram))
    return described(accelerator, PUBLISHED[name], [network(graph) for graph in networks], _DESCRIPTIONS_TRIED)


def searched(name: str, networks: tuple[str, ...], dram: bool, settings: Settings) -> list[Totals]:
    """The best designs within a design's resources, one per seed, best first."""
    found = []
    for seed in range(settings.seeds):
        design = search(resources(name, dram, settings), Arm(networks, "optimal"), seed, settings.effort, settings.pool)
        result = totals(design.accelerator, Arm(networks, "optimal", pad=True))
        assert result is not None
        found.append(result)
    return sorted(found, key=lambda result: result.edp)


def _row(name: str, arm: str, result: Totals) -> tuple[str, ...]:
    return (
        name,
        arm,
        str(result.macs),
        " ".join(f"{u:.0%}" for u in result.utilisation),
        f"{result.latency / 1e6:.3g}",
        f"{result.energy * 1e-9:.3g}",
        f"{result.edp * 1e-15:.3g}",
        " ".join(shares(result.bound_by, _BOUNDS)),
        " ".join(shares(result.spent_on, _PARTS)),
    )


_HEADER = (
    "resources",
    "arm",
    "MACs",
    "utilisation",
    "Mcycles",
    "mJ",
    "EDP",
    f"bound by {', '.join(_BOUNDS)}",
    f"energy: {', '.join(_PARTS)}",
)


def figure_5_paper(names: Sequence[str], settings: Settings) -> int:
    """Against fixed tiles."""
    rows, lines, failures = [], [], []
    for name in _progress(names):
        claim = FIGURE_5[name]
        accelerator = accelerator_of(datasheet(name, dram=False))
        published, best = descriptions(name, claim.networks, False)
        baselines = {
            "published, fixed": totals(accelerator, Arm(claim.networks, published)),
            "best fixed": totals(accelerator, Arm(claim.networks, best)),
            "optimal tiles": totals(accelerator, Arm(claim.networks, "optimal", pad=True)),
        }
        designs = searched(name, claim.networks, False, settings)
        middle = designs[len(designs) // 2]
        for arm, result in baselines.items():
            assert result is not None
            rows.append(_row(name, arm, result))
            gains = [(result.latency / each.latency, result.energy / each.energy) for each in designs]
            speedup = statistics.median(gain for gain, _ in gains)
            saving = statistics.median(gain for _, gain in gains)
            judged = arm == "published, fixed"
            line = (
                f"{name}, {arm}: speedup {_spread(g for g, _ in gains)}, energy saving {_spread(g for _, g in gains)}"
            )
            if judged:
                line += f"; paper {claim.speedup} and {claim.saving}"
                if speedup < claim.speedup or saving < claim.saving:
                    failures.append(f"missed: {line}")
            lines.append(line)
            _say(line)
        rows.append(_row(name, f"searched, median of {len(designs)}", middle))
        lines += [f"{name}, published: {published}", f"{name}, best fixed: {best}"]
    return _print(rows, lines, failures, "figure 5, paper protocol", len(names))


def figure_5_strict(names: Sequence[str], settings: Settings) -> int:
    """Against proven-best tiles, and against a sweep."""
    rows, lines, failures = [], [], []
    for name in _progress(names):
        claim = FIGURE_5[name]
        accelerator = accelerator_of(datasheet(name, dram=True))
        baseline = totals(accelerator, Arm(claim.networks, "optimal", pad=True))
        assert baseline is not None
        designs = searched(name, claim.networks, True, settings)
        middle = designs[len(designs) // 2]
        found = sweep(datasheet(name, dram=True), claim.networks, settings.pool)
        best = totals(found.accelerator, Arm(claim.networks, "optimal", pad=True))
        assert best is not None
        rows += [
            _row(name, "optimal tiles", baseline),
            _row(name, f"searched, median of {len(designs)}", middle),
            _row(name, "best of the sweep", best),
        ]
        reached = [best.edp / each.edp for each in designs]
        line = (
            f"{name}: speedup {baseline.latency / middle.latency:.2f}, energy saving "
            f"{baseline.energy / middle.energy:.2f}, EDP {baseline.edp / middle.edp:.2f} (seeds "
            f"{', '.join(f'{baseline.edp / each.edp:.2f}' for each in designs)}; sweep {baseline.edp / best.edp:.2f}); "
            f"reaches {statistics.median(reached):.1%} of the sweep's best ({min(reached):.1%}-{max(reached):.1%})"
        )
        lines += [line, f"{name}: {found.summary}"]
        _say(line)
        if statistics.median(reached) < _OF_SWEEP:
            failures.append(f"missed: {line}")
    return _print(rows, lines, failures, "figure 5, strict protocol", len(names))


def figure_8(names: Sequence[str], settings: Settings) -> int:
    """Connectivity and mapping searched as well, against sizes alone."""
    rows, lines, failures = [], [], []
    cases = [case for case in FIGURE_8 if case[0] in names]
    for name, graph in _progress(cases):
        published, _ = descriptions(name, (graph,), False)
        designs = searched(name, (graph,), False, settings)
        fixed, sizes_only = [], Arm((graph,), published)
        baseline = totals(accelerator_of(datasheet(name, dram=False)), sizes_only)
        assert baseline is not None
        for seed in range(settings.seeds):
            design = search(sizing_space(name, settings), sizes_only, seed, settings.effort, settings.pool)
            found = totals(design.accelerator, sizes_only)
            # Whoever sizes a design has the design.
            fixed.append(found if found is not None and found.edp < baseline.edp else baseline)
        fixed.sort(key=lambda result: result.edp)
        ratios = [one.edp / other.edp for one in fixed for other in designs]
        rows.append(_row(name, f"{graph}: sizes, tiles fixed", fixed[len(fixed) // 2]))
        rows.append(_row(name, f"{graph}: searched", designs[len(designs) // 2]))
        line = (
            f"{name}, {graph}: EDP {statistics.median(ratios):.2f} times lower ({min(ratios):.2f}-{max(ratios):.2f}); "
            f"paper {FIGURE_8[name, graph]}"
        )
        lines.append(line)
        _say(line)
        if statistics.median(ratios) < FIGURE_8[name, graph]:
            failures.append(f"missed: {line}")
    return _print(rows, lines, failures, "figure 8", len(cases))


def figure_9(names: Sequence[str], settings: Settings) -> int:
    """Encodings of hardware and mapping, both arms with the CMA-ES mapper and nothing but CMA-ES on the hardware."""
    rows, lines, failures = [], [], []
    for name in _progress(names):
        graph = FIGURE_5[name].networks[0]
        found: dict[str, list[Totals]] = {}
        for encoding in ("importance", "index"):
            arm = Arm((graph,), f"cma_{encoding}")
            hardware = {**resources(name, False, settings), "encoding": encoding}
            for seed in range(settings.seeds):
                design = search(hardware, arm, seed, settings.effort, settings.pool, refine=0.0)
                result = totals(design.accelerator, arm)
                assert result is not None
                found.setdefault(encoding, []).append(result)
            found[encoding].sort(key=lambda result: result.edp)
            rows.append(_row(name, f"{graph}: {encoding}", found[encoding][settings.seeds // 2]))
        ratios = [one.edp / other.edp for one in found["index"] for other in found["importance"]]
        line = (
            f"{name}, {graph}: index over importance {statistics.median(ratios):.2f} ({min(ratios):.2f}-"
            f"{max(ratios):.2f}); paper {FIGURE_9[0]} to {FIGURE_9[1]}"
        )
        lines.append(line)
        _say(line)
        if statistics.median(ratios) < FIGURE_9[0]:
            failures.append(f"missed: {line}")
    return _print(rows, lines, failures, f"figure 9, {CMA_EVALUATIONS} mappings per layer", len(names))


_HEADER_10 = (
    "networks",
    "arm",
    "top-1 at least",
    "top-1",
    "predicted",
    "GMACs",
    "utilisation",
    "Mcycles",
    "mJ",
    "EDP",
    "A / this",
)


def figure_10(names: Sequence[str], dram: bool, settings: Settings) -> int:
    """Networks searched as well."""
    known = _cosearch.baselines(dram, _DESCRIPTIONS_TRIED, settings)
    judged = known.judged
    hardware = [result for _, result in known.hardware]
    rows: list[tuple[str, ...]] = []
    lines, failures = [], []

    def row(names: Sequence[str], gmacs: float, result: Totals) -> None:
        figures = (result.latency / 1e6, result.energy * 1e-9, result.edp * 1e-15, judged.edp / result.edp)
        rows.append((*names, f"{gmacs:.2f}", f"{result.utilisation[0]:.0%}", *(f"{figure:.3g}" for figure in figures)))

    resnet50 = network(_cosearch.NETWORK).macs / 1e9
    for arm, result in known.mapped.items():
        row((_cosearch.NETWORK, f"A: {arm}", "", str(RESNET50_TOP1), ""), resnet50, result)
    row((_cosearch.NETWORK, "B: searched, median", "", str(RESNET50_TOP1), ""), resnet50, _middle(hardware))
    mapped = {arm: [result] for arm, result in known.mapped.items()}
    lines.append(f"EDP of A over B: {_times_lower(mapped, hardware)}")
    _say(lines[-1])
    for name in _progress(names):
        networks = SPACES[name]()
        lines.append(f"{name}: {networks.offset}")
        c: dict[str, list[list[_cosearch.Found]]] = {arm: [] for arm in known.styles}
        d: list[list[_cosearch.Found]] = []
        for seed in range(settings.seeds):
            for arm, style in known.styles.items():
                c[arm].append(_cosearch.sized(networks, style, dram, seed, settings))
            d.append(_cosearch.searched(networks, known.hardware[seed][0], dram, seed, settings))
        for arm, seeds in (*((f"C: {arm}", seeds) for arm, seeds in c.items()), ("D", d)):
            for i, level in enumerate(networks.levels):
                middle = sorted((each[i] for each in seeds), key=lambda each: each.totals.edp)[len(seeds) // 2]
                top1 = f"{middle.accuracy - level.offset:.1f}"
                row((name, arm, level.name, top1, f"{middle.accuracy:.2f}"), middle.gmacs, middle.totals)
        for i, level in enumerate(networks.levels):
            sized = {arm: [each[i].totals for each in seeds] for arm, seeds in c.items()}
            everything = [each[i].totals for each in d]
            for what, theirs, ours, paper in (
                ("C over B", sized, hardware, _cosearch.MAPPING if level.gain == 0 else None),
                ("A over D", mapped, everything, _cosearch.ALL if level.gain == GAINS[-1] else None),
            ):
                line = f"{name}, {level.name}: EDP of {what}: {_times_lower(theirs, ours)}"
                if paper is not None:
                    line += f"; paper {paper}"
                    first = next(iter(theirs.values()))
                    if not dram and statistics.median(_ratios(first, ours)) < paper:
                        failures.append(f"missed: {line}")
                lines.append(line)
                _say(line)
    protocol = "strict protocol, no target" if dram else "paper protocol"
    code = report(_HEADER_10, rows, failures, f"figure 10, {protocol}: {len(failures)} missed", not failures)
    for line in lines:
        print(line)
    return code


def nasaic(dram: bool, settings: Settings) -> int:
    """One accelerator against a design of two."""
    known = _nasaic.baseline(dram, _DESCRIPTIONS_TRIED)
    designs = _nasaic.searched(dram, settings)
    rows, lines, failures = [], [], []
    for arm, bill in known.items():
        layers = f"{bill.layers[0]} and {bill.layers[1]}"
        rows.append((arm, layers, f"{bill.latency_s * 1e3:.3g}", f"{bill.energy_pj * 1e-9:.3g}", f"{bill.edp_js:.3g}"))
        gains = _nasaic.gains(bill, designs)
        lower = [faster * less for faster, less in gains]
        line = (
            f"{arm}: EDP {_spread(lower)} times lower, latency {_spread(gain for gain, _ in gains)}, energy "
            f"{_spread(gain for _, gain in gains)}"
        )
        if bill is next(iter(known.values())):
            line += f"; paper {_nasaic.EDP}, {_nasaic.LATENCY} and {_nasaic.ENERGY} (its protocol)"
            if not dram and statistics.median(lower) < _nasaic.EDP:
                failures.append(f"missed: {line}")
        lines.append(line)
    middle = _middle(designs)
    latency_s = _nasaic.latency_s(middle)
    edp_js = middle.energy * 1e-12 * latency_s
    rows.append(("searched, median", "", f"{latency_s * 1e3:.3g}", f"{middle.energy * 1e-9:.3g}", f"{edp_js:.3g}"))
    protocol = "strict protocol, no target" if dram else "paper protocol"
    header = ("arm", "layers on NVDLA's and ShiDianNao's part", "ms", "mJ", "EDP in J s")
    code = report(header, rows, failures, f"NASAIC, {protocol}: {len(failures)} missed", not failures)
    for line in (*lines, *_nasaic.ASSUMED):
        print(line)
    return code


def _ratios(theirs: Sequence[Totals], ours: Sequence[Totals]) -> list[float]:
    """How many times lower our EDP is, for every pair of seeds."""
    return [one.edp / other.edp for one in theirs for other in ours]


def _times_lower(theirs: Mapping[str, Sequence[Totals]], ours: Sequence[Totals]) -> str:
    return ", ".join(f"{arm} {_spread(_ratios(results, ours))}" for arm, results in theirs.items())


def _middle(results: Iterable[Totals]) -> Totals:
    ordered = sorted(results, key=lambda result: result.edp)
    return ordered[len(ordered) // 2]


def _print(rows: Sequence[Sequence[str]], lines: Sequence[str], failures: Sequence[str], title: str, cases: int) -> int:
    code = report(_HEADER, rows, failures, f"{title}: {cases} cases, {len(failures)} missed", not failures)
    for line in lines:
        print(line)
    return code


def _spread(gains: Iterable[float]) -> str:
    gains = sorted(gains)
    return f"{statistics.median(gains):.2f} ({gains[0]:.2f}-{gains[-1]:.2f})"


def _say(line: str) -> None:
    """At once, since a case takes minutes."""
    print(line, file=sys.stderr, flush=True)


def _progress(cases: Sequence[Any]) -> Iterator[Any]:
    with Progress(transient=True, disable=not sys.stderr.isatty()) as progress:
        yield from progress.track(cases, description="cases")


def main(arguments: list[str] | None = None) -> int:
    """Run one figure; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.papers.naas",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--figure", choices=("5", "8", "9", "10", "nasaic"), required=True)
    parser.add_argument("--protocol", choices=("paper", "strict"), default="paper", help="of figures 5, 10 and nasaic")
    parser.add_argument("--only", nargs="+", choices=tuple(FIGURE_5), help="resources of these designs only (5, 8, 9)")
    parser.add_argument("--space", nargs="+", choices=tuple(SPACES), help="networks of these spaces only (10)")
    parser.add_argument("--seeds", type=int, default=3, help="searches per case (3)")
    parser.add_argument("--population", type=int, default=16, help="candidates per generation (16)")
    parser.add_argument(
        "--generations",
        type=int,
        help=f"generations per search ({_ALONE}, figure 5 strict {_STRICT_ALONE}; figure 10: {_GENERATIONS}, strict "
        f"{_STRICT_GENERATIONS})",
    )
    parser.add_argument("--queries", type=int, default=50, help="networks per design (50; at last five times as many)")
    parser.add_argument("--workers", type=int, default=2, help="processes (2)")
    options = parser.parse_args(arguments)
    dram = options.protocol == "strict"
    if options.figure == "10":
        # Eyeriss' best tiles take five times as long as those of the searched designs.
        usual = _STRICT_GENERATIONS if dram else _GENERATIONS
    else:
        usual = _STRICT_ALONE if dram and options.figure == "5" else _ALONE
    generations = options.generations or usual
    least = min(options.seeds, options.population - 1, generations, options.workers, options.queries - 1)
    if least < 1 or options.generations == 0:
        raise BadInputError("--seeds, --generations and --workers must be >= 1, --population and --queries >= 2")
    names = [name for name in FIGURE_5 if not options.only or name in options.only]
    spaces = [name for name in SPACES if not options.space or name in options.space]
    pool = worker_pool(options.workers)
    start = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory() as folder:
            effort = options.population, generations
            settings = Settings(options.seeds, effort, pool, Path(folder), options.queries)
            if options.figure == "10":
                return figure_10(spaces, dram, settings)
            if options.figure == "nasaic":
                return nasaic(dram, settings)
            if options.figure == "5":
                return (figure_5_strict if dram else figure_5_paper)(names, settings)
            return {"8": figure_8, "9": figure_9}[options.figure](names, settings)
    finally:
        kill(pool)
        print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    sys.exit(BadInputError.guard(main))
