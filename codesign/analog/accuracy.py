"""How accurate a trained network is on a crossbar, some time after its weights were written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch

from accelerators.costs import Infeasible
from accelerators.crossbar.crossbar import Crossbar
from accelerators.crossbar.devices import Device, name_of
from accelerators.crossbar.mapping import dynamic, place
from codesign.analog.evaluation import evaluate
from codesign.analog.hardware import crossbar_layers, on_crossbar
from codesign.analog.trained import TrainedNetwork, accuracy
from codesign.networks import Network

#: Inputs by which ranges are set.
CALIBRATION = 100


class Accuracy(NamedTuple):
    """Per cent of right answers over several programmings: mean, standard deviation (of the sample), what to know."""

    mean: float
    std: float
    notes: tuple[str, ...]


def accuracy_after(
    trained: TrainedNetwork,
    crossbar: Crossbar,
    *,
    time_s: float,
    programmings: int = 5,
    seed: int = 0,
    images: int | None = None,
    device: Device | None = None,
) -> Accuracy:
    """The accuracy of a network ``time_s`` after a crossbar was programmed with it, see :func:`accuracies_after`."""
    return accuracies_after(
        trained, crossbar, [time_s], programmings=programmings, seed=seed, images=images, device=device
    )[0]


def accuracies_after(
    trained: TrainedNetwork,
    crossbar: Crossbar,
    times_s: Sequence[float],
    *,
    programmings: int = 5,
    seed: int = 0,
    images: int | None = None,
    device: Device | None = None,
) -> list[Accuracy]:
    """Accuracies of a network at some times after programming, as :mod:`codesign.analog.hardware` computes it.

    All images are classified, or the first ``images`` of them. A time has the same result whatever other times are
    asked for: all times of a programming share its cells and the draws of their read-outs. ``device`` takes the place
    of the one in the datasheet. Runs on one thread; the number of threads is left as it was.

    Where the weights do not fit, they are written anew for every run and have no time to drift: the time counts as 0.
    Beyond the times for which a device has a model (resistive RAM: 2 days) the last of these counts. Both are noted.

    Raises ValueError for a crossbar that cannot be or cannot hold a layer, for counts below 1 and negative times.
    """
    for name, value in (("programmings", programmings), ("images", images)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ValueError(f"{name} must be an integer >= 1 (got {value!r})")
    for time in times_s:
        if not 0 <= time < float("inf"):
            raise ValueError(f"time after programming must be >= 0 s (got {time!r})")
    fits = needed_arrays(trained.network, crossbar) <= crossbar.arrays
    inputs, labels = trained.inputs[:images], trained.labels[:images]
    calibration = trained.inputs if trained.calibration is None else trained.calibration
    used = crossbar.cell.device if device is None else device
    with _one_thread():
        model = on_crossbar(trained.module, crossbar, device, calibration=calibration[:CALIBRATION])
        notes = _notes(trained, crossbar, used, [layer.lossless for layer in crossbar_layers(model)], fits)
        if used is None:
            found = Accuracy(accuracy(model, inputs, labels), 0.0, notes)
            return [found for _ in times_s]
        known: dict[float, Accuracy] = {}
        results = []
        for time in times_s:
            last = used.known_until_s
            at = min(time, last) if fits else 0.0
            if at not in known:
                each = evaluate(model, inputs, labels, times_s=[at], programmings=programmings, seed=seed)
                known[at] = Accuracy(100 * float(each.mean()[0]), 100 * float(each.std()[0]), notes)
            held = f"{name_of(used)} is known up to {last / 86400:g} days: accuracy of that time"
            later = (held,) if fits and time > last else ()
            results.append(known[at]._replace(notes=notes + later))
    return results


def needed_arrays(network: Network, crossbar: Crossbar) -> int:
    """Arrays that one copy of all weights takes; ValueError, naming the layer, if one cannot lie on arrays."""
    if crossbar.problems:
        raise ValueError("; ".join(f"{crossbar.name}: {name} {rule}" for name, rule in crossbar.problems))
    arrays = 0
    for layer in network:
        if layer.operator.passes or dynamic(layer.operator):
            continue
        placed = place(crossbar, layer.operator)
        if isinstance(placed, Infeasible):
            raise ValueError(f"{crossbar.name} cannot hold {layer.name}: {placed}")
        arrays += placed.arrays
    return arrays


def _notes(
    trained: TrainedNetwork, crossbar: Crossbar, device: Device | None, lossless: list[bool], fits: bool
) -> tuple[str, ...]:
    said = ["exact cells" if device is None else f"cells: {name_of(device)}"]
    if not crossbar.is_digital:
        short = len(lossless) - sum(lossless)
        bits = f"converters of {crossbar.adc_bits} bits"
        said.append(f"{bits} truncate in {short} of {len(lossless)} layers" if short else f"{bits} lose nothing")
    if not fits:
        said.append("weights do not fit: written anew for every run, so they do not age")
    if trained.calibration is None:
        said.append("no calibration data: ranges are those of the images themselves")
    return tuple(said)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Results depend on how sums are split over threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
