"""A space small enough to evaluate every design of it, and the table of what all of them score."""

from __future__ import annotations

import functools
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accelerators.documents import DocumentError
from benchmarks._common import BadInputError, read_text
from codesign.experiments.candidates import evaluate_candidate
from codesign.experiments.experiment import Experiment, Point
from codesign.experiments.specifications import load_network
from codesign.networks import Network
from codesign.search import Design, HardwareSpace
from codesign.search.parameters import Connectivity
from codesign.search.space import Values
from mappers.processes import worker_pool

_CHUNK = 100
#: Designs whose score is taken from their mirror image, and which are evaluated all the same.
_VERIFIED = 100
_MIRRORED = {"P": "Q", "Q": "P", "R": "S", "S": "R"}


@dataclass(frozen=True)
class Table:
    """What every valid design of a space scores.

    ``scores`` by :func:`key`, infinite for designs on which a layer has no mapping. ``choices`` counts the
    combinations of values, ``different`` the valid designs that are no mirror image of one another, ``distinct`` their
    different scores. ``gap`` is the largest certified distance of a mapping from its optimum (None: a mapper without
    proof).
    """

    scores: dict[str, float]
    choices: int
    different: int
    distinct: int
    gap: float | None
    seconds: float

    @property
    def optimum(self) -> float:
        """The best score of all."""
        return min(self.scores.values())

    @functools.cached_property
    def ordered(self) -> NDArray[np.float64]:
        """(n,) all scores over the optimum, ascending."""
        return np.sort(np.array(list(self.scores.values()))) / self.optimum

    def within(self, excess: float) -> int:
        """How many designs are at most so much above the optimum."""
        return int((self.ordered <= 1 + excess).sum())


def experiment(text: str, source: Path) -> Point:
    """The only point of an experiment that searches one objective."""
    points = Experiment.parse(text, source).points
    if len(points) != 1 or points[0].space is None or len(points[0].sheet.objective) != 1:
        raise BadInputError(f"{source}: must search a space for one objective, without sweep")
    return points[0]


def read_experiment(path: Path, layers: str | None) -> str:
    """Text of an experiment's file, checked; ``layers`` must begin the name of a layer of each of its networks."""
    text = read_text(path)
    try:
        networks = _parts(experiment(text, path), layers)
    except DocumentError as error:
        raise BadInputError(str(error)) from None
    for network in networks:
        if not len(network):
            raise BadInputError(f"--layers: no layer of {network.name} with MACs begins with {layers!r}")
    return text


def _parts(point: Point, layers: str | None) -> list[Network]:
    """The experiment's networks, or of each the layers with MACs whose names begin with a text."""
    whole = [load_network(specification) for specification in point.networks]
    if layers is None:
        return whole
    parts = []
    for network in whole:
        part = Network(network.name)
        for layer in network:
            if layer.name.startswith(layers) and not layer.operator.passes:
                part.add(layer.name, layer.operator)
        parts.append(part)
    return parts


@functools.cache
def _prepared(text: str, source: Path, layers: str | None) -> tuple[Point, list[Network]]:
    """Once per process."""
    point = experiment(text, source)
    return point, _parts(point, layers)


#: Score and gap of a design, or None if it is not valid.
_Scored = tuple[float, float | None] | None


def _scored(text: str, source: Path, layers: str | None, several: Sequence[Values]) -> list[_Scored]:
    point, networks = _prepared(text, source, layers)
    assert point.space is not None
    found: list[_Scored] = []
    for values in several:
        built = point.space.build(values)
        if not isinstance(built, Design):
            found.append(None)
            continue
        record = evaluate_candidate(built.accelerator, networks, **point.settings)
        fine = record["status"] == "ok"
        score = record["objectives"][point.sheet.objective[0]] if fine else float("inf")
        found.append((score, record["gap"] if fine else 0.0))
    return found


def key(values: Values) -> str:
    """What a design chose, as text."""
    return json.dumps(values, sort_keys=True)


def _mirrors(values: Values, arrays: Sequence[str], square: bool) -> tuple[Any, ...]:
    """The same for designs that differ in the order of their axes only, or in rows for columns if layers are square."""
    forms = []
    for names in ({}, _MIRRORED) if square else ({},):
        form = []
        for name, value in values.items():
            if name in arrays:
                value = tuple(sorted((tuple(names.get(d, d) for d in dims), size) for dims, size in value))
            form.append((name, repr(value)))
        forms.append(tuple(form))
    return min(forms)


def enumerate_all(text: str, source: Path, layers: str | None, workers: int) -> Table:
    """Evaluate every design; of mirror images only one, and a sample of the others to be sure.

    Raises :class:`~benchmarks._common.BadInputError` if mirror images do not score the same.
    """
    start = time.perf_counter()
    point, networks = _prepared(text, source, layers)
    assert isinstance(point.space, HardwareSpace)
    groups = _grouped(point.space, networks)
    firsts = [members[0] for members in groups]
    chunks = [firsts[i : i + _CHUNK] for i in range(0, len(firsts), _CHUNK)]
    images = [group for group in groups if len(group) > 1]
    sample = random.Random(0).sample(images, min(_VERIFIED, len(images)))
    with worker_pool(workers) as pool:
        done = [pool.submit(_scored, text, source, layers, chunk) for chunk in chunks]
        again = pool.submit(_scored, text, source, layers, [group[-1] for group in sample])
        results = [result for future in done for result in future.result()]
        repeated = again.result()
    by_first = {key(first): result for first, result in zip(firsts, results, strict=True)}
    for group, result in zip(sample, repeated, strict=True):
        if by_first[key(group[0])] != result:
            raise BadInputError(f"mirror images differ: {group[0]} and {group[-1]}")
    valid = [(group, result) for group, result in zip(groups, results, strict=True) if result is not None]
    if not valid or not np.isfinite(min(score for _, (score, _) in valid)):
        raise BadInputError(f"{source}: no design runs the layers")
    gaps = [gap for _, (_, gap) in valid]
    return Table(
        {key(values): score for group, (score, _) in valid for values in group},
        sum(map(len, groups)),
        len(valid),
        len({score for _, (score, _) in valid}),
        None if None in gaps else max(gap for gap in gaps if gap is not None),
        time.perf_counter() - start,
    )


def _grouped(space: HardwareSpace, networks: Sequence[Network]) -> list[list[Values]]:
    """All choices of values, mirror images together."""
    bounds = [dict(layer.operator.bounds) for network in networks for layer in network]
    square = all(each.get(a) == each.get(b) for each in bounds for a, b in ("PQ", "RS"))
    arrays = [name for name, parameter in space.parameters.items() if isinstance(parameter, Connectivity)]
    groups: dict[tuple[Any, ...], list[Values]] = {}
    for values in space.designs():
        groups.setdefault(_mirrors(values, arrays, square), []).append(values)
    return list(groups.values())
