"""JSON schemas take what the program takes, and refuse what it refuses."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from accelerators import catalog
from accelerators.crossbar import datasheet as crossbars
from accelerators.documents import parse, read
from accelerators.processors import datasheet as processors
from accelerators.spatial import constraint_files, datasheet, mapping_file
from codesign.experiments import sheet

ROOT = Path(__file__).parent.parent
EXPERIMENTS = [
    ROOT / "benchmarks" / "demo.yaml",
    ROOT / "benchmarks" / "search" / "reduced.yaml",
    Path(str(resources.files("codesign.experiments") / "template.yaml")),
]
MAPPINGS = """\
version: 1
accelerator: tiny
layers:
  - {name: a, operator: "matmul(P=4, K=8, C=8)", mapping: "DRAM [weights inputs outputs] P=4 K=8 C=8"}
"""


def errors(schema: dict[str, Any], data: Any) -> list[str]:
    Draft202012Validator.check_schema(schema)
    return [f"{list(e.absolute_path)}: {e.message}" for e in Draft202012Validator(schema).iter_errors(data)]


@pytest.mark.parametrize("name", catalog.names("spatial"))
def test_datasheets_of_spatial_accelerators(name: str) -> None:
    assert errors(datasheet.schema(), catalog.document(name).data) == []


@pytest.mark.parametrize("name", constraint_files.names())
def test_dataflows(name: str) -> None:
    path = resources.files("accelerators") / "dataflows" / f"{name}.yaml"
    assert errors(constraint_files.schema(), read(str(path)).data) == []


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.name)
def test_experiments(path: Path) -> None:
    assert errors(sheet.schema(), read(path).data) == []


def test_short_forms() -> None:
    short = "{name: a, networks: ds_cnn, hardware: {accelerators: [eyeriss], budget: {power: 3 mW}}, objective: edp}"
    assert errors(sheet.schema(), parse(short).data) == []
    for wanted in (
        "at_least: 60", "at_most: 20 ms", "at_most: [20 ms, 0.03]", "reward: {kind: mnasnet, target: 20 ms}",
        "strategy: nsga2", "strategy: {name: surrogate, options: {acquisition: thompson}}",
    ):  # fmt: skip
        nas = f"{{name: a, hardware: {{accelerators: [eyeriss]}}, nas: {{space: darts, accuracy: zen, {wanted}}}}}"
        assert errors(sheet.schema(), parse(nas).data) == []
    assert errors(mapping_file.schema(), parse(MAPPINGS).data) == []


def test_what_is_wrong_is_refused() -> None:
    data = dict(catalog.document("eyeriss").data)
    assert errors(datasheet.schema(), {**data, "clok": 1})
    assert errors(datasheet.schema(), {**data, "clock": [1]})
    assert errors(sheet.schema(), parse("{name: a, hardware: {}}").data)
    assert errors(mapping_file.schema(), parse(MAPPINGS.replace("version: 1", "version: 2")).data)


@pytest.mark.parametrize("name", catalog.names("processor"))
def test_datasheets_of_processors(name: str) -> None:
    assert errors(processors.schema(), catalog.document(name).data) == []


@pytest.mark.parametrize("name", catalog.names("crossbar"))
def test_datasheets_of_crossbars(name: str) -> None:
    assert errors(crossbars.schema(), catalog.document(name).data) == []
