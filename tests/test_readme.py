"""What the README shows works as shown."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from accelerators import catalog
from codesign import evaluate

_ROOT = Path(__file__).parent.parent
_README = (_ROOT / "README.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", _README, re.MULTILINE | re.DOTALL)


def test_the_datasheet_is_valid_and_runs() -> None:
    (text,) = _blocks("yaml")
    hardware = catalog.from_text(text)
    assert hardware.macs == 256
    for network in ("ds_cnn", "mobilenet_v2", "bert_base"):
        assert evaluate(network, hardware, evaluations=2500).results[0].problems == []


def test_the_python_example_runs() -> None:
    (text,) = _blocks("python")
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert "'hardware': 'nvdla_256'" in done.stdout


_COMMANDS = [
    line.split("#")[0].strip() for block in _blocks("") for line in block.splitlines() if line.startswith("codesign ")
]


@pytest.mark.parametrize("command", _COMMANDS)
def test_commands_run(command: str, tmp_path: Path) -> None:
    (text,) = _blocks("yaml")
    (tmp_path / "my_accelerator.yaml").write_text(text)
    if "model.onnx" in command:
        onnx = pytest.importorskip("onnx")
        values = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, 8]) for n in ("x", "y")]
        node = onnx.helper.make_node("Relu", ["x"], ["y"])
        graph = onnx.helper.make_graph([node], "g", values[:1], values[1:])
        (tmp_path / "model.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    arguments = shlex.split(command)[1:]
    if arguments[0] in ("evaluate", "map"):
        arguments += ["--evaluations", "2500"]
    done = subprocess.run(
        [sys.executable, "-m", "codesign", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
