"""The figures of a report, as plotly's script takes them: plain data, no plotly needed to make them.

Colours of the page (text, grid, background) are the script's affair; those of the traces can be told apart on light and
on dark pages. Texts are escaped by :func:`hover`, because plotly reads some tags in them.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from accelerators.spatial.architecture import SpatialAccelerator
from accelerators.units import UNITS, split_unit
from codesign.experiments.experiment import mapping_objective
from codesign.experiments.network_search import front_of, goal_value
from codesign.reports._run import Candidate, Design, Point, Row, Run
from codesign.reports._words import GOALS, choices, said, sure, title, value, with_unit
from codesign.reports.tables import percent

#: Dots of a cloud, and series with a colour of their own: more than that nobody can tell apart.
_MOST_DOTS, _MOST_SERIES = 3000, 8
_BLUE, _ORANGE, _GREY = "#3f7fc4", "#d07a2d", "#8b929c"
_SERIES = (_BLUE, "#4f9d69", "#a45aa0", "#b8973a", "#3aa0a8", "#c4545c", "#7b6fc9", "#7d8f3c")
_LEVELS = ("#2f5f9e", "#4a93c9", "#58b0a4", "#86b96a", "#c2b04a", "#9a8f3f")
_PARTS = {"network": "#d9973f", "adders": "#b06a9c", "MAC": "#c4545c", "leakage": _GREY}
#: Characters of a layer's name below a plot.
_LONGEST_NAME = 28
#: Values of different magnitudes get a logarithmic axis.
_LOG_FROM = 8

Trace = dict[str, Any]
Axis = dict[str, Any]


@dataclass(frozen=True)
class Figure:
    """Traces and layout for plotly, what is to be seen, and the height in pixels."""

    data: list[Trace]
    layout: dict[str, Any]
    caption: str
    height: int = 380


def hover(*lines: str) -> str:
    """Lines of text as plotly shows them as they are."""
    return "<br>".join(escape(line, quote=False) for line in lines if line)


def _trace(mode: str, name: str, xs: Sequence[Any], ys: Sequence[Any], texts: Sequence[str], **more: Any) -> Trace:
    """A scatter trace whose marks say ``texts``; without any they say the trace's name."""
    said_there: Trace = {"text": list(texts), "hovertemplate": "%{text}<extra></extra>"} if texts else {}
    more = {"hoverinfo": "name", **more} if not texts else more
    return {"type": "scatter", "mode": mode, "name": hover(name), "x": list(xs), "y": list(ys), **said_there, **more}


def _axis(text: str, unit: str = "", values: Iterable[float] = (), **more: Any) -> Axis:
    """An axis; figures with a unit get an SI prefix, values of different magnitudes a logarithmic scale."""
    axis: Axis = {"title": {"text": hover(text)}, "automargin": True}
    known = [number for number in values if number > 0]
    log = bool(known) and max(known) > _LOG_FROM * min(known)
    if unit:
        axis["tickformat"] = "~g" if unit == "mm²" else "~s"
    if unit and (log or unit == "mm²"):
        # Plotly leaves the unit away from some ticks of a logarithmic axis.
        axis["title"] = {"text": hover(f"{text} ({unit})")}
    elif unit:
        axis["ticksuffix"] = unit
    if log:
        decades = math.log10(max(known) / min(known))
        # "D2": ticks at 1, 2 and 5; otherwise one per so many decades.
        axis |= {"type": "log", "dtick": "D2" if decades < 2.2 else math.ceil(decades / 6)}
    return axis | more


def _goal_axis(goal: str, values: Iterable[float]) -> Axis:
    return _axis(title(goal), GOALS[goal][2], values)


def _scaled(goal: str, candidates: Iterable[Candidate]) -> list[float]:
    return [c.values.get(goal, math.nan) * GOALS[goal][1] for c in candidates]


def _thinned(entries: Sequence[Any]) -> Sequence[Any]:
    return entries[:: -(-len(entries) // _MOST_DOTS) or 1]


def _about(candidate: Candidate, point: Point, *more: str) -> str:
    """What the hover box says about a design."""
    values = ", ".join(f"{title(goal)} {value(goal, number)}" for goal, number in candidate.values.items())
    values += sure(candidate)
    return hover(candidate.name, point.name, *more, values, *choices(candidate))


def _baseline_of(point: Point) -> Candidate | None:
    return point.baseline if point.baseline and point.baseline.fine else None


# ----------------------------------------------------------------------------------------------------------- searches


def convergence(run: Run, winner: Point) -> Figure:
    """Designs in the order of the proposals and the best so far, one panel per objective."""
    goals = winner.goals
    others = [point for point in run.points if point.goals == goals and point.best and point is not winner]
    base = _baseline_of(winner)
    tracks = {p.index: [*itertools.chain.from_iterable(p.generations), *p.unfinished] for p in (*others, winner)}
    longest = max(map(len, tracks.values()))
    data: list[Trace] = []
    layout: dict[str, Any] = {"xaxis": _axis("designs proposed"), "hovermode": "closest"}
    if len(goals) > 1:
        layout["grid"] = {"rows": len(goals), "columns": 1, "pattern": "coupled"}
    for row, goal in enumerate(goals):
        y = "y" if row == 0 else f"y{row + 1}"
        place: Trace = {"xaxis": "x", "yaxis": y, "showlegend": row == 0}
        panel = [{**_cloud(tracks[winner.index], goal, winner), **place, "legendgroup": "cloud"}]
        for i, point in enumerate(others):
            few = len(others) < _MOST_SERIES
            line = {"shape": "hv", "width": 1.2, "color": _SERIES[i + 1] if few else _GREY}
            marks = {**place, "legendgroup": str(point.index), "opacity": 1.0 if few else 0.5}
            marks["showlegend"] = few and row == 0
            panel.append(_trace("lines", point.name, *_so_far(tracks[point.index], goal), (), line=line, **marks))
        line = {"shape": "hv", "width": 2.5, "color": _BLUE}
        name = f"best so far, {winner.name}" if others else "best so far"
        panel.append(
            _trace("lines", name, *_so_far(tracks[winner.index], goal), (), line=line, legendgroup="best", **place)
        )
        if base and goal in base.values:
            ys = _scaled(goal, [base, base])
            line = {"dash": "dash", "color": _ORANGE, "width": 1.5}
            name = f"baseline {base.name}"
            panel.append(_trace("lines", name, [1, longest], ys, (), line=line, legendgroup="base", **place))
        layout[f"yaxis{y[1:]}"] = _goal_axis(goal, [number for trace in panel for number in trace["y"]])
        data += panel
    caption = "Every dot is a design that works, the line the best of them so far"
    caption += f", the broken line the baseline {base.name}." if base else "."
    if winner.generations:
        caption += f" {len(winner.generations)} generations of {len(winner.generations[0])} designs."
    if others:
        caption += f" The other lines are the other {len(others)} points of the sweep that have a design."
    return Figure(data, layout, caption, 160 + 220 * len(goals))


def _so_far(track: Sequence[Candidate], goal: str) -> tuple[list[int], list[float]]:
    values = [c.scores([goal])[0] for c in track]
    best = [(i, number) for i, number in enumerate(itertools.accumulate(values, min), 1) if number < math.inf]
    factor = -GOALS[goal][1] if goal == "accuracy" else GOALS[goal][1]
    return [i for i, _ in best], [number * factor for _, number in best]


def _cloud(track: Sequence[Candidate], goal: str, point: Point) -> Trace:
    """Designs that work, at their place in the search."""
    first: dict[str, str] = {c.digest: "generation not finished" for c in point.unfinished}
    for number, members in enumerate(point.generations):
        for candidate in members:
            first.setdefault(candidate.digest, f"generation {number}")
    dots = _thinned([(i, c) for i, c in enumerate(track, 1) if c.fine])
    return _trace(
        "markers",
        "designs" if len(dots) == sum(c.fine for c in track) else f"{len(dots)} of the designs",
        [i for i, _ in dots],
        _scaled(goal, (c for _, c in dots)),
        [_about(c, point, first[c.digest]) for _, c in dots],
        marker={"size": 6, "color": _GREY, "opacity": 0.7},
    )


def given(point: Point) -> list[Figure]:
    """Given accelerators side by side, a figure per objective."""
    fine = sorted((c for c in point.tried if c.fine), key=lambda c: c.scores(point.goals[:1]))
    base = _baseline_of(point)
    figures = []
    for goal, (name, _, unit) in GOALS.items():
        if not all(goal in c.values for c in fine):
            continue
        bars: Trace = {
            "type": "bar",
            "orientation": "h",
            "x": _scaled(goal, fine),
            "y": [hover(c.name) for c in fine],
            "text": [hover(value(goal, c.values[goal])) for c in fine],
            "textposition": "auto",
            "hovertemplate": "%{y}: %{text}<extra></extra>",
            "marker": {"color": [_BLUE if c is point.best else _GREY for c in fine]},
        }
        layout: dict[str, Any] = {
            "xaxis": _axis(name, unit, rangemode="tozero", nticks=5),
            "yaxis": {"automargin": True, "autorange": "reversed", "type": "category"},
            "showlegend": False,
        }
        better = "more" if goal == "accuracy" else "less"
        caption = f"{name} of the given accelerators, {better} is better."
        if base and goal in base.values:
            (at,) = _scaled(goal, [base])
            line = {"color": _ORANGE, "dash": "dash", "width": 1.5}
            layout["shapes"] = [{"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "yref": "paper", "line": line}]
            caption = caption[:-1] + f"; the broken line is the baseline {base.name}."
        figures.append(Figure([bars], layout, caption, 130 + 34 * len(fine)))
    return figures


def fronts(run: Run) -> list[Figure]:
    """A figure per pair of objectives, with the front of every point."""
    groups: dict[tuple[str, ...], list[Point]] = {}
    for point in run.points:
        if len(point.goals) > 1 and point.front:
            groups.setdefault(point.goals, []).append(point)
    return [
        _front(points, x, y, len(goals))
        for goals, points in groups.items()
        for x, y in itertools.combinations(goals, 2)
    ]


def accuracy_fronts(run: Run) -> list[Figure]:
    """Networks that no other one beats in accuracy and cost, of all designs of the points that searched networks."""
    found = []
    for point in run.points:
        nas = point.sheet.nas if point.sheet else None
        if nas is None or not any(c.front for c in point.tried):
            continue
        goal = mapping_objective(point.goals)
        factor = GOALS[goal][1]
        rows = [(row, c) for c in point.tried for row in c.front]
        best = [rows[i] for i in front_of([row for row, _ in rows], goal)]
        members = {id(row) for row, _ in best}

        if point.given:
            data = [
                _networks(
                    goal,
                    "lines+markers",
                    c.name,
                    [(row, c) for row in c.front],
                    marker={"size": 6, "color": _SERIES[i % len(_SERIES)]},
                    line={"shape": "hv", "width": 1.2, "color": _SERIES[i % len(_SERIES)]},
                )
                for i, c in enumerate(c for c in point.tried if c.front)
            ]
        else:
            others = _thinned([(row, c) for row, c in rows if id(row) not in members])
            data = [
                _networks(
                    goal,
                    "markers",
                    "fronts of other designs",
                    others,
                    marker={"size": 4, "color": _GREY, "opacity": 0.45},
                ),
                _networks(
                    goal,
                    "lines+markers",
                    "front of all designs",
                    best,
                    marker={"size": 7, "color": _BLUE},
                    line={"shape": "hv", "width": 1.2, "color": _BLUE},
                ),
            ]
        base = _baseline_of(point)
        if base and goal in base.values and "accuracy" in base.values:
            style = {"size": 11, "symbol": "diamond", "color": _ORANGE}
            data.append(
                _trace(
                    "markers",
                    f"baseline {base.name}",
                    [base.values[goal] * factor],
                    [base.values["accuracy"]],
                    [_about(base, point)],
                    marker=style,
                )
            )
        layout: dict[str, Any] = {
            "xaxis": _goal_axis(goal, [x for trace in data for x in trace["x"]]),
            "yaxis": _axis("accuracy"),
            "hovermode": "closest",
        }
        for level in nas.at_least:
            line = {"color": _GREY, "dash": "dot", "width": 1}
            shape = {"type": "line", "x0": 0, "x1": 1, "xref": "paper", "y0": level, "y1": level, "line": line}
            layout.setdefault("shapes", []).append(shape)
        named = f", {point.name}" if point.name else ""
        asked = "; dotted, what was asked for" if nas.at_least else ""
        if nas.mode == "nested" and len(nas.at_least) < 2:
            asked += ". Networks that a lower bound showed to be no better were not priced and are not here"
        found.append(Figure(data, layout, f"Accuracy against {title(goal)}{named}{asked}.", 400))
    return found


def _networks(goal: str, mode: str, name: str, listed: Sequence[tuple[Any, Candidate]], **more: Any) -> Trace:
    """Networks of fronts: cost against accuracy."""
    _, factor, unit = GOALS[goal]
    xs = [goal_value(row[1], row[2], goal) * factor for row, _ in listed]
    texts = [
        hover(f"accuracy {row[0]:.4g}, {title(goal)} {with_unit(x, unit)}", f"on {c.name}")
        for (row, c), x in zip(listed, xs, strict=True)
    ]
    return _trace(mode, name, xs, [row[0] for row, _ in listed], texts, **more)


def _front(points: Sequence[Point], x: str, y: str, objectives: int) -> Figure:
    few = len(points) <= _MOST_SERIES

    def seen(mode: str, name: str, designs: Sequence[tuple[Candidate, Point]], **more: Any) -> Trace:
        listed = [c for c, _ in designs]
        if y == "accuracy" and mode != "markers" and any(c.uncertainty for c in listed):
            bars = [c.uncertainty or 0.0 for c in listed]
            more["error_y"] = {"type": "data", "array": bars, "thickness": 1, "width": 3}
        return _trace(mode, name, _scaled(x, listed), _scaled(y, listed), [_about(*d) for d in designs], **more)

    beaten = {p.index: {c.digest for c in p.tried if c.fine} - {c.digest for c in p.front} for p in points}
    others = [(c, p) for p in points for c in p.tried if c.digest in beaten[p.index]]
    style = {"size": 5, "color": _GREY, "opacity": 0.45}
    data = [seen("markers", "other designs", _thinned(others), marker=style)]
    for i, point in enumerate(points):
        color = _SERIES[i] if few else _BLUE
        data.append(
            seen(
                # Two objectives make a line; it has corners because no design lies between two of the front.
                "lines+markers" if objectives == 2 else "markers",
                f"front, {point.name}" if point.name else "front",
                [(c, point) for c in point.front],
                marker={"size": 8, "color": color},
                line={"shape": "hv", "width": 1, "color": color},
                showlegend=few,
            )
        )
    bases = {tuple(base.values.items()): (base, p) for p in points if (base := _baseline_of(p))}
    if bases:
        style = {"size": 11, "symbol": "diamond", "color": _ORANGE}
        data.append(seen("markers", "baseline", list(bases.values()), marker=style))
    layout = {
        "xaxis": _goal_axis(x, [number for trace in data for number in trace["x"]]),
        "yaxis": _goal_axis(y, [number for trace in data for number in trace["y"]]),
        "hovermode": "closest",
    }
    caption = f"{title(y)} against {title(x)}"
    if objectives > 2:
        caption += "; what looks beaten here is better in another objective"
    return Figure(data, layout, caption + ".", 400)


def sweep(run: Run) -> list[Figure]:
    """The best design over the swept values: a line per second value where two form a grid, or a figure per axis."""
    points = [point for point in run.points if point.best]
    if not points:
        return []
    keys = list(points[0].label)
    lines: list[str] = []
    if len(keys) == 2:
        lines = list(dict.fromkeys(said(point.label[keys[1]]) for point in points))
        if len(lines) > _MOST_SERIES or len(lines) * len({said(p.label[keys[0]]) for p in points}) != len(points):
            lines = []
    goals = {point.goals for point in points}
    goal = points[0].goals[0] if len(goals) == 1 and len(points[0].goals) == 1 else "edp"
    if lines:
        return [_sweep(points, keys[0], goal, dict.fromkeys(lines, keys[1]))]
    return [_sweep(points, key, goal, {}, joined=len(keys) == 1) for key in keys]


def _sweep(points: Sequence[Point], key: str, goal: str, lines: Mapping[str, str], joined: bool = True) -> Figure:
    numbers = {said(point.label[key]): _number(point.label[key]) for point in points}
    places = {text: number for text, number in numbers.items() if number is not None}
    numeric = len(places) == len(numbers)
    if numeric:
        points = sorted(points, key=lambda point: places[said(point.label[key])])
    mode = "lines+markers" if numeric and joined else "markers"
    data = []
    for i, line in enumerate(lines or [""]):
        here = [point for point in points if not line or said(point.label[lines[line]]) == line]
        xs = [places[said(p.label[key])] if numeric else hover(said(p.label[key])) for p in here]
        best = [(p.best, p) for p in here if p.best]
        color = _SERIES[i]
        data.append(
            _trace(
                mode,
                f"{lines[line].rpartition('.')[2]} {line}" if line else "best design",
                xs,
                _scaled(goal, (c for c, _ in best)),
                [_about(*each) for each in best],
                marker={"size": 8, "color": color},
                line={"width": 1.5, "color": color},
            )
        )
        bases = [(base, p) for p in here if (base := _baseline_of(p))]
        # Baselines differ where the sweep touches networks or the baseline, and not from line to line.
        if i == 0 and len(bases) == len(here):
            ys = _scaled(goal, (c for c, _ in bases))
            style = {"marker": {"size": 4, "color": _ORANGE}, "line": {"dash": "dash", "width": 1.5, "color": _ORANGE}}
            data.append(_trace(mode, "baseline", xs, ys, [_about(*each) for each in bases], **style))
    axis = _axis(key, "", places.values() if numeric else ())
    if not numeric:
        axis["type"] = "category"
    elif len(places) <= 10:
        axis |= {"tickvals": list(places.values()), "ticktext": list(map(hover, places))}
    values = [number for trace in data for number in trace["y"]]
    layout = {"xaxis": axis, "yaxis": _goal_axis(goal, values), "hovermode": "closest"}
    return Figure(data, layout, f"{title(goal)} of the best design over {key}.")


def _number(chosen: Any) -> float | None:
    """A swept value as a number in the unit of its kind, if it is one."""
    if isinstance(chosen, bool):
        return None
    try:
        number, unit = split_unit(chosen)
    except ValueError:
        return None
    return number * next((known[unit] for known in UNITS.values() if unit in known), 1.0)


# ------------------------------------------------------------------------------------------------------------- layers


def energy(shown: Sequence[tuple[Design, Sequence[Row]]], listed: str) -> Figure:
    """Energy of every layer by part, a panel per design."""
    colors = _part_colors(shown)
    data: list[Trace] = []
    for part, color in colors.items():
        first = True
        for number, (design, rows) in enumerate(shown):
            joules = [row.parts.get(part, 0.0) * 1e-12 for row in rows]
            if any(joules):
                texts = [hover(f"{row.name} {row.operator}", f"{part} on {design.title}") for row in rows]
                data.append(
                    {
                        **_bars(rows, part, joules, texts, color),
                        "hovertemplate": "%{text}<br>%{y:.4s}J<extra></extra>",
                        "legendgroup": part,
                        "showlegend": first,
                        "xaxis": "x",
                        "yaxis": "y" if number == 0 else f"y{number + 1}",
                    }
                )
                first = False
    top = max((row.energy_j for _, rows in shown for row in rows), default=0.0) * 1.05 or 1.0
    layout: dict[str, Any] = {"barmode": "stack", "xaxis": _layer_axis(shown[0][1]), "hovermode": "closest"}
    for number, (design, _) in enumerate(shown):
        # One range, so that bars of both panels compare.
        layout["yaxis" if number == 0 else f"yaxis{number + 1}"] = _axis(design.title, "J", range=[0, top], nticks=6)
    if len(shown) > 1:
        layout["grid"] = {"rows": len(shown), "columns": 1, "pattern": "coupled", "ygap": 0.12}
    return Figure(data, layout, f"Energy by part: {listed}.", 230 + 170 * len(shown))


def latency(shown: Sequence[tuple[Design, Sequence[Row]]]) -> Figure:
    """Latency of every layer, the designs side by side."""
    data = []
    for (design, rows), color in zip(shown, (_BLUE, _ORANGE), strict=False):
        texts = [
            hover(
                f"{row.name} {row.operator}",
                f"{design.title}: {with_unit(row.latency_s, 's')}",
                f"limited by {row.bottleneck}, utilisation {percent(row.utilisation)}",
            )
            for row in rows
        ]
        data.append(_bars(rows, design.title, [row.latency_s for row in rows], texts, color))
    layout = {
        "barmode": "group",
        "xaxis": _layer_axis(shown[0][1]),
        "yaxis": _axis("latency", "s", rangemode="tozero"),
        "hovermode": "closest",
    }
    return Figure(data, layout, "Latency by layer.", 360)


def _bars(rows: Sequence[Row], name: str, ys: list[float], texts: list[str], color: str) -> Trace:
    return {
        "type": "bar",
        "name": hover(name),
        "x": _layer_names(rows),
        "y": ys,
        "text": texts,
        "textposition": "none",
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {"color": color},
    }


def _layer_axis(rows: Sequence[Row]) -> Axis:
    small = {"tickangle": -50, "tickfont": {"size": 10}, "automargin": True, "showgrid": False}
    return {"type": "category", "categoryorder": "array", "categoryarray": _layer_names(rows), **small}


def _layer_names(rows: Sequence[Row]) -> list[str]:
    """Names for an axis: of long ones the end, which differs more than the beginning, and all of them different."""
    short = [row.name if len(row.name) <= _LONGEST_NAME else "…" + row.name[1 - _LONGEST_NAME :] for row in rows]
    counts = Counter(short)
    return [hover(name if counts[name] == 1 else f"{name} #{i}") for i, name in enumerate(short, 1)]


def _part_colors(shown: Sequence[tuple[Design, Sequence[Row]]]) -> dict[str, str]:
    """Parts of the energy in the order of the stack: levels of all designs, other parts, then what all have."""
    levels = [level.name for design, _ in shown if design.accelerator for level in design.accelerator.levels]
    parts = [part for _, rows in shown for row in rows for part in row.parts if part not in _PARTS]
    names = list(dict.fromkeys([*levels, *parts]))
    return {name: _LEVELS[i % len(_LEVELS)] for i, name in enumerate(names)} | _PARTS


def roofline(shown: Sequence[Design]) -> Figure | None:
    """MACs per second against MACs per byte of the outermost level, every shape once; None without such shapes."""
    marks = {design.title: _operating_points(design) for design in shown}
    xs = [mark.intensity for listed in marks.values() for mark in listed]
    if not xs:
        return None
    built = {design.title: design.accelerator for design in shown if design.accelerator is not None}
    ridges = {name: _ridge(accelerator) for name, accelerator in built.items()}
    ends = [*xs, *(ridge for ridge in ridges.values() if ridge)]
    low, high = min(ends) / 2, max(ends) * 2
    data: list[Trace] = []
    for design, color, dash, symbol in zip(
        shown, (_BLUE, _ORANGE), ("solid", "dash"), ("circle", "diamond"), strict=False
    ):
        accelerator, ridge, listed = built[design.title], ridges[design.title], marks[design.title]
        outermost = accelerator.levels[0].name
        peak = accelerator.macs * accelerator.clock_hz
        roof_x = [low, ridge, high] if ridge else [low, high]
        roof_y = [peak * min(1.0, x / ridge) if ridge else peak for x in roof_x]
        text = hover(
            f"{design.title}: peak {with_unit(peak, 'MAC/s')}",
            f"ridge at {ridge:.4g} MACs per byte" if ridge else f"{outermost} bandwidth without a limit",
        )
        line = {"color": color, "width": 1.8, "dash": dash}
        data.append(_trace("lines", f"roof of {design.title}", roof_x, roof_y, [text] * len(roof_x), line=line))
        texts = [
            hover(
                mark.name,
                mark.row.operator,
                f"{mark.intensity:.4g} MACs per byte, {with_unit(mark.rate, 'MAC/s')}",
                f"{with_unit(mark.row.traffic_bytes, 'B')} of {outermost} traffic",
                f"{mark.share:.1%} of the time, limited by {mark.row.bottleneck}",
            )
            for mark in listed
        ]
        sizes = [6 + 26 * math.sqrt(mark.share) for mark in listed]
        marker = {"color": color, "opacity": 0.7, "symbol": symbol, "size": sizes}
        rates = [mark.rate for mark in listed]
        name = f"layers on {design.title}"
        data.append(_trace("markers", name, [mark.intensity for mark in listed], rates, texts, marker=marker))
    outermost = built[shown[0].title].levels[0].name
    layout = {
        "xaxis": _axis(f"MACs per byte of {outermost} traffic", "", ends, tickformat="~g"),
        "yaxis": _axis("MACs per second", "MAC/s", [y for trace in data for y in trace["y"]]),
        "hovermode": "closest",
    }
    caption = (
        "Layers that multiply and accumulate, every shape once; the larger the mark, the more of the time. "
        "No layer can be above the roof of its design."
    )
    return Figure(data, layout, caption, 460)


@dataclass(frozen=True)
class _Mark:
    """A shape in a roofline: MACs per byte, MACs per second, its share of the design's time."""

    intensity: float
    rate: float
    row: Row
    name: str
    share: float


def _operating_points(design: Design) -> list[_Mark]:
    """Shapes whose traffic is known."""
    shapes = [(row, names) for row, names in design.shapes.values() if row.macs and row.traffic_bytes]
    total = sum(row.latency_s for rows in design.layers.values() for row in rows)
    found = []
    for row, names in shapes:
        assert row.macs
        name = names[0][1] + (f" and {len(names) - 1} more" if len(names) > 1 else "")
        share = row.latency_s * len(names) / total
        found.append(_Mark(row.macs / row.traffic_bytes, row.macs / row.latency_s, row, name, share))
    return found


def _ridge(accelerator: SpatialAccelerator) -> float | None:
    """MACs per byte at which the peak and the bandwidth of the outermost level meet; None if that has no limit.

    Ports of their own for reads and for writes move at most the sum of both.
    """
    level = accelerator.levels[0]
    rate = level.shared_bandwidth_bytes_per_cycle
    read, write = level.read_bandwidth_bytes_per_cycle, level.write_bandwidth_bytes_per_cycle
    if rate is None and read is not None and write is not None:
        rate = read + write
    return None if rate is None else accelerator.macs / rate
