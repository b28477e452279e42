"""One network does not fit all devices: the table of ProxylessNAS (Cai, Zhu, Han, ICLR 2019, table 5).

    python -m benchmarks.papers.proxylessnas [--networks FILE] [--on HARDWARE ..]

The published networks for GPU, CPU and phone on models of the devices that they were searched for (a V100 with 8
images, a Xeon E5-2640 v4 and a Pixel 1 with one), beside the published latencies. A network must be the fastest on its
own device. ``--on`` names further hardware, with one image.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from accelerators.documents import DocumentError
from benchmarks._common import BadInputError, fields, read_json, report
from codesign import devices
from codesign.evaluation import evaluate
from codesign.nas.spaces import ofa_mobilenet_v3
from codesign.networks import NetworkError

_DATA = Path(__file__).parents[1] / "nas" / "data" / "ofa_specialized_nets.json.gz"
#: Device of the paper, by the name of its network: its model, images at once.
_DEVICES = {"gpu": ("v100", 8), "cpu": ("xeon_e5_2640_v4", 1), "mobile": ("pixel_1", 1)}
#: Published milliseconds, by network, in the order of the devices.
_PUBLISHED = {"gpu": (5.1, 204.9, 124.0), "cpu": (7.4, 138.7, 116.0), "mobile": (7.2, 164.1, 78.0)}


def main(arguments: list[str] | None = None) -> int:
    """Compare; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.papers.proxylessnas",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--networks", type=Path, default=_DATA)
    parser.add_argument("--on", nargs="*", default=[], metavar="HARDWARE")
    options = parser.parse_args(arguments)
    nets = fields(options.networks, read_json(options.networks), {"proxyless": dict})["proxyless"]
    missing = [name for name in _DEVICES if name not in nets]
    if missing:
        raise BadInputError(f"{options.networks}: proxyless: has no network {', '.join(missing)}")
    columns = [*_DEVICES.values(), *((name, 1) for name in options.on)]
    found: dict[str, list[float]] = {}
    for name in nets:
        found[name] = []
        for hardware, batch in columns:
            try:
                network = ofa_mobilenet_v3.specialized({"name": name, "net": nets[name]}, batch=batch)
                (cost,) = evaluate(network, devices.load(hardware)).results
            except (NetworkError, DocumentError) as error:
                raise BadInputError(str(error)) from None
            if cost.latency_s is None:
                raise BadInputError(f"{hardware} cannot run {name}: {cost.problems[0]}")
            found[name].append(cost.latency_s * 1e3)
    failures = []
    for place, (device, (hardware, _)) in enumerate(_DEVICES.items()):
        fastest = min(_DEVICES, key=lambda name: found[name][place])
        if fastest != device:
            failures.append(f"{hardware}: the network for {fastest} is faster than the one for {device}")
    lines = []
    for name, latencies in found.items():
        cells = [f"{latency:.2f}" for latency in latencies]
        for place, published in enumerate(_PUBLISHED.get(name, ())):
            cells[place] += f" ({published:g})"
        lines.append((name, *cells))
    header = ("network for", *(f"{hardware}, batch {batch}: ms" for hardware, batch in columns))
    own = sum(1 for _ in _DEVICES) - len(failures)
    figures = f"ProxylessNAS: {own} of {len(_DEVICES)} networks are the fastest on their own device (published: 3)"
    return report(header, lines, failures, figures, not failures)


if __name__ == "__main__":
    sys.exit(BadInputError.guard(main))
