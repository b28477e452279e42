"""Latency tables of the machine at hand, from networks that PyTorch runs on it.

Operators are timed where they stand in real networks, so that caches are as warm as they will be. What the framework
takes between operators is the difference between a network and its operators, and is shared out evenly. Every figure is
the mean of the runs without the lowest and the highest tenth (HAT's recipe), after some runs that do not count.
"""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from accelerators.processors.lookup import Entry, LatencyTable
from codesign.devices import operator_key
from codesign.nas.lookup_keys import Style, parts
from codesign.nas.spaces import Space
from codesign.networks import Network, NetworkError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from codesign.networks.torch_module import NetworkModule

#: Part of the runs that is left out at either end.
_TRIMMED = 0.1
#: Networks of a space that are looked at without finding anything new before the search for operators ends.
_PATIENCE = 100
#: Networks of a space that are timed at least.
_LEAST = 10
#: Networks that a table is checked on.
_CHECKED = 5

#: Called with (networks done, networks in all).
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Settings:
    """``warm_ups`` runs that do not count, then ``repeats`` that do; ``threads`` None: as many as PyTorch chooses."""

    warm_ups: int = 5
    repeats: int = 20
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.repeats < 3 or self.warm_ups < 0 or (self.threads is not None and self.threads < 1):
            raise ValueError(
                "repeats must be >= 3, warm_ups >= 0 and threads >= 1 "
                f"(got {self.repeats}, {self.warm_ups} and {self.threads})"
            )


def trimmed(times: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and standard deviation of times (n,) without the lowest and the highest tenth."""
    ordered = np.sort(times)
    cut = int(len(ordered) * _TRIMMED)
    kept = ordered[cut : len(ordered) - cut]
    return float(kept.mean()), float(kept.std(ddof=1)) if len(kept) > 1 else 0.0


def cover(space: Space, *, seed: int = 0, most: int = 200, batch: int = 1) -> list[Network]:
    """Networks of a space that together have its operators, as far as random networks show them.

    Ends after a hundred networks in a row without a new operator, or with ``most`` networks. There are at least ten.
    """
    random = np.random.default_rng(seed)
    seen: set[str] = set()
    found: list[Network] = []
    missed = 0
    while missed < _PATIENCE and len(found) < most:
        network = space.network(space.sample(random, 1)[0], batch=batch)
        keys = {operator_key(layer) for layer in network}
        missed = missed + 1 if keys <= seen else 0
        seen |= keys
        if missed == 0 or len(found) < _LEAST:
            found.append(network)
    return found


def profile(
    networks: Sequence[Network],
    settings: Settings | None = None,
    *,
    style: Style | None = None,
    name: str = "this_cpu",
    check: Sequence[Network] = (),
    progress: Progress | None = None,
) -> LatencyTable:
    """The table of all operators of some networks, or of their blocks with keys of a published ``style``.

    ``check`` are networks that are timed whole and compared with the table: the error that its head states. Without
    them the networks themselves are.

    Raises NetworkError for networks that cannot run, and without PyTorch.
    """
    settings = settings or Settings()
    if not networks:
        raise NetworkError("profile: at least one network")
    check = list(check) or list(networks)[:_CHECKED]
    times: dict[str, list[float]] = {}
    with _threads(settings.threads) as threads:
        for done, network in enumerate(networks):
            if progress:
                progress(done, len(networks) + len(check))
            with _room(network):
                layers, gap = _layer_times(network, settings)
            for key, names in _keyed(network, style):
                # A part without layers of its own (a pooling that is none) takes nothing.
                runs = np.sum([layers[name] + gap for name in names] or [np.zeros(settings.repeats)], axis=0)
                times.setdefault(key, []).extend(runs.tolist())
        entries = {}
        for key, values in times.items():
            mean_s, std_s = trimmed(np.array(values))
            # A timer may be too coarse for what does nothing.
            entries[key] = Entry(max(mean_s, 1e-9) * 1e3, std_s * 1e3, len(values))
        about = {
            "name": name,
            "device": f"{_processor()}, {threads} threads, {_torch_version()}",
            "unit": "ms",
            "error": "",
        }
        table = LatencyTable(name, entries, about)
        errors = []
        for done, network in enumerate(check):
            if progress:
                progress(len(networks) + done, len(networks) + len(check))
            keys = [key for key, _ in _keyed(network, style)]
            if set(keys) <= entries.keys():
                errors.append(table.latency(keys).latency_ms / (network_s(network, settings)[0] * 1e3) - 1)
        if progress:
            progress(len(networks) + len(check), len(networks) + len(check))
    median = float(np.median(np.abs(errors))) if errors else None
    about["error"] = (
        f"{np.median(np.abs(errors)):.1%} median, {np.max(np.abs(errors)):.1%} largest error on {len(errors)} networks"
        if errors
        else "error unknown: no network to check has all of its operators in the table"
    )
    return LatencyTable(name, entries, about, median)


def network_s(network: Network, settings: Settings) -> tuple[float, float]:
    """Mean and standard deviation of what a whole network takes, in seconds.

    Raises NetworkError for a network that cannot run, for lack of memory too.
    """
    times = []
    with _room(network), _threads(settings.threads), _inference():
        module, inputs = _ready(network)
        for run in range(settings.warm_ups + settings.repeats):
            began = time.perf_counter()
            module(*inputs)
            took = time.perf_counter() - began
            if run >= settings.warm_ups:
                times.append(took)
    return trimmed(np.array(times))


def _keyed(network: Network, style: Style | None) -> list[tuple[str, list[str]]]:
    if style is not None:
        return parts(network, style)
    return [(operator_key(layer), [layer.name]) for layer in network]


def _layer_times(network: Network, settings: Settings) -> tuple[dict[str, NDArray[np.float64]], float]:
    """Seconds of every layer in each run, (repeats,), and what is between two of them."""
    module, inputs = _ready(network)
    names = [layer.name for layer in network]
    times = {name: np.zeros(settings.repeats) for name in names}
    whole = np.zeros(settings.repeats)
    began = dict.fromkeys(names, 0.0)
    run = -settings.warm_ups

    def before(name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            began[name] = time.perf_counter()

        return hook

    def after(name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            if run >= 0:
                times[name][run] += time.perf_counter() - began[name]

        return hook

    hooks = []
    for name in names:
        layer = module.layer(name)
        hooks += [layer.register_forward_pre_hook(before(name)), layer.register_forward_hook(after(name))]
    with _inference():
        for run in range(-settings.warm_ups, settings.repeats):  # noqa: B007 - the hooks read it
            module(*inputs)
        for hook in hooks:
            hook.remove()
        for bare in range(settings.repeats):
            start = time.perf_counter()
            module(*inputs)
            whole[bare] = time.perf_counter() - start
    inside = sum(trimmed(values)[0] for values in times.values())
    # Less than nothing where the machine did something else meanwhile.
    return times, max(0.0, trimmed(whole)[0] - inside) / len(names)


def _ready(network: Network) -> tuple[NetworkModule, list[Any]]:
    """The module of a network and inputs for it."""
    try:
        from codesign.networks import computation as compute
        from codesign.networks.torch_module import to_torch
    except ModuleNotFoundError as error:
        raise NetworkError(str(error)) from None
    import torch

    module = to_torch(network, seed=0).eval()
    first = next(iter(network)).operator
    batch = first.bound("N")
    generator = torch.Generator().manual_seed(0)
    looked_up = {
        value.view.index
        for layer in network
        if layer.computation is not None and isinstance(compute.computed(layer.computation), compute.Embedding)
        for value in compute.operands(layer.computation)
        if isinstance(value.view, compute.Input)
    }
    inputs: list[Any] = []
    for index, shape in enumerate(module.inputs):
        if index in looked_up:
            inputs.append(torch.zeros(batch, *shape, dtype=torch.int64))
        else:
            inputs.append(torch.randn(batch, *shape, generator=generator))
    return module, inputs


@contextmanager
def _room(network: Network) -> Iterator[None]:
    """Say which network has no room in memory; PyTorch's allocator raises a RuntimeError."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "allocate memory" not in str(error):
            raise
        bytes_ = re.search(r"allocate (\d+) bytes", str(error))
        wanted = f" for {int(bytes_[1]) / 2**30:.3g} GiB at once" if bytes_ else ""
        raise NetworkError(f"{network.name}: this machine has no memory{wanted}: a smaller batch may fit") from None


@contextmanager
def _threads(count: int | None) -> Iterator[int]:
    """Run with so many threads, and leave PyTorch as it was."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def _inference() -> Any:
    import torch

    return torch.inference_mode()


def _torch_version() -> str:
    import torch

    return f"PyTorch {torch.__version__}"


def _processor() -> str:
    """What the processor calls itself."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - no regular file
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or f"{os.cpu_count()} cores"


__all__ = ["Settings", "cover", "network_s", "profile", "trimmed"]
