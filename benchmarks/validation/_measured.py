"""Measured networks: files of latencies and energies by space, and the networks and devices that they speak of."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accelerators import catalog
from benchmarks._common import BadInputError, measurable
from codesign.files import read_arrays
from codesign.nas.spaces import fbnet, hat, nas_bench_201, ofa_mobilenet_v3
from codesign.networks import Network, NetworkError

LEAST_NETWORKS = 5
#: Networks that a worker does at once.
CHUNK = 64
_LARGEST_BATCH = 4096
_SUFFIX = re.compile(r"(?P<device>.+?)_(?P<what>lat_ms|energy_mj)(?P<computed>_reconstructed)?")
#: What devices are called in files, besides their names in the catalog; the longest name that fits counts.
_DEVICES = {
    "1080ti": "gtx_1080ti",
    "2080ti": "rtx_2080ti",
    "titanx": "titan_x",
    "titanxp": "titan_xp",
    "essential_ph": "essential_phone",
    "samsung_s7": "galaxy_s7",
    "samsung_a50": "galaxy_a50",
    "pixel2": "pixel_2",
    "pixel3": "pixel_3",
    "pixel_litert": "pixel_3",
    "raspi4": "raspberry_pi_4",
    "pi5_litert": "raspberry_pi_5",
    "pi5_onnx": "raspberry_pi_5_onnx",
    "pi5_torchmobile": "raspberry_pi_5_torchmobile",
    "gold_6240": "xeon_gold_6240",
    "gold_6226": "xeon_gold_6226",
    "silver_4114": "xeon_silver_4114",
    "silver_4210r": "xeon_silver_4210r",
    "note10": "galaxy_note10",
    "samsung_note10": "galaxy_note10",
    "pixel1": "pixel_1",
    "edgegpu": "jetson_tx2",
    "edgetpu": "edge_tpu",
    "raspi5": "raspberry_pi_5",
    "i7_8700k": "core_i7_8700k",
    "i9_9900k": "core_i9_9900k",
}
#: The same for HAT, whose authors name kinds: their board, their server's processor.
_HAT_DEVICES = {
    "gpu_titanxp": "titan_xp",
    "cpu_raspberrypi": "raspberry_pi_4",
    "cpu_xeon": "xeon_e5_2640_v4",
}
_HAT_LATENCIES = ("latency_mean_encoder", "latency_mean_decoder")
#: Prefixes that say who measured.
_SOURCES = ("help_", "hw360_")


@dataclass(frozen=True)
class Measurement:
    """What one device took for networks: ``rows`` are numbers of networks in the file, ``values`` in ms or mJ.

    ``hardware`` is a name of the catalog, or None for a device that it does not have; ``computed`` values come from a
    formula and not from a device. ``features`` (n, f) are what the authors' own models learnt from, if known.
    """

    key: str
    hardware: str | None
    batch: int
    energy: bool
    rows: NDArray[np.int64]
    values: NDArray[np.float64]
    computed: bool
    features: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Space:
    """Networks by row of a file, for a batch size; ``count`` rows.

    What was measured of a row is a sum over networks, so many runs of each (an encoder, and a decoder step by step).
    ``genes`` (count, f) have a one for every choice that a network made, if that is how the space is written.
    """

    count: int
    parts: Callable[[int, int], list[tuple[Network, int]]]
    #: Rows on which keys that begin so were really measured.
    measured_rows: Mapping[str, NDArray[np.int64]]
    genes: NDArray[np.uint8] | None = None


def read(path: Path, space: str, only: str | None) -> tuple[Space, list[Measurement]]:
    """The networks of a space and every measurement of a file, or the one with a key.

    Raises :class:`~benchmarks._common.BadInputError` for a file that is no such table: too few networks, lengths that
    differ, values that are no positive numbers.
    """
    try:
        data = read_arrays(path)
    except ValueError as error:
        raise BadInputError(str(error)) from None
    if space == _HAT:
        networks, found = _read_hat(path, data, only)
    else:
        networks = _SPACES[space](path, data)
        found = list(_measurements(path, data, networks, only))
    if not found:
        known = ", ".join(key for key in data if space == _HAT or _SUFFIX.fullmatch(key)) or "none"
        raise BadInputError(f"{path}: no measurement{f' {only!r}' if only else ''} (measurements: {known})")
    return networks, found


@functools.cache
def space_of(path: Path, space: str) -> Space:
    """The networks of a file, read once per process."""
    return read(path, space, None)[0]


def sampled(measurement: Measurement, networks: int | None) -> NDArray[np.int64]:
    """Positions among the measured rows: all of them, or a sample that is the same for all devices of a file."""
    count = len(measurement.rows)
    if networks is None or networks >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, networks, replace=False))


def _measurements(path: Path, data: Mapping[str, Any], space: Space, only: str | None) -> Iterator[Measurement]:
    for key, array in data.items():
        match = _SUFFIX.fullmatch(key)
        if match is None or (only is not None and key != only):
            continue
        if not key.isprintable():
            raise BadInputError(f"{path}: keys must be printable (got {key!a})")
        if array.ndim != 1 or array.dtype.kind not in "fiu":
            raise BadInputError(f"{path}: {key}: must be a list of numbers (got shape {array.shape} of {array.dtype})")
        if len(array) != space.count:
            raise BadInputError(f"{path}: {key}: must have {space.count} values, one per network (got {len(array)})")
        values = measurable(path, key, array)
        prefix = next((source for source in _SOURCES if key.startswith(source)), "")
        rows = space.measured_rows.get(prefix, np.arange(space.count))
        if space.genes is not None:
            # What is learnt from must not be asked for again.
            rows = rows[np.sort(np.unique(space.genes[rows], axis=0, return_index=True)[1])]
        if len(rows) < LEAST_NETWORKS:
            raise BadInputError(f"{path}: {key}: must have at least {LEAST_NETWORKS} networks (got {len(rows)})")
        name = match["device"].removeprefix(prefix)
        alias, hardware = _device(name)
        rest = name.removeprefix(alias).removeprefix("_")
        batch = int(rest) if rest.isdecimal() and len(rest) < 6 and 0 < int(rest) <= _LARGEST_BATCH else 1
        # The closed forms of simulators are no measurements.
        computed = bool(match["computed"]) or (not prefix and alias == "eyeriss" and bool(rest))
        energy = match["what"] == "energy_mj"
        yield Measurement(key, hardware, batch, energy, rows, values[rows], computed)


def _device(name: str) -> tuple[str, str | None]:
    """The beginning of a key that is a device, and its name in the catalog; None for one that it does not have."""
    names = {name: name for name in catalog.names()} | _DEVICES
    known = [alias for alias in names if name == alias or name.startswith(f"{alias}_")]
    alias = max(known, key=len, default=name)
    return alias, names.get(alias)


def _codes(
    path: Path, data: Mapping[str, Any], key: str, width: int | None, choices: Sequence[int]
) -> NDArray[np.int64]:
    if key not in data:
        raise BadInputError(f"{path}: {key} is missing: the networks")
    array = np.asarray(data[key])
    if array.dtype.kind not in "iu" or array.ndim != (1 if width is None else 2) or (width and array.shape[1] != width):
        shape = "(n,)" if width is None else f"(n, {width})"
        raise BadInputError(f"{path}: {key}: must be integers of shape {shape} (got {array.shape} of {array.dtype})")
    if len(array) < LEAST_NETWORKS:
        raise BadInputError(f"{path}: {key}: must have at least {LEAST_NETWORKS} networks (got {len(array)})")
    bad = np.argwhere(~np.isin(array, choices))
    if len(bad):
        listed = ", ".join(map(str, choices)) if len(choices) < 10 else f"from {choices[0]} to {choices[-1]}"
        place = "".join(f"[{i}]" for i in bad[0])
        raise BadInputError(f"{path}: {key}{place}: must be {listed} (got {array[tuple(bad[0])]})")
    return array.astype(np.int64)


def _nb201(path: Path, data: Mapping[str, Any]) -> Space:
    codes = _codes(path, data, "arch", 6, range(len(nas_bench_201.OPS))) if "arch" in data else nas_bench_201.cells()
    sizes = {len(array) for key, array in data.items() if _SUFFIX.fullmatch(key) and array.ndim}
    if "arch" not in data and sizes - {len(codes)}:
        raise BadInputError(f"{path}: arch is missing: without it values must be those of all {len(codes)} cells")
    whole = "arch" not in data
    classes = nas_bench_201.isomorphism_classes() if whole else np.arange(len(codes))
    representatives = np.unique(classes, return_index=True)[1]
    return Space(
        len(codes),
        lambda row, batch: [(nas_bench_201.network(codes[row].tolist(), batch=batch, classes=100), 1)],
        {"hw360_": np.sort(representatives)},
        _one_hot(codes),
    )


def _one_hot(codes: NDArray[np.integer]) -> NDArray[np.uint8]:
    """(n, f) a column for every option of every gene, (n, genes), that occurs."""
    columns = [codes[:, [gene]] == np.unique(codes[:, gene]) for gene in range(codes.shape[1])]
    return np.hstack(columns).astype(np.uint8)


def _fbnet(path: Path, data: Mapping[str, Any]) -> Space:
    codes = _codes(path, data, "arch", 22, range(len(fbnet.BLOCKS)))

    def parts(row: int, batch: int) -> list[tuple[Network, int]]:
        return [(fbnet.network(codes[row].tolist(), batch=batch), 1)]

    return Space(len(codes), parts, {}, _one_hot(codes))


def _ofa(path: Path, data: Mapping[str, Any]) -> Space:
    # Slots that a depth leaves out may hold a zero.
    kernels = _codes(path, data, "ks", 20, (0, *ofa_mobilenet_v3.KERNELS))
    expansions = _codes(path, data, "e", 20, (0, *ofa_mobilenet_v3.EXPANSIONS))
    depths, sizes = _codes(path, data, "d", 5, ofa_mobilenet_v3.DEPTHS), _codes(path, data, "r", None, range(32, 513))
    for key, array in (("e", expansions), ("d", depths), ("r", sizes)):
        if len(array) != len(kernels):
            raise BadInputError(f"{path}: {key}: must have {len(kernels)} networks, as ks has (got {len(array)})")
    slots = kernels.shape[1] // depths.shape[1]
    there = np.arange(kernels.shape[1]) % slots < np.repeat(depths, slots, axis=1)
    for key, array in (("ks", kernels), ("e", expansions)):
        missing = np.argwhere(there & (array == 0))
        if len(missing):
            row, slot = missing[0]
            raise BadInputError(f"{path}: {key}[{row}][{slot}]: must not be 0, as d has a block there")

    def parts(row: int, batch: int) -> list[tuple[Network, int]]:
        genes = (kernels[row].tolist(), expansions[row].tolist(), depths[row].tolist())
        return [(ofa_mobilenet_v3.network(*genes, batch=batch, resolution=int(sizes[row]), width=1.2), 1)]

    # What a depth leaves out is one more option.
    genes = [np.where(there, kernels, 0), np.where(there, expansions, 0), sizes[:, None]]
    return Space(len(kernels), parts, {}, _one_hot(np.hstack(genes)))


def _read_hat(path: Path, data: Mapping[str, Any], only: str | None) -> tuple[Space, list[Measurement]]:
    """Every array has networks of its own: ten features, then latencies of encoder and decoder."""
    columns = [str(column) for column in np.atleast_1d(data.get("columns", []))]
    wanted = (*hat.FEATURES, *_HAT_LATENCIES)
    twice = next((name for i, name in enumerate(columns) if name in columns[:i]), None)
    if twice is not None:
        raise BadInputError(f"{path}: columns must differ (got {twice!r} twice)")
    if set(wanted) - set(columns):
        raise BadInputError(f"{path}: columns must name {', '.join(wanted)} (got {', '.join(columns) or 'none'})")
    places = [columns.index(name) for name in wanted]
    networks: list[tuple[hat.Genes, hat.Task]] = []
    found = []
    for key, array in data.items():
        task, _, device = key.partition("_")
        if array.ndim != 2 or (only is not None and key != only):
            continue
        if task not in hat.TASKS:
            raise BadInputError(f"{path}: {key}: must begin with one of {', '.join(hat.TASKS)}")
        if array.dtype.kind not in "fiu" or array.shape[1] != len(columns) or len(array) < LEAST_NETWORKS:
            shape = f"(n, {len(columns)}) with n >= {LEAST_NETWORKS}"
            raise BadInputError(f"{path}: {key}: must be numbers of shape {shape} (got {array.shape} of {array.dtype})")
        table = array[:, places].astype(np.float64)
        bad = np.argwhere(~(np.isfinite(table) & (table > 0)))
        if len(bad):
            row, column = bad[0]
            raise BadInputError(f"{path}: {key}[{row}]: {wanted[column]} must be > 0 (got {table[row, column]:g})")
        rows = np.arange(len(networks), len(networks) + len(table))
        for row, features in enumerate(table[:, : len(hat.FEATURES)]):
            try:
                genes = hat.from_features(features.tolist())
            except NetworkError as error:
                raise BadInputError(f"{path}: {key}[{row}]: {error}") from None
            networks.append((genes, hat.TASKS[task]))
        values = measurable(path, key, table[:, len(hat.FEATURES) :].sum(axis=1))
        hardware = _HAT_DEVICES[device] if device in _HAT_DEVICES else _device(device)[1]
        features = table[:, : len(hat.FEATURES)]
        found.append(Measurement(key, hardware, 1, False, rows, values, False, features))
    return Space(len(networks), lambda row, batch: hat.translation(*networks[row]), {}), found


#: By name: how a file's rows become networks.
_SPACES: dict[str, Callable[[Path, Mapping[str, Any]], Space]] = {"nb201": _nb201, "fbnet": _fbnet, "ofa_mbv3": _ofa}
_HAT = "hat"
SPACES = (*_SPACES, _HAT)

__all__ = ["CHUNK", "LEAST_NETWORKS", "SPACES", "Measurement", "Space", "read", "sampled", "space_of"]
