"""Files that nobody writes in good faith are refused at once, in one line each, and leave nothing behind."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from runs import EXPERIMENT, codesign

from codesign import cli
from codesign.experiments import run
from codesign.experiments.experiment import Experiment

Refuse = Callable[[str], list[str]]

#: CPU seconds: refusing takes up to two, of which YAML's look ahead is most, and without a limit minutes or for ever.
_MOST_S = 20.0
_LINE = re.compile(r"error: hostile\.yaml(:\d+:\d+)?: .+")


@pytest.fixture
def refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refuse:
    """Runs ``codesign run`` on a text, in this process; gives the messages."""
    monkeypatch.chdir(tmp_path)
    # What is imported on the way is not counted.
    Experiment.parse(EXPERIMENT, tmp_path / "warm.yaml")

    def refused(text: str) -> list[str]:
        (tmp_path / "hostile.yaml").write_text(text)
        monkeypatch.setattr(sys, "argv", ["codesign", "run", "hostile.yaml"])
        start = time.process_time()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert time.process_time() - start < _MOST_S
        assert ended.value.code == 2
        out, errors = capsys.readouterr()
        assert out == ""
        assert [file.name for file in tmp_path.iterdir()] == ["hostile.yaml"]
        lines = errors.splitlines()
        assert lines
        for line in lines:
            assert _LINE.fullmatch(line), line
            assert len(line) < 500
            assert line.isprintable()
        return lines

    return refused


def changed(old: str, new: str) -> str:
    assert EXPERIMENT.count(old) == 1
    return EXPERIMENT.replace(old, new)


_BOMB = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}' if i else 'x'] * 10)}]\n" for i in range(12))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (_BOMB + EXPERIMENT, "must be at most 100000 values (aliases included)"),
        (EXPERIMENT + "sweep: &s {over: *s}\n", "must be at most 40 deep"),
        ("[" * 5_000_000, "must be at most 1000000 bytes (got 5000000)"),
        ("{a: " * 2_000_000, "must be at most 1000000 bytes (got 8000000)"),
        ("[" * 100_000, "must be nested at most 40 deep"),
        ("{a: " * 50_000, "must be nested at most 40 deep"),
        ("name: " + "x" * 10_000_000, "must be at most 1000000 bytes"),
        (changed("small", "x" * 900_000), "name: string should have at most 80 characters"),
        (changed("ds_cnn", "x" * 900_000), "network: string should have at most 1000 characters"),
        (EXPERIMENT + "seed: 6\n", "seed: duplicate key (first in line 2)"),
        (changed("like: eyeriss", "like: eyeriss, like: nvdla_64"), "hardware.budget.like: duplicate key"),
        (changed("seed: 5", "seed: !!python/object/apply:os.system [touch here]"), "seed: tags are not allowed"),
        (changed("small", "!!python/name:os.system ''"), "name: tags are not allowed"),
        (changed("ds_cnn", "!!binary ZHNfY25u"), "networks: tags are not allowed"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_yaml_that_is_too_much(refuse: Refuse, text: str, expected: str) -> None:
    (line,) = refuse(text)
    assert expected in line


@pytest.mark.parametrize(
    "name",
    ["../x", "/etc/x", '"a\\0b"', "a" * 300, '"\\ud800"', '"a\\nb"', '"ab\\n"', ".", "..", '""', "~x", "5", "[a]"],
)
def test_names_that_leave_the_folder_of_runs(refuse: Refuse, name: str) -> None:
    (line,) = refuse(changed("small", name))
    assert ":1:7: name: " in line


@pytest.mark.parametrize(
    ("networks", "expected"),
    [
        ("[../../etc/passwd]", "networks[0]: unknown network '../../etc/passwd'"),
        ("[../../../../../etc/passwd.onnx]", "passwd.onnx: no such file"),
        ('"\\0.onnx"', "networks[0].network: must be printable text in one line"),
        ('"a\\nb.onnx"', "networks[0].network: must be printable text in one line"),
        ('"\\ud800.onnx"', "networks: must be text without lone surrogates"),
        ("/dev/zero.onnx", "/dev/zero.onnx: no such file"),
        ("[]", "networks: must have at least 1 entries (got 0)"),
        ("[[]]", "networks[0]: must be a mapping (got a list)"),
        ("null", "networks: must be a list (got nothing)"),
        ("{}", "networks[0].network: is required"),
        (f"[{', '.join(['ds_cnn'] * 5_000)}]", "networks: must have at most 100 entries (got 5000)"),
        ("[ds_cnn, ds_cnn]", "networks[1]: networks must differ in name (got ds_cnn twice)"),
        ("{network: ds_cnn, options: {batch: 0}}", "networks[0]: ds_cnn: batch: must be an integer >= 1 (got 0)"),
        ("{network: ds_cnn, options: {batch: .nan}}", "networks[0]: ds_cnn: batch: must be an integer >= 1 (got nan)"),
        ("{network: ds_cnn, options: {bach: 1}}", "networks[0]: ds_cnn: unknown option bach"),
        ("{network: bert_base, options: {sequence: 9000000000000}}", "sequence must be in 1..512"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_networks_that_are_none(refuse: Refuse, networks: str, expected: str) -> None:
    (line,) = refuse(changed("networks: ds_cnn", f"networks: {networks}"))
    assert expected in line


_BUDGET = "like: eyeriss}}"
_RANGE = "sweep: {over: {seed: {from: 1, to: 5, step: 1}}}\n"
#: Every number of an experiment: its path, a text with @ in its place, and whether zero is one.
_NUMBERS = {
    "seed": (changed("seed: 5", "seed: @"), True),
    "search.population": (changed("population: 5", "population: @"), False),
    "search.generations": (changed("generations: 4", "generations: @"), False),
    "workers.processes": (changed("processes: 2", "processes: @"), False),
    "mapper.evaluations": (EXPERIMENT + "mapper: {evaluations: @}\n", False),
    "mapper.node_limit": (EXPERIMENT + "mapper: {node_limit: @}\n", False),
    "hardware.budget.macs": (changed(_BUDGET, "like: eyeriss, macs: @}}"), False),
    "hardware.budget.on_chip": (changed(_BUDGET, "like: eyeriss, on_chip: @}}"), False),
    "hardware.budget.noc_bandwidth": (changed(_BUDGET, "like: eyeriss, noc_bandwidth: @}}"), False),
    "hardware.budget.dram_bandwidth": (changed(_BUDGET, "like: eyeriss, dram_bandwidth: @}}"), False),
    "hardware.budget.area": (changed(_BUDGET, "like: eyeriss, area: @}}"), False),
    "hardware.budget.power": (changed(_BUDGET, "like: eyeriss, power: @}}"), False),
    "sweep.samples": (EXPERIMENT + "sweep: {over: {seed: [1]}, method: latin_hypercube, samples: @}\n", False),
    "sweep.over.seed.points": (EXPERIMENT + _RANGE.replace("step: 1", "points: @"), False),
    "sweep.over.seed.step": (EXPERIMENT + _RANGE.replace("step: 1", "step: @"), False),
    "sweep.over.seed.from": (EXPERIMENT + _RANGE.replace("from: 1", "from: @"), True),
    "sweep.over.seed.to": (EXPERIMENT + _RANGE.replace("to: 5", "to: @"), False),
    "sweep.over.seed": (EXPERIMENT + "sweep: {over: {seed: [@]}}\n", True),
}
_NO_NUMBERS = (
    ".nan",
    "NaN",
    ".inf",
    "Infinity",
    "-.inf",
    "1e999",
    "1" + "0" * 5000,
    "-1",
    "true",
    str(2**200),
    "[1]",
    '""',
)


@pytest.mark.parametrize("path", _NUMBERS)
def test_numbers_that_are_none(refuse: Refuse, path: str) -> None:
    text, zero_is_fine = _NUMBERS[path]
    # What is wrong with a point of a sweep is told of the place that it sets.
    places = (path, "seed", "sweep.over.seed") if path.startswith("sweep.over") else (path,)
    for value in (*_NO_NUMBERS, *([] if zero_is_fine else ["0"])):
        (line,) = refuse(text.replace("@", value))
        assert line.split(": ")[2].removesuffix("[0]") in places


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("population: 5", "population: 1000000000", "search.population: must be <= 10000"),
        ("generations: 4", "generations: 1000000000000", "search.generations: must be <= 1e+06"),
        ("processes: 2", "processes: 1000000", "workers.processes: must be <= 1024"),
        ("workers:", "mapper: {evaluations: 1000000000000}\nworkers:", "mapper.evaluations: must be <= 1e+08"),
        ("workers:", "mapper: {node_limit: 1000000000000}\nworkers:", "mapper.node_limit: must be <= 1e+09"),
        ("seed: 5", f"seed: {2**32}", "seed: must be < 4.29497e+09"),
        ("optimiser: cma_es, ", "optimiser: [], ", "search.optimiser: must be text (got a list)"),
        ("naas, budget", 'naas, budget: {like: "a\\nb"}, bugdet', "hardware.budget.like: must be printable text"),
        ("like: eyeriss", 'like: "\\0.yaml"', "hardware.budget.like: must be printable text in one line"),
        ("like: eyeriss", 'like: ""', "hardware.budget.like: string should have at least 1 character"),
        ("like: eyeriss", "like: ../../../../etc/passwd", "unknown accelerator '../../../../etc/passwd'"),
        ("workers:", 'baseline: "\\0.yaml"\nworkers:', "baseline: must be printable text in one line"),
        ("workers:", 'objective: "e\\ndp"\nworkers:', "must be different ones of edp, energy, latency, area"),
        ("workers:", "objective: []\nworkers:", "objective: must have at least 1 entries (got 0)"),
        ("workers:", f"objective: [{'edp, ' * 5_000}]\nworkers:", "objective: must have at most 5 entries"),
        ("space: naas, ", "accelerators: [], ", "hardware.accelerators: must have at least 1 entries (got 0)"),
        ("space: naas, ", "accelerators: [null], ", "hardware.accelerators[0]: must be text (got nothing)"),
        ("processes: 2", 'dask: "\\0.json"', "workers.dask: must be printable text in one line"),
        ("seed: 5", "sede: 5", "sede: unknown key: did you mean seed"),
        ("population: 5", "popultion: 5", "search.popultion: unknown key: did you mean population?"),
        ("like:", "lik:", "hardware.budget.lik: unknown key: did you mean like?"),
        ("workers: {processes: 2}", "workers: []", "workers: must be a mapping (got a list)"),
        ("workers: {processes: 2}", "workers: null", "workers: must be a mapping (got nothing)"),
    ],
    ids=lambda value: str(value)[:25],
)
def test_values_beyond_their_bounds(refuse: Refuse, old: str, new: str, expected: str) -> None:
    assert expected in refuse(changed(old, new))[0]


_THOUSAND = "{from: 1, to: 1000, step: 1}"
_HUGE = f"seed: {_THOUSAND}, search.population: {_THOUSAND}, search.generations: {_THOUSAND}, hardware.budget.macs: "


@pytest.mark.parametrize(
    ("sweep", "expected"),
    [
        (f"{{over: {{{_HUGE}{_THOUSAND}}}}}", "sweep.over: must have at most 10000 points (got 1000000000000)"),
        ("{over: {seed: {from: 1, to: 1000000000, step: 1}}}", "must have at most 10000 points"),
        ("{over: {seed: [1]}, method: latin_hypercube, samples: 1000000000}", "sweep.samples: must be <= 10000"),
        ("{over: {seed: [1]}, samples: 3}", "sweep.samples: is required for latin_hypercube, and only there"),
        ("{over: {}}", "sweep.over: must have at least 1 entries (got 0)"),
        ("{over: {seed: []}}", "sweep.over.seed: must have at least one value"),
        ("{over: {seed: 5}}", "sweep.over.seed: must be a mapping (got 5)"),
        ("{over: {seed: {from: 1, to: 2, pints: 3}}}", "sweep.over.seed.pints: unknown key"),
        ("{over: {'': [1]}}", "must be a path such as hardware.budget.macs"),
        ("{over: {'..': [1]}}", "must be a path such as hardware.budget.macs"),
        ("{over: {'networks[-1]': [1]}}", "must be a path such as hardware.budget.macs"),
        ("{over: {'networks[99999999999999999999]': [1]}}", "no 99999999999999999999 in the file"),
        ("{over: {__class__: [1]}}", "__class__: unknown key"),
        ("{over: {workers.processes: [1]}}", "workers cannot vary"),
        ("{over: {name: [a]}}", "name cannot vary"),
        (
            f"{{over: {{{', '.join(f'k{i}: [1]' for i in range(1_000))}}}}}",
            "sweep.over: must have at most 100 entries",
        ),
        ("{over: {hardware: [{space: naas}]}}", "the naas space needs the accelerator that it is like"),
        ("[]", "sweep: must be a mapping (got a list)"),
    ],
    ids=lambda value: str(value)[:25],
)
def test_sweeps_that_do_not_end(refuse: Refuse, sweep: str, expected: str) -> None:
    (line,) = refuse(EXPERIMENT + f"sweep: {sweep}\n")
    assert expected in line


def test_of_a_sweep_in_which_nothing_can_be_a_few_points_are_told(refuse: Refuse) -> None:
    text = changed("like: eyeriss", "like: eyeriss, macs: 1") + "sweep: {over: {seed: {from: 0, to: 9999, step: 1}}}\n"
    lines = refuse(text)
    assert len(lines) == 5
    assert lines[0].endswith("(at seed=0)")


@pytest.mark.parametrize(
    "text", ["\0" * 2000, "\x85\u2028", EXPERIMENT.replace("ds_cnn", "../../etc/passwd"), "{a: " * 2_000_000]
)
def test_a_process_ends_with_the_message(tmp_path: Path, text: str) -> None:
    (tmp_path / "hostile.yaml").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "codesign", "run", "hostile.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert all(_LINE.fullmatch(line) for line in done.stderr.splitlines())
    assert [file.name for file in tmp_path.iterdir()] == ["hostile.yaml"]


def test_a_hostile_copy_in_a_run_is_refused(experiment: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run.start(Experiment.load(experiment), folder)
    copy = folder / "experiment.yaml"
    for content, expected in ((b"\xff\xfe", "must be UTF-8 text"), (b"[" * 2_000_000, "must be at most 1000000 bytes")):
        copy.write_bytes(content)
        done = codesign("resume", folder)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert expected in done.stderr
    copy.unlink()
    copy.mkdir()
    assert "cannot be read: Is a directory" in codesign("resume", folder).stderr
    copy.rmdir()
    # Without its copy it goes on, and has one again.
    assert codesign("resume", folder).returncode == 0
    assert copy.read_text() == EXPERIMENT
