"""The report of a run: one HTML file that needs nothing else, and the winning design as files.

Everything that a user or a file gave is text: jinja2 escapes it in the page, :func:`~codesign.reports._figures.hover`
in figures and :func:`_embedded` within scripts. A content security policy keeps the page from loading anything at all.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from accelerators.crossbar.crossbar import Crossbar
from accelerators.operators import ROLES
from accelerators.spatial.architecture import SpatialAccelerator
from codesign.experiments.experiment import mapping_objective
from codesign.experiments.ledger import Ledger
from codesign.files import write_whole
from codesign.reports import _figures as figures
from codesign.reports._figures import Figure
from codesign.reports._run import Design, Point, Row, Run
from codesign.reports._words import (
    DASH,
    GOALS,
    MOST_ROWS,
    Table,
    choices,
    pattern,
    ratio,
    said,
    sure,
    table,
    title,
    value,
)
from codesign.reports._words import with_unit as unit
from codesign.reports.crossbar_drawing import draw_crossbar
from codesign.reports.designs import write_design
from codesign.reports.drawing import axis_text, bandwidth_text, draw, size_text
from codesign.reports.network_drawing import KINDS
from codesign.reports.tables import percent, si

#: The report in a run's folder, and the folder of the winning design in it.
REPORT, BEST = "report.html", "best"
_FEW_DESIGNS = 10


def write_report(folder: Path, say: Callable[[str], None] | None = None) -> Path:
    """Write ``report.html`` and ``best/`` into the folder of a run; returns the path of the report.

    ``best/accelerator.yaml`` is the datasheet of the winning design, ``best/mappings.yaml`` how it runs every layer;
    networks that were searched are there as encodings and as ONNX. ``say`` is called with what a reader should know at
    once. With several objectives the winner is the design of the front with the least EDP. A run that has not ended, or
    in which nothing works, has a report as well. ONNX files that the experiment names are looked for beside the
    experiment's file and in the run's folder.

    Raises ValueError if plotly or jinja2 is missing, :class:`~codesign.experiments.ledger.LedgerError` for a folder
    without a readable run, :class:`~accelerators.documents.DocumentError` for a design that is not valid any more, and
    OSError if the files cannot be written.
    """
    try:
        import jinja2
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise ValueError("reports need plotly and jinja2: pip install 'codesign[report]'") from None
    with Ledger(folder, write=False) as ledger:
        run = Run.of(ledger)
    networks = [] if run.best is None else write_design(run.best, folder / BEST)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("codesign.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = _Page(run)
    content = page.content()
    text = environment.get_template("report.html").render(
        **content, networks=networks, kinds=KINDS, figures=_embedded(page.figures), plotly=get_plotlyjs()
    )
    path = folder / REPORT
    write_whole(path, text)
    for sentence in page.gains():
        if say is not None:
            say(sentence)
    return path


def _embedded(data: Any) -> str:
    """JSON that may stand within a script element, whatever its texts are."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


# ----------------------------------------------------------------------------------------------------------- the page


class _Page:
    """Turns a run into what the template shows; collects the figures on the way."""

    def __init__(self, run: Run):
        self.run = run
        self.winner = run.winner
        self.shown = [design for design in (run.best, run.baseline) if design]
        self.figures: dict[str, dict[str, Any]] = {}

    def content(self) -> dict[str, Any]:
        run = self.run
        seconds = sum(c.seconds for point in run.points for c in (*point.tried, point.baseline) if c)
        designs = sum(len(point.tried) for point in run.points)
        environment = run.meta["environment"]
        rows = [[name, str(environment.get(name, ""))] for name in ("python", "platform", "processor")]
        rows += [[name, str(version)] for name, version in environment.get("libraries", {}).items()]
        return {
            "name": run.meta["name"],
            "trained": bool(self.winner and self.winner.sheet and self.winner.sheet.accuracy),
            "state": self.state(),
            "finished": all(point.finished for point in run.points),
            "result": self.result(),
            "convergence": self.convergence(),
            "front": self.places([*figures.accuracy_fronts(run), *figures.fronts(run)]),
            "sweep": self.sweep(),
            "design": self.design(),
            "layers": self.layers(),
            "roofline": self.roofline(),
            "nests": self.nests(),
            "failures": self.failures(),
            "experiment": run.meta["experiment"],
            "environment": table(("what", "version"), rows, 2),
            "effort": f"{designs:,} designs, {seconds:,.1f} s of work in all workers together",
            "problems": [*run.problems, *(problem for design in self.shown for problem in design.problems)],
        }

    def places(self, listed: list[Figure]) -> list[dict[str, Any]]:
        """Keep figures for the script; returns their places on the page."""
        found = []
        for figure in listed:
            name = f"plot-{len(self.figures) + 1}"
            self.figures[name] = {"data": figure.data, "layout": figure.layout}
            caption = figure.caption[:1].upper() + figure.caption[1:]
            found.append({"id": name, "height": figure.height, "caption": caption})
        return found

    # ------------------------------------------------------------------------------------------------------ the result

    def state(self) -> list[str]:
        """Sentences about what was done, and about what was not."""
        points = self.run.points
        done = sum(point.finished for point in points)
        tried = [c for point in points for c in point.tried]
        fine = sum(c.fine for c in tried)
        rejected = sum(sum(point.rejected.values()) for point in points)
        found = []
        if done < len(points) and len(points) > 1:
            begun = sum(bool(point.tried or point.generations) for point in points)
            found.append(f"This run is not finished: {done} of {len(points)} points are, {begun} have begun.")
        elif done < len(points):
            of = "" if points[0].planned is None else f" of {points[0].planned}"
            found.append(f"This run is not finished: {len(points[0].generations)}{of} generations are.")
        if not tried:
            found.append("No design has been evaluated yet.")
        elif not fine:
            found.append(f"None of the {len(tried):,} designs that were evaluated works; the reasons are below.")
        else:
            found.append(f"{len(tried):,} designs were evaluated; {fine:,} of them work.")
        if rejected:
            found.append(f"{rejected:,} proposals were rejected before they were evaluated.")
        return [*found, *self.baseline_state()]

    def baseline_state(self) -> list[str]:
        point = self.winner or self.run.points[0]
        if point.baseline is None:
            return ["The baseline has not been evaluated yet." if point.wants_baseline else "There is no baseline."]
        if not point.baseline.fine:
            return [f"The baseline {point.baseline.name} cannot run: {point.baseline.reason}."]
        return []

    def result(self) -> dict[str, Any] | None:
        if not self.winner or not self.shown:
            return None
        best, *others = [design.candidate for design in self.shown]
        cards = []
        for goal in GOALS:
            if goal not in best.values:
                continue
            against = others[0].values.get(goal) if others else None
            worse = against is not None and best.scores([goal])[0] > others[0].scores([goal])[0]
            cards.append(
                {
                    "name": title(goal),
                    "value": value(goal, best.values[goal]) + (sure(best) if goal == "accuracy" else ""),
                    "ratio": ratio(goal, best.values[goal], against),
                    "worse": worse,
                    "base": "" if against is None else f"baseline {others[0].name}: {value(goal, against)}",
                    "sought": goal in self.winner.goals,
                }
            )
        return {
            "cards": cards,
            "given": self.winner.given,
            "notes": self.notes(self.winner),
            "networks": self.networks(),
            "designs": self.designs(self.winner),
        }

    def notes(self, winner: Point) -> list[str]:
        """Sentences about the winner."""
        best = self.shown[0].candidate
        goals = " and ".join([", ".join(map(title, winner.goals[:-1])), title(winner.goals[-1])]).removeprefix(" and ")
        least = "greatest" if winner.goals == ("accuracy",) else "least"
        found = [f"{best.name} is the design with the {least} {goals}."]
        if len(winner.goals) > 1:
            of = f"one design is on the front of {goals}"
            if len(winner.front) > 1:
                of = f"{len(winner.front)} designs are on the front of {goals}, and it has the least EDP of them"
            found = [f"{best.name} is shown here: {of}."]
        if self.run.several:
            how = "gains most over its baseline" if self.run.by_gain else "is the best of all points"
            found.append(f"It belongs to the point {winner.name}, which {how}.")
        if len(self.shown[0].totals) > 1:
            means = "energy, latency and EDP are geometric means"
            found.append(f"Over {len(self.shown[0].totals)} networks, {means}.")
        found += [*self.searched(winner), *self.gains()]
        if self.shown[0].accelerator is None:
            found.append(f"Its hardware has no mappings: {self.quality()}.")
        elif best.gap is None:
            found.append("How far its mappings are from the best ones is not known.")
        else:
            within = f"within {best.gap:.2%} of the optimum" if best.gap else "proven optimal"
            found.append(f"Every one of its mappings is {within}.")
        return found

    def quality(self) -> str:
        """How the figures of the winner were made."""
        made = [cost.quality for cost in self.shown[0].costs.values() if cost.quality]
        return made[0] if made else "how its figures were made is not known"

    def searched(self, winner: Point) -> list[str]:
        """A sentence about the networks that were searched, if they were."""
        nas = winner.sheet.nas if winner.sheet else None
        if nas is None:
            return []
        judged = sum(c.judged or 0 for point in self.run.points for c in point.tried)
        found = f"Networks of {nas.space} were searched together with the hardware, one network for every design."
        if nas.mode == "nested":
            found = f"Networks of {nas.space} were searched on every design, {judged:,} judged in all."
        wanted = f" They must have an accuracy of {' or '.join(f'{level:g}' for level in nas.at_least)}."
        kinds = {entry["accuracy_kind"] for entry in self.shown[0].totals if entry["accuracy_kind"]}
        kind = f" Accuracies are {' and '.join(sorted(kinds))} ({nas.accuracy.name})." if kinds else ""
        exact = [d.hardware.name for d in self.shown if isinstance(d.hardware, Crossbar) and not d.hardware.is_digital]
        if winner.given:
            exact = exact[:1]
        who = " and ".join(exact)
        inexact = f" They hold for exact computation: what {who} loses by cells and converters is not in them."
        return [found + (wanted if nas.at_least else "") + kind + (inexact if exact else "")]

    def gains(self) -> list[str]:
        """What of the difference from the baseline is the network's and what the hardware's, if both were searched."""
        run = self.run
        if run.exchanged is None or run.best is None or run.baseline is None or self.winner is None:
            return []
        goal = mapping_objective(self.winner.goals)
        ours, theirs, between = (
            run.best.candidate.values[goal],
            run.baseline.candidate.values[goal],
            run.exchanged[goal],
        )
        return [
            f"Against the baseline, {title(goal)} is {ratio(goal, ours, theirs)}: {ratio(goal, between, theirs)} "
            f"by the network, which has {value(goal, between)} on {run.baseline.candidate.name}, and "
            f"{ratio(goal, ours, between)} by the hardware."
        ]

    def networks(self) -> Table:
        """Every network on the winner and on the baseline."""
        keys: tuple[tuple[str, str], ...] = (("edp", "edp_js"), ("energy", "energy_pj"), ("latency", "latency_s"))
        if any(entry["accuracy"] is not None for design in self.shown for entry in design.totals):
            keys = (*keys, ("accuracy", "accuracy"))
        rows = [
            [
                entry["network"],
                design.title,
                *(value(goal, entry[key]) for goal, key in keys),
                percent(entry["utilisation"]),
                unit(entry["macs"], ""),
            ]
            for design in self.shown
            for entry in design.totals
        ]
        rows.sort(key=lambda row: row[0])
        return table(("network", "design", *(title(goal) for goal, _ in keys), "utilisation", "MACs"), rows, 2)

    def designs(self, point: Point) -> Table:
        """The designs that were given, or the front, or the best ones."""
        goal = point.goals[0] if len(point.goals) == 1 else "edp"
        if len(point.goals) == 1 or point.given:
            listed = sorted((c for c in point.tried if c.fine), key=lambda c: c.scores([goal]))
            listed = listed if point.given else listed[:_FEW_DESIGNS]
            name = "Given designs" if point.given else "Best designs"
        else:
            # Some all along a front, not one end of it.
            chosen = np.linspace(0, len(point.front) - 1, min(MOST_ROWS, len(point.front)))
            listed = [point.front[round(i)] for i in chosen]
            name = f"The front: {len(listed)} of {len(point.front)} designs"
        base = point.baseline if point.baseline and point.baseline.fine else None
        known = [g for g in GOALS if any(g in c.values for c in listed)]
        columns = ["design", *([] if point.given else ["choices"]), *map(title, known)]
        rows = []
        for c in listed:
            words = [] if point.given else [", ".join(choices(c))]
            row = [c.name, *words, *(value(g, c.values.get(g)) for g in known)]
            rows.append(row + ([ratio(goal, c.values.get(goal), base.values.get(goal))] if base else []))
        columns += [f"{title(goal)} against baseline"] if base else []
        return {**table(columns, rows, 1 if point.given else 2), "name": name}

    def convergence(self) -> list[dict[str, Any]]:
        if self.winner is None:
            return []
        if self.winner.given:
            return self.places(figures.given(self.winner))
        return self.places([figures.convergence(self.run, self.winner)])

    def sweep(self) -> dict[str, Any] | None:
        """Every point of a sweep and its best design."""
        points = self.run.points
        keys = list(points[0].label)
        if not keys:
            return None
        goals = list(dict.fromkeys(goal for point in points for goal in point.goals))
        if len(goals) > 1 and "edp" not in goals:
            goals.append("edp")
        rows = []
        for point in points:
            best, base = point.best, point.baseline
            name = best.name if best else "no design works" if point.tried else "not begun"
            name += "" if point.finished else " (not finished)"
            fine = sum(c.fine for c in point.tried)
            rows.append(
                [
                    *(said(point.label[key]) for key in keys),
                    name + (" ★" if point is self.winner else ""),
                    *(value(goal, best.values.get(goal)) if best else DASH for goal in goals),
                    ratio(goals[-1], best.values.get(goals[-1]), base.values.get(goals[-1])) if best and base else "",
                    f"{fine:,} of {len(point.tried):,}",
                ]
            )
        columns = [
            *keys,
            "best design",
            *map(title, goals),
            f"{title(goals[-1])} against baseline",
            "designs that work",
        ]
        if not any(row[-2] for row in rows):
            # Nothing to compare with.
            columns, rows = [*columns[:-2], columns[-1]], [[*row[:-2], row[-1]] for row in rows]
        listed = table(columns, rows, len(keys) + 1, most=1000)
        return {"table": listed, "figures": self.places(figures.sweep(self.run))}

    # ------------------------------------------------------------------------------------------------------ the design

    def design(self) -> dict[str, Any] | None:
        if not self.shown:
            return None
        sheets = [_figures_of(design) for design in self.shown]
        # Levels of the winner first; MACs, which all have, last.
        parts = list(dict.fromkeys(part for sheet in sheets for part in sheet))
        parts.sort(key=lambda part: part == "MAC unit")
        rows = []
        for part in parts:
            names = list(dict.fromkeys(name for sheet in sheets for name in sheet.get(part, {})))
            for i, name in enumerate(names):
                figure = [sheet.get(part, {}).get(name, DASH) for sheet in sheets]
                rows.append(["" if i else part, name, *figure])
        chosen = self.shown[0].candidate.choices.items()
        columns = ("part", "figure", *(design.title for design in self.shown))
        return {
            "drawings": [
                {"title": design.title, "name": design.hardware.name, "svg": _drawing(design)}
                for design in self.shown
                if isinstance(design.hardware, SpatialAccelerator | Crossbar)
            ],
            "lanes": any(design.accelerator is not None for design in self.shown),
            "datasheet": table(columns, rows, len(columns), most=1000),
            "choices": table(("parameter", "value"), [[name, said(each)] for name, each in chosen], 2),
            "mappings": any(row.nest for rows in self.shown[0].layers.values() for row in rows),
        }

    def layers(self) -> list[dict[str, Any]]:
        """Energy and latency of every layer, by network."""
        found = []
        for network, rows in self.shown[0].layers.items() if self.shown else ():
            # Networks that were searched go by one name and differ.
            shape = [(row.name, row.operator) for row in rows]
            several = [
                (design, design.layers[network])
                for design in self.shown
                if [(row.name, row.operator) for row in design.layers.get(network, ())] == shape
            ]
            known = bool(self.shown[0].costs)
            listed = f"{len(rows)} layers in the order in which they run" if known else "every shape once"
            listed_figures = [figures.energy(several, listed), figures.latency(several)]
            found.append({"network": network, "figures": self.places(listed_figures)})
        return found

    def roofline(self) -> list[dict[str, Any]]:
        figure = figures.roofline([design for design in self.shown if design.costs and design.accelerator])
        return self.places([figure] if figure else [])

    def nests(self) -> list[dict[str, Any]]:
        """The loop nest of every shape, beside the baseline's."""
        if not self.shown:
            return []
        best = self.shown[0]
        found = []
        for key, (row, places) in best.shapes.items():
            nests = []
            for design in self.shown:
                if key in design.shapes:
                    its = design.shapes[key][0]
                    assert its.nest is not None
                    nests.append({"title": design.title, "nest": its.nest.nest(), "facts": _facts(its)})
            names = [f"{network}: {name}" if len(best.layers) > 1 else name for network, name in places]
            found.append(
                {
                    "title": names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else ""),
                    "operator": row.operator,
                    "names": names if len(names) > 1 else [],
                    "figures": f"{unit(row.energy_j, 'J')}, {unit(row.latency_s, 's')}",
                    "nests": nests,
                }
            )
        return found

    def failures(self) -> Table | None:
        """Rejected and infeasible designs, those of like reasons together."""
        counted: Counter[tuple[str, str]] = Counter()
        examples: dict[tuple[str, str], str] = {}

        def count(status: str, reason: str, number: int) -> None:
            key = (status, pattern(reason))
            counted[key] += number
            examples.setdefault(key, reason)

        for point in self.run.points:
            for reason, number in point.rejected.items():
                # What is above the budget goes by the name of the quantity.
                count("rejected", f"above the budget: {reason}" if reason.isidentifier() else reason, number)
            for candidate in point.tried:
                if not candidate.fine:
                    count(candidate.status, candidate.reason, 1)
        rows = [[key[0], examples[key], f"{number:,}"] for key, number in counted.most_common()]
        return table(("status", "reason", "designs"), rows, 2) if rows else None


def _drawing(design: Design) -> str:
    if isinstance(design.hardware, Crossbar):
        return draw_crossbar(design.hardware)
    assert design.accelerator is not None
    return draw(design.accelerator)


def _figures_of(design: Design) -> dict[str, dict[str, str]]:
    """What a datasheet says: figures by part."""
    if design.accelerator is None:
        return _as_given(design)
    return _spatial_figures(design.accelerator)


def _as_given(design: Design) -> dict[str, dict[str, str]]:
    """A datasheet without levels, as it is; what it says of its sources is left out."""
    plain = {key: str(each) for key, each in design.datasheet.items() if not isinstance(each, dict | list)}
    whole = {key: each for key, each in plain.items() if key not in ("description", "source")}
    if "area" in design.candidate.values:
        whole["area of the chip"] = value("area", design.candidate.values["area"])
    found = {"whole design": whole}
    for key, each in design.datasheet.items():
        if isinstance(each, dict):
            found[key] = {name: _inline(entry) for name, entry in each.items() if name != "source"}
        elif isinstance(each, list):
            found[key] = {str(i): _inline(entry) for i, entry in enumerate(each)}
    return found


def _inline(entry: Any) -> str:
    if isinstance(entry, dict):
        return ", ".join(f"{name} {_inline(each)}" for name, each in entry.items() if name != "source")
    return said(entry)


def _spatial_figures(accelerator: SpatialAccelerator) -> dict[str, dict[str, str]]:
    compute = accelerator.compute
    found = {
        # Names of levels have no spaces.
        "whole design": {
            "name": accelerator.name,
            "node": f"{accelerator.node_nm:g} nm" if accelerator.node_nm else DASH,
            "clock": f"{si(accelerator.clock_hz)}Hz",
            "MACs": f"{accelerator.macs:,}, peak {unit(accelerator.macs * accelerator.clock_hz, 'MAC/s')}",
            "on-chip memory": size_text(accelerator.on_chip_bytes),
            "area": f"{accelerator.area_mm2:.4g} mm²",
            "leakage": f"{accelerator.leakage_mw:.4g} mW",
            "dataflow": accelerator.dataflow.name,
        }
    }
    for level, instances in zip(accelerator.levels, accelerator.instances, strict=False):
        each = f", {instances:,} instances" if instances > 1 else ""
        found[level.name] = {
            "capacity": size_text(level.capacity_bytes) + each,
            "keeps": ", ".join(role for role in ROLES if role in level.keeps),
            "bandwidth": bandwidth_text(level, accelerator.clock_hz),
            "width": f"{level.width_bits} bit per access",
            "access": f"read {level.read_energy_pj:.4g} pJ, write {level.fill_energy_pj:.4g} pJ",
        }
        if level.children > 1:
            found[level.name]["fanout"] = "; ".join(axis_text(axis) for axis in level.fanout)
    found["MAC unit"] = {
        "widths": f"{compute.weight_bits} x {compute.input_bits} bit, sums of {compute.accumulator_bits} bit",
        "energy": f"{compute.energy_pj:.4g} pJ",
    }
    return found


def _facts(row: Row) -> str:
    """What a layer costs and why, in a line."""
    proof = ""
    if row.gap is not None:
        proof = f", within {row.gap:.2%} of the optimum" if row.gap else ", proven optimal"
    costs = f"{unit(row.energy_j, 'J')}, {unit(row.latency_s, 's')}"
    return f"{costs}, limited by {row.bottleneck}, utilisation {percent(row.utilisation)}{proof}"
