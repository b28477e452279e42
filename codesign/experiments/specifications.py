"""Networks of an experiment as plain data, which ledgers keep and processes send.

Such a *specification* says either which network of the zoo, or which file (``network``, ``options``), or which member
of a space (``space``, ``options``, ``code``, ``batch``), and perhaps what it goes by (``name``); or a network that is
trained (``trained``: its name or file).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codesign import networks
from codesign.experiments.sheet import NetworkSheet
from codesign.nas import spaces
from codesign.nas.spaces import Space
from codesign.networks import Network

if TYPE_CHECKING:
    from codesign.analog.trained import TrainedNetwork


#: Characters of a path.
_LONGEST_PATH = 4096


def network_specification(sheet: NetworkSheet, folder: Path, trained: bool = False) -> dict[str, Any]:
    """Plain data for a network, perhaps a trained one; files are relative to a folder."""
    if trained:
        from codesign.analog.trained import NAMES

        return {"trained": sheet.network if sheet.network in NAMES else str(folder / sheet.network)}
    name = str(folder / sheet.network) if sheet.network.lower().endswith(".onnx") else sheet.network
    return {"network": name, "options": dict(sheet.options)}


def member(nas: Mapping[str, Any], code: Sequence[int], name: str, position: int = 0) -> dict[str, Any]:
    """The specification of a network of the space that a search goes through, and its place among several."""
    kept = {key: nas[key] for key in ("space", "options", "batch")}
    return {**kept, "code": list(code), "name": name, "position": position}


def load_network(specification: Mapping[str, Any]) -> Network:
    """The network of a specification.

    Raises NetworkError and ValueError for what is none, ImportError if a library for it is missing.
    """
    if "trained" in specification:
        trained = trained_network(specification["trained"])
        trained.network.name = trained.name
        return trained.network
    if "space" in specification:
        space = space_of(specification["space"], specification["options"])
        found = space.network(specification["code"], batch=specification["batch"])
    else:
        found = networks.load(specification["network"], **specification["options"])
    found.name = specification.get("name", found.name)
    return found


#: Paths with the time of the last change and the size, of files that a result depends on.
Stamps = tuple[tuple[str, int, int], ...]


def files_of(value: Any) -> tuple[Path, ...]:
    """The files that plain data names, those of folders included, in a fixed order."""
    if isinstance(value, Mapping):
        return tuple(dict.fromkeys(file for entry in value.values() for file in files_of(entry)))
    if isinstance(value, list | tuple):
        return tuple(dict.fromkeys(file for entry in value for file in files_of(entry)))
    if not isinstance(value, str) or "\0" in value or len(value) > _LONGEST_PATH:
        return ()
    path = Path(value)
    # Names of networks and spaces are no paths: those have a suffix or a folder.
    if not (path.suffix or path.is_absolute()) or not path.exists():
        return ()
    return tuple(sorted(file for file in path.rglob("*") if file.is_file())) if path.is_dir() else (path,)


def stamps(value: Any) -> Stamps:
    """What a cache of things made from these files depends on besides their names."""
    return tuple((str(file), found.st_mtime_ns, found.st_size) for file in files_of(value) if (found := file.stat()))


def trained_network(name: str) -> TrainedNetwork:
    """A trained network, once per process; raises ValueError, and ImportError without PyTorch."""
    return _trained(name, stamps(name))


@functools.lru_cache(maxsize=64)
def _trained(name: str, _: Stamps) -> TrainedNetwork:
    from codesign.analog import trained

    return trained.load(name)


def space_of(name: str, options: Mapping[str, Any]) -> Space:
    """A space of networks, once per process."""
    return _space(name, json.dumps(options, sort_keys=True), stamps([name, options]))


@functools.lru_cache(maxsize=64)
def _space(name: str, options: str, _: Stamps) -> Space:
    return spaces.load(name, **json.loads(options))
