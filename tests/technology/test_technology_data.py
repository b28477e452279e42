"""The tables themselves: a source on every row, and nothing read before it is needed."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

import accelerators.technology
from accelerators.technology._tables import citation, rows

FOLDERS = [Path(accelerators.technology.__file__).parent / "data", Path(__file__).parent / "data"]
FILES = sorted(path for folder in FOLDERS for path in folder.glob("*.csv") if path.stem != "sources")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_row_has_a_known_source(path):
    keys = {row["key"] for row in rows("sources")}
    with path.open(newline="") as file:
        table = list(csv.DictReader(file))
    assert table
    for row in table:
        assert row["source"] in keys
        assert row.get("supply_source", row["source"]) in keys


def test_sources_are_complete():
    for row in rows("sources"):
        assert all(row.values())
        assert row["status"] in ("measured", "repository file", "published figure", "from memory")
        assert row["retrieved"] == "2026-11-21"
        assert row["source"] in citation(row["key"])
    assert "from memory" in citation("jouppi2021")


def test_readme_lists_every_table():
    text = (FOLDERS[0] / "README.md").read_text()
    for path in FOLDERS[0].glob("*.csv"):
        assert path.name in text
        if path.stem != "sources":
            assert f"| {path.name} | {len(rows(path.stem))} |" in text


def test_import_reads_no_table():
    code = (
        "import accelerators.technology, accelerators.technology._tables as t, sys;"
        "assert t.rows.cache_info().currsize == 0;"
        "assert not {'scipy', 'pandas', 'numba', 'pydantic'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
