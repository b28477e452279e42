"""Published networks against the sum of a latency table.

    python -m benchmarks.validation.lut [--table FILE] [--networks FILE] [--device NAME]
        [--style ofa|proxyless|nsganet] [--interpolate]

``--table`` has latencies by key (Once-for-All's, ProxylessNAS' or NSGANetV2's format, one table or several by image
size), ``--networks`` networks with their published latency, of which ``--device`` takes those for one device. A network
is scored where the table has all of its blocks; keys that are missing are listed, or with ``--interpolate`` taken from
the nearest block, which is said.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from accelerators.documents import DocumentError
from accelerators.processors.lookup import MissingKeysError, read
from benchmarks._common import BadInputError, fields, read_json, report
from codesign.nas.lookup_keys import STYLES, block_keys
from codesign.networks import NetworkError

_DATA = Path(__file__).parent / "data" / "lut"
_MOST_ERROR = 0.02


def main(arguments: list[str] | None = None) -> int:
    """Compare; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.validation.lut",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--table", type=Path, default=_DATA / "ofa_note10.json")
    parser.add_argument("--networks", type=Path, default=_DATA / "ofa_note10_networks.json")
    parser.add_argument("--style", choices=STYLES, default="ofa", help="how keys are written (ofa)")
    parser.add_argument("--interpolate", action="store_true", help="take missing blocks from the nearest ones")
    parser.add_argument("--device", metavar="NAME", help="only networks for this device (all)")
    options = parser.parse_args(arguments)
    try:
        tables = read(options.table)
    except DocumentError as error:
        raise BadInputError(str(error)) from None
    data = fields(options.networks, read_json(options.networks), {"ofa_specialized": list})
    devices = {
        str(entry["device"]) for entry in data["ofa_specialized"] if isinstance(entry, dict) and "device" in entry
    }
    if options.device is not None and options.device not in devices:
        raise BadInputError(
            f"{options.networks}: no network for {options.device!r} (devices: {', '.join(sorted(devices))})"
        )
    rows, failures, missing, scored = [], [], [], 0
    made_up: dict[str, str] = {}
    for i, entry in enumerate(data["ofa_specialized"]):
        where = f"{options.networks}: ofa_specialized[{i}]"
        fields(where, entry, {"name": str, "image_size": int, "net": dict})
        if options.device is not None and entry.get("device") != options.device:
            continue
        published, size = entry.get("latency_ms"), entry["image_size"]
        if published is None:
            rows.append((entry["name"], size, "", "no published latency", ""))
            continue
        if isinstance(published, bool) or not isinstance(published, int | float) or not published > 0:
            raise BadInputError(f"{where}: latency_ms must be > 0 (got {published!r})")
        try:
            keys = block_keys(entry["net"], size, options.style)
        except NetworkError as error:
            raise BadInputError(f"{where}: {error}") from None
        table = tables.get("", tables.get(str(size)))
        if table is None:
            rows.append((entry["name"], size, f"{published:g}", f"no table for images of {size}", ""))
            continue
        try:
            found = table.latency(keys, options.interpolate)
        except MissingKeysError as error:
            rows.append((entry["name"], size, f"{published:g}", f"{len(error.keys)} of {len(keys)} keys missing", ""))
            missing.append((entry["name"], error.keys))
            continue
        change = found.latency_ms / published - 1
        made_up.update(found.interpolated)
        note = f", {len(found.interpolated)} keys interpolated" if found.interpolated else ""
        rows.append((entry["name"], size, f"{published:g}", f"{found.latency_ms:.2f}{note}", f"{change:+.1%}"))
        if not found.interpolated:
            scored += 1
            if abs(change) > _MOST_ERROR:
                failures.append(f"{entry['name']}: {change:+.1%}, must be within {_MOST_ERROR:.0%}")
    if not scored:
        failures.append("no network has all of its blocks in the tables")
    header = ("network", "image", "published ms", "sum of the table, ms", "error")
    many = "1 network" if scored == 1 else f"{scored} networks"
    figures = f"latency tables: {many} in the tables, {len(missing)} with keys missing"
    # Names of what is missing come first: the verdict is the last line.
    for name, absent in missing:
        print(f"{name}: no entry for")
        for key in absent:
            print(f"  {key}")
    for name, source in made_up.items():
        print(f"{name}: taken from {source}")
    return report(header, rows, failures, figures, not failures)


if __name__ == "__main__":
    sys.exit(BadInputError.guard(main))
