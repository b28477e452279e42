"""What a worker does: evaluate one candidate, given as plain data."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Mapping
from typing import Any

from accelerators import catalog
from accelerators.catalog import Hardware
from accelerators.crossbar.crossbar import Crossbar
from accelerators.documents import Document
from codesign import devices
from codesign.devices import Device
from codesign.experiments.candidates import Record, add_accuracy, evaluate_candidate
from codesign.experiments.network_search import NetworkSearch, NothingRunsError
from codesign.experiments.specifications import Stamps, load_network, member, stamps, trained_network
from codesign.nas.spaces import Code
from codesign.networks import Network
from codesign.search.budget import Budget
from mappers import MAPPERS


def evaluate_task(task: Record) -> Record:
    """Evaluate a candidate: ``datasheet``, ``settings``, and what runs on it, as plain data.

    That is ``networks`` (specifications), or the network that ``nas`` finds, or its member ``code``. The record is that
    of :func:`~codesign.experiments.candidates.evaluate_candidate` with ``seconds``; networks that were searched have
    their ``specification`` and accuracy, ``front`` and ``judged`` are those of the search.
    """
    start = time.perf_counter()
    try:
        result = _evaluated(task)
    except NothingRunsError as error:
        result = {"status": "infeasible", "code": error.code, "reason": str(error)}
    except Exception as error:
        # One candidate, such as one with too large a space for the mapper, is no reason to end a search.
        why = str(error).splitlines()
        result = {"status": "failed", "code": type(error).__name__, "reason": why[0] if why else type(error).__name__}
    return {**result, "seconds": time.perf_counter() - start}


def hardware_of(datasheet: Mapping[str, Any], name: str = "candidate") -> Hardware | Device:
    """Hardware from a datasheet as plain data, or the measured device that it names; raises DocumentError."""
    if "device" in datasheet:
        return devices.load(datasheet["device"])
    return catalog.from_document(Document(name, datasheet))


def mapping_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of an experiment as :meth:`~codesign.experiments.network_search.NetworkSearch.run` takes them."""
    mapper = None if settings["mapper"] is None else MAPPERS[settings["mapper"]]
    rest = {key: value for key, value in settings.items() if key not in ("budget", "mapper")}
    return {**rest, "mapper": mapper, "power_mw": (settings["budget"] or {}).get("power_mw")}


def require_within(hardware: Hardware | Device, settings: Mapping[str, Any]) -> None:
    """Raise :class:`~codesign.experiments.network_search.NothingRunsError` for hardware above the budget."""
    excess = None if isinstance(hardware, Device) else Budget(**(settings["budget"] or {})).excess(hardware)
    if excess is not None:
        raise NothingRunsError(excess.code, excess.message)


def _evaluated(task: Record) -> Record:
    hardware = hardware_of(task["datasheet"])
    settings = task["settings"]
    if "nas" in task:
        return _searched(hardware, task["nas"], task.get("code"), settings)
    graphs = [
        _network_of(json.dumps(specification, sort_keys=True), stamps(specification))
        for specification in task["networks"]
    ]
    result = evaluate_candidate(hardware, graphs, **settings)
    if "accuracy" in task and result["status"] == "ok":
        wanted = task["accuracy"]
        names = [specification["trained"] for specification in task["networks"]]
        found = [trained_accuracy(name, hardware, wanted) for name in names]
        add_accuracy(result, {graph.name: each for graph, each in zip(graphs, found, strict=True)})
    if "stated_accuracy" in task and result["status"] == "ok":
        # A network of the baseline's own.
        (specification,), (graph,) = task["networks"], graphs
        result["networks"][graph.name]["specification"] = specification
        if task["stated_accuracy"] is not None:
            stated = {"accuracy": task["stated_accuracy"], "accuracy_kind": "stated", "uncertainty": None}
            add_accuracy(result, {graph.name: stated})
    return result


def trained_accuracy(name: str, hardware: Hardware | Device, wanted: Mapping[str, Any]) -> Record:
    """How accurate a trained network is on hardware: after a time on crossbars, as it is trained elsewhere."""
    from codesign.analog import accuracy_after
    from codesign.analog.trained import accuracy

    network, images = trained_network(name), wanted["images"]
    if not isinstance(hardware, Crossbar):
        found = accuracy(network.module, network.inputs[:images], network.labels[:images])
        return {"accuracy": found, "accuracy_kind": "trained", "uncertainty": None}

    after = accuracy_after(
        network,
        hardware,
        time_s=wanted["after"],
        programmings=wanted["programmings"],
        images=images,
        seed=wanted["seed"],
    )
    return {"accuracy": after.mean, "accuracy_kind": "trained, simulated", "uncertainty": after.std}


def _searched(hardware: Hardware | Device, nas: Record, code: Code | None, settings: Record) -> Record:
    search = NetworkSearch.of(nas)
    found: Record = {}
    mapped = None
    if code is not None:
        chosen: tuple[Code, ...] = (tuple(code),)
    else:
        require_within(hardware, settings)
        judged = search.run(hardware, **mapping_settings(settings))
        chosen, mapped = tuple(each for each in judged.chosen if each is not None), judged.mapped
        found = {"judged": judged.count, "front": [[*figures, list(row)] for *figures, row in judged.front]}
    names = _names(search, len(chosen))
    specifications = {
        name: member(nas, each, name, i) for i, (name, each) in enumerate(zip(names, chosen, strict=True))
    }
    graphs = [load_network(specification) for specification in specifications.values()]
    result = {**evaluate_candidate(hardware, graphs, mapped=mapped, **settings), **found}
    if result["status"] == "ok":
        for name, specification in specifications.items():
            result["networks"][name]["specification"] = specification
        add_accuracy(result, {name: _accuracy(search, each) for name, each in zip(names, chosen, strict=True)})
    return result


def _names(search: NetworkSearch, count: int) -> list[str]:
    """What the best networks of a space go by: its name, with the level of accuracy if there are several."""
    if count == 1:
        return [search.space.name]
    return [f"{search.space.name}, at least {level:.15g}" for level in search.levels]


def _accuracy(search: NetworkSearch, code: Code) -> Record:
    estimate = search.estimator.estimate(code)
    return {"accuracy": estimate.accuracy, "accuracy_kind": estimate.kind, "uncertainty": estimate.uncertainty}


@functools.lru_cache(maxsize=256)
def _network_of(specification: str, _: Stamps) -> Network:
    return load_network(json.loads(specification))
