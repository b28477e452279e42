"""A small experiment as text, the command line, and what a run found."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

EXPERIMENT = """\
name: small
seed: 5
networks: ds_cnn
hardware: {space: naas, budget: {like: eyeriss}}
search: {optimiser: cma_es, population: 5, generations: 4}
workers: {processes: 2}
"""


def codesign(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command."""
    command = [sys.executable, "-m", "codesign", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]


def found(folder: Path) -> tuple[object, ...]:
    """Everything in a ledger that must not depend on what happened on the way."""
    db = sqlite3.connect(folder / "ledger.sqlite")
    queries = (
        "SELECT point, generation, candidates, rejected, state FROM generations ORDER BY 1, 2",
        "SELECT point, digest, choices, datasheet, status, edp_js, energy_pj, latency_s, area_mm2 FROM candidates "
        "ORDER BY 1, 2",
        "SELECT digest, position, layers.energy_pj, mapping FROM layers JOIN candidates ON id = candidate "
        "ORDER BY 1, 2",
    )
    return tuple(db.execute(query).fetchall() for query in queries)
