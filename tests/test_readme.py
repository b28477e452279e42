"""What the README shows works as shown."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from accelerators import catalog
from accelerators.operators import conv2d
from accelerators.spatial import constraint_files
from codesign import evaluate
from codesign.experiments.experiment import Experiment
from codesign.nas.spaces import staged
from mappers import MapResult, map_operator

_ROOT = Path(__file__).parent.parent
_README = (_ROOT / "README.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", _README, re.MULTILINE | re.DOTALL)


_DATASHEET, _CONSTRAINTS, _MAPPING, _PINS, _THREE_LEVELS, _PROCESSOR, _CROSSBAR, _SPACE, _QUANTISED = _blocks("yaml")


def test_the_datasheet_is_valid_and_runs() -> None:
    hardware = catalog.from_text(_DATASHEET)
    assert hardware.macs == 256
    for network in ("ds_cnn", "mobilenet_v2", "bert_base"):
        assert evaluate(network, hardware, evaluations=2500).results[0].problems == []


def test_the_constraints_fit_the_datasheet() -> None:
    hardware = catalog.from_text(_DATASHEET)
    rules = constraint_files.from_text(_CONSTRAINTS).resolve(hardware)
    found = map_operator(hardware, conv2d(K=64, C=32, P=28, Q=28, R=3, S=3), constraints=rules)
    assert isinstance(found, MapResult)
    buffer = found.mapping.blocks[1]
    assert buffer.keep == ("inputs", "outputs")
    unrolled = {axis: dict(loops) for axis, loops in buffer.spatial}
    assert unrolled["y"]["C"] == 8
    assert set(unrolled["x"]) == {"K"}
    assert unrolled["x"]["K"] >= 4
    assert not {dim for dim, _ in buffer.temporal} - {"K", "P", "Q"}


def test_the_mapping_can_be_costed(tmp_path: Path) -> None:
    (tmp_path / "by_hand.yaml").write_text(_MAPPING)
    done = _run("codesign cost by_hand.yaml", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "utilisation" in done.stdout


def test_the_pins_are_taken() -> None:
    text = "name: a\nnetworks: ds_cnn\nhardware:\n  space: naas\n  budget: {like: eyeriss}\n"
    pinned = text + "".join(f"  {line}\n" for line in _PINS.splitlines())
    (point,) = Experiment.parse(pinned, Path("experiment.yaml").resolve()).points
    assert point.space is not None
    assert not {"scratchpad.capacity", "global_buffer.array"} & set(point.space.parameters)


def test_the_search_on_three_levels_is_valid() -> None:
    (point,) = Experiment.parse(_THREE_LEVELS, Path("experiment.yaml").resolve()).points
    assert point.nas is not None and point.nas["at_least"] == [75, 76.5, 78]
    assert point.baseline is not None and point.baseline.accuracy == 76.1


def test_the_quantised_search_is_valid() -> None:
    text = "name: a\nhardware: {accelerators: [eyeriss]}\n" + _QUANTISED
    (point,) = Experiment.parse(text, Path("experiment.yaml").resolve()).points
    assert point.nas is not None and point.nas["space"] == "quantised"


def test_the_processor_runs(tmp_path: Path) -> None:
    (tmp_path / "tiny_cpu.yaml").write_text(_PROCESSOR)
    done = _run("codesign evaluate ds_cnn --on tiny_cpu.yaml", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "roofline, fp32, litert" in done.stdout


def test_the_crossbar_runs(tmp_path: Path) -> None:
    (tmp_path / "tiny_crossbar.yaml").write_text(_CROSSBAR)
    done = _run("codesign evaluate ds_cnn --on tiny_crossbar.yaml", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "SRAM-AIMC fit" in done.stdout


def test_the_space_of_networks_is_counted_and_built() -> None:
    space = staged.from_text(_SPACE)
    assert space.size == len(set(space.codes())) == 3 * 2 * (4 + 4**2 + 4**3) * (1 + 2 * 2 * 2 * 2)
    assert space.network(space.sample(np.random.default_rng(0), 1)[0]).macs > 0


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, "'hardware': 'nvdla_256'"),
        (1, "True"),
        (3, "51.1"),
        (4, "[0.9"),
        (5, "Accuracy(mean=9"),
        (6, "naswot"),
        (7, "nas_bench_201: op"),
    ],
)
def test_the_python_examples_run(number: int, expected: str, tmp_path: Path) -> None:
    text = _blocks("python")[number]
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert expected in done.stdout


#: Milliseconds of a phone that takes a bit more than it should for large networks.
_MEASURED = "network,latency_ms\n" + "".join(
    f"{name},{ms}\n"
    for name, ms in (
        ("mobilenet_v2", 41), ("mnasnet1_0", 42.5), ("mobilenet_v3_large", 33), ("resnet18", 150),
        ("squeezenet1_0", 61), ("efficientnet_b0", 55), ("ds_cnn", 1.1),
    )
)  # fmt: skip
_COMMANDS = [
    line.split("#")[0].strip() for block in _blocks("") for line in block.splitlines() if line.startswith("codesign ")
]


@pytest.mark.parametrize("command", _COMMANDS)
def test_commands_run(command: str, tmp_path: Path) -> None:
    (tmp_path / "my_accelerator.yaml").write_text(_DATASHEET)
    if "model.onnx" in command:
        onnx = pytest.importorskip("onnx")
        values = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, 8]) for n in ("x", "y")]
        node = onnx.helper.make_node("Relu", ["x"], ["y"])
        graph = onnx.helper.make_graph([node], "g", values[:1], values[1:])
        (tmp_path / "model.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    if re.match(r"codesign (init|run|resume|compare|report) ", command):
        pytest.skip("minutes; tests/experiments runs these commands")
    if command.startswith("codesign cost"):
        (saved,) = (other for other in _COMMANDS if "--save mapping.yaml" in other)
        assert _run(saved, tmp_path).returncode == 0
    given = _THREE_LEVELS.replace("{space: naas, budget: {like: eyeriss}}", "{accelerators: [eyeriss, pcm_256]}")
    (tmp_path / "given.yaml").write_text(given.replace("queries: 500", "queries: 60\n  population: 20"))
    (tmp_path / "measured.csv").write_text(_MEASURED)
    if "this_cpu.json" in command and "profile" not in command:
        assert _run("codesign profile mobilenet_v2 --repeats 3 --threads 1", tmp_path).returncode == 0
    if "phone.npz" in command and "learn" not in command:
        (learnt,) = (other for other in _COMMANDS if "learn" in other)
        assert _run(learnt, tmp_path).returncode == 0
    if "profile" in command:
        command += " --most 2 --repeats 3 --threads 1"
    done = _run(command, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def _run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-m", "codesign", *shlex.split(command)[1:]]
    return subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=False)
