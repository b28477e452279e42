"""Networks that are searched together with hardware: nested, jointly, on any kind of it."""

from __future__ import annotations

import csv
import json
import math
import re
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import codesign, found

from accelerators.documents import DocumentError
from codesign import devices
from codesign.evaluation import evaluate
from codesign.experiments import export, run
from codesign.experiments.candidates import minimised, scores
from codesign.experiments.experiment import Experiment
from codesign.experiments.joint import NETWORK, JointDesign, JointSpace
from codesign.experiments.ledger import Ledger
from codesign.experiments.network_search import Judged, NetworkSearch, NothingRunsError, limit_of
from codesign.experiments.specifications import files_of
from codesign.experiments.summary import summaries
from codesign.nas import spaces
from codesign.nas.costs import NetworkCosts
from codesign.predictors import Predictor
from codesign.reports._run import Run
from codesign.reports.html import _Page
from codesign.search.pareto import front

SPACE = """\
name: tiny
resolution: 32
stem: {channels: 8}
stages:
  - {name: a, block: mbconv, width: [8, 16], depth: [1, 2], kernel: [3, 5], expansion: [3, 6]}
  - {name: b, block: conv, width: [16, 24, 32], stride: 2, kernel: [3, 5]}
head: {channels: 32}
"""
NESTED = """\
name: nested
seed: 3
nas:
  space: tiny.yaml
  accuracy: {name: table, options: {file: accuracy.csv}}
  at_least: 60
  population: 10
  queries: 1000
hardware: {space: naas, budget: {like: eyeriss}}
search: {population: 3, generations: 2}
workers: {processes: 1}
"""
GIVEN = NESTED.replace("{space: naas, budget: {like: eyeriss}}", "{accelerators: [eyeriss]}")


def accuracy_of(space: spaces.Space, code: tuple[int, ...]) -> float:
    """Larger networks are better, with some noise of their own."""
    noise = np.random.default_rng(list(code)).normal(0, 3)
    return float(np.clip(20 + 8 * math.log2(space.network(code).macs / 1e5) + noise, 0, 100))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A space of a few networks and how accurate they are."""
    (tmp_path / "tiny.yaml").write_text(SPACE)
    space = spaces.load(tmp_path / "tiny.yaml")
    with (tmp_path / "accuracy.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("network", "accuracy"))
        writer.writerows((space.text(code), accuracy_of(space, code)) for code in space.codes())
    return tmp_path


def written(folder: Path, text: str) -> Path:
    path = folder / "experiment.yaml"
    path.write_text(text)
    return path


def started(folder: Path, text: str, name: str = "run") -> Path:
    run.start(Experiment.load(written(folder, text)), folder / name)
    return folder / name


def only(path: Path) -> dict[str, Any]:
    """The only candidate of a run of given hardware."""
    with Ledger(path, write=False) as ledger:
        ((_, digest, *_),) = sqlite3.connect(path / "ledger.sqlite").execute("SELECT point, digest FROM candidates")
        return ledger.candidate(0, digest)


def everything(folder: Path, hardware: str) -> list[tuple[float, float, str]]:
    """(accuracy, EDP, encoding) of every network, each evaluated by itself."""
    space = spaces.load(folder / "tiny.yaml")
    return [
        (accuracy_of(space, code), edp, space.text(code))
        for code in space.codes()
        if (edp := evaluate(space.network(code), hardware).results[0].edp_js) is not None
    ]


def test_a_nested_search_finds_the_best_network_that_is_accurate_enough(folder: Path) -> None:
    candidate = only(started(folder, GIVEN))
    known = everything(folder, "eyeriss")
    (network,) = candidate["networks"]
    # The table counts its digits.
    accuracy, edp, text = min((each for each in known if each[0] >= 60), key=lambda each: each[1])
    assert candidate["edp_js"] == pytest.approx(edp, rel=1e-12)
    assert network["accuracy"] == candidate["accuracy"] == pytest.approx(accuracy)
    assert network["accuracy_kind"] == "measured"
    space = spaces.load(folder / "tiny.yaml")
    assert space.text(network["specification"]["code"]) == text
    assert candidate["judged"] == sum(accuracy >= 60 for accuracy, _, _ in known)
    # What a lower bound shows to be worse is not priced; what is on the front has its exact cost.
    costs = {text: (accuracy, edp) for accuracy, edp, text in known}
    assert candidate["front"]
    for row_accuracy, energy_pj, latency_s, code in candidate["front"]:
        assert (row_accuracy, energy_pj * 1e-12 * latency_s) == pytest.approx(costs[space.text(code)], rel=1e-9)


def test_every_level_of_accuracy_gets_its_best_network(folder: Path) -> None:
    candidate = only(started(folder, GIVEN.replace("at_least: 60", "at_least: [64, 45, 60]")))
    known = everything(folder, "eyeriss")
    least = [min(edp for accuracy, edp, _ in known if accuracy >= level) for level in (45, 60, 64)]
    networks = sorted(candidate["networks"], key=lambda each: each["specification"]["position"])
    assert [each["network"] for each in networks] == [f"tiny, at least {level}" for level in (45, 60, 64)]
    assert [each["edp_js"] for each in networks] == pytest.approx(least, rel=1e-12)
    assert candidate["edp_js"] == pytest.approx(math.prod(least) ** (1 / 3), rel=1e-12)
    assert candidate["accuracy"] == pytest.approx(sum(each["accuracy"] for each in networks) / 3)
    points = np.array([(edp, -accuracy) for accuracy, edp, _ in known if accuracy >= 45])
    expected = sorted((-accuracy, edp) for edp, accuracy in points[front(points)])
    ours = sorted((row[0], row[1] * 1e-12 * row[2]) for row in candidate["front"])
    np.testing.assert_allclose(ours, expected, rtol=1e-9)


@pytest.mark.parametrize("hardware", ["raspberry_pi_4", "pcm_256"])
def test_any_kind_of_hardware(folder: Path, hardware: str) -> None:
    candidate = only(started(folder, GIVEN.replace("eyeriss", hardware)))
    known = everything(folder, hardware)
    assert candidate["edp_js"] == pytest.approx(min(edp for accuracy, edp, _ in known if accuracy >= 60), rel=1e-12)
    assert candidate["layers"] == []
    table = export.layers(folder / "run")
    assert sum(table.columns()["energy_pj"][1]) == pytest.approx(candidate["energy_pj"])


def test_other_goals(folder: Path) -> None:
    for goal, quantity in (("latency", "latency_s"), ("energy", "energy_pj")):
        candidate = only(started(folder, GIVEN + f"objective: {goal}\n", goal))
        space = spaces.load(folder / "tiny.yaml")
        least = min(
            getattr(evaluate(space.network(code), "eyeriss", objective=goal).results[0], quantity)  # type: ignore[arg-type]
            for code in space.codes()
            if accuracy_of(space, code) >= 60
        )
        assert candidate[quantity] == pytest.approx(least, rel=1e-12)


def test_a_nested_search_over_hardware_goes_on_where_it_was_stopped(folder: Path) -> None:
    whole = started(folder, NESTED)
    experiment = Experiment.load(folder / "experiment.yaml")

    class StoppedError(Exception):
        pass

    def stop(progress: run.Progress) -> None:
        if progress.evaluated == 4:
            raise StoppedError

    with pytest.raises(StoppedError):
        run.start(experiment, folder / "stopped", stop)
    run.resume(folder / "stopped", workers=2)
    assert found(folder / "stopped") == found(whole)
    (summary,) = summaries(whole)
    assert summary.best is not None and summary.baseline is not None
    # Hardware that may be as the baseline, or better, with the same networks.
    assert summary.best[1]["accuracy"] >= 60
    assert summary.evaluated == 6


def test_the_ledger_is_rebuilt_with_networks_and_fronts(folder: Path) -> None:
    path = started(folder, GIVEN)
    before = only(path)
    (path / "ledger.sqlite").write_bytes(b"x" * 5000)
    with Ledger(path):
        pass
    assert only(path) == before


def test_a_network_of_its_own_for_the_baseline(folder: Path) -> None:
    text = NESTED.replace("  at_least", "  baseline: {network: mobilenet_v2, accuracy: 72}\n  at_least")
    path = started(folder, text.replace("generations: 2", "generations: 1"))
    (summary,) = summaries(path)
    assert summary.baseline is not None
    assert summary.baseline["accuracy"] == 72
    assert summary.baseline["edp"] == pytest.approx(evaluate("mobilenet_v2", "eyeriss").results[0].edp_js)
    encoding = next(spaces.load(folder / "tiny.yaml").codes())
    written_so = json.dumps(spaces.load(folder / "tiny.yaml").text(encoding))
    text = NESTED.replace("  at_least", f"  baseline: {{network: {written_so}}}\n  at_least")
    point = Experiment.load(written(folder, text)).points[0]
    assert point.baseline is not None and point.baseline.network is not None
    assert point.baseline.network["code"] == list(encoding)
    space = spaces.load(folder / "tiny.yaml")
    assert point.baseline.accuracy == pytest.approx(accuracy_of(space, encoding))


# -------------------------------------------------------------------------------------------------------- joint mode

JOINT = NESTED.replace("  at_least: 60", "  mode: joint\n  at_least: 50")


def joint_space(folder: Path, text: str = JOINT) -> JointSpace:
    space = Experiment.load(written(folder, text)).points[0].space
    assert isinstance(space, JointSpace)
    return space


def test_a_joint_space_encodes_hardware_and_network(folder: Path) -> None:
    space = joint_space(folder)
    random = np.random.default_rng(0)
    built = 0
    for _ in range(60):
        vector = random.random(space.size)
        values = space.decode(vector)
        design = space.build(values)
        if not isinstance(design, JointDesign):
            continue
        built += 1
        assert accuracy_of(space.networks.space, design.code) >= 50
        again = space.build(space.decode(space.encode(design.values)))
        assert isinstance(again, JointDesign)
        assert (again.digest, again.code) == (design.digest, design.code)
        near = space.neighbour(design.values, random)
        assert set(near) == set(values)
        if near[NETWORK] != design.values[NETWORK] or near != design.values:
            other = space.build(near)
            assert not isinstance(other, JointDesign) or other.digest != design.digest or other.code == design.code
    assert built > 10


def test_networks_that_are_accurate_enough_are_left_alone(folder: Path) -> None:
    space = joint_space(folder)
    for code in space.networks.space.codes():
        accurate = accuracy_of(space.networks.space, code) >= 50
        assert (space._accurate(list(code)) == code) == accurate


def test_a_joint_search_for_edp_and_accuracy(folder: Path) -> None:
    text = JOINT.replace("search: {", "objective: [edp, accuracy]\nsearch: {optimiser: nsga2, ")
    text = text.replace("population: 3, generations: 2", "population: 6, generations: 3")
    path = started(folder, text)
    (summary,) = summaries(path)
    assert summary.best is not None
    with Ledger(path, write=False) as ledger:
        records = ledger.objectives(0)
        sample = next(key for key, record in records.items() if record["status"] == "ok" and key != "baseline")
        candidate = ledger.candidate(0, sample)
    (network,) = candidate["networks"]
    code = tuple(network["specification"]["code"])
    space = spaces.load(folder / "tiny.yaml")
    assert candidate["accuracy"] == pytest.approx(accuracy_of(space, code))
    assert candidate["choices"][NETWORK] == space.text(code)
    assert candidate["datasheet"]["name"] == f"nested_{sample}"
    record = records[sample]
    assert scores(record, ["edp", "accuracy"]) == [candidate["edp_js"], -candidate["accuracy"]]
    # Who is stopped and goes on finds the same.
    run.start(Experiment.load(folder / "experiment.yaml"), folder / "again")
    assert found(folder / "again") == found(path)


def test_accuracy_is_the_more_the_better() -> None:
    assert minimised({"edp": 2.0, "accuracy": 70.0}, ["accuracy", "edp"]) == [-70.0, 2.0]
    assert scores({"status": "ok", "objectives": {"edp": 1.0}}, ["edp", "accuracy"]) == [math.inf, math.inf]
    assert scores({"status": "failed"}, ["edp"]) == [math.inf]


# --------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "at_least: 60",
            "at_least: 99.5",
            "nas.at_least: no network of tiny reaches 99.5 by table accuracy.csv: the best",
        ),
        ("at_least: 60", "at_least: .nan", "nas.at_least[0]: must be finite (got nan)"),
        ("at_least: 60", "strategy: greedy", "nas.strategy: must be one of surrogate, nsga2"),
        ("at_least: 60", "at_least: [50, 60]\n  strategy: ofa_evolution", "ofa_evolution takes one objective"),
        ("at_least: 60", "mode: both", "nas.mode: must be one of 'nested' or 'joint'"),
        ("tiny.yaml", "tinny.yaml", "tinny.yaml"),
        ("tiny.yaml", "ofa_mobilnet_v3", "unknown space 'ofa_mobilnet_v3': did you mean ofa_mobilenet_v3?"),
        ("name: table", "name: tabel", "'tabel': did you mean table?"),
        ("accuracy.csv", "none.csv", "nas.accuracy"),
        ("{name: table, options: {file: accuracy.csv}}", "nas_bench_201", "estimates networks of nas_bench_201 only"),
        ("nas:\n", "networks: ds_cnn\nnas:\n", "give one of networks and nas (got networks and nas)"),
        ("workers:", "objective: [edp, accuracy]\nworkers:", "accuracy is an objective of the joint mode"),
        ("workers:", "accuracy: {after: 1 month}\nworkers:", "accuracy: is for given networks that are trained"),
        ("like: eyeriss", "like: raspberry_pi_4", "must be an accelerator or a crossbar (got raspberry_pi_4)"),
        ("space: naas", "space: crossbar", "the crossbar space needs the crossbar that it is like"),
        ("  at_least", "  baseline: {network: '{\"d\": 3}'}\n  at_least", "nas.baseline.network: tiny: unknown 'd'"),
        ("  at_least", "  baseline: {network: 'tiny.yaml:{\"d\": 3}'}\n  at_least", "network: tiny: unknown 'd'"),
    ],
)
def test_wrong_searches_get_place_rule_and_value(folder: Path, old: str, new: str, expected: str) -> None:
    assert old in NESTED
    with pytest.raises(DocumentError) as error:
        Experiment.load(written(folder, NESTED.replace(old, new)))
    assert expected in str(error.value)


def test_nothing_runs(folder: Path) -> None:
    path = started(folder, GIVEN.replace("eyeriss", "arduino_uno"))
    candidate = only(path)
    assert candidate["status"] == "infeasible"
    assert "no network that reaches 60 runs" in candidate["reason"]


def test_a_budget_of_power_holds_for_the_networks(folder: Path) -> None:
    free = only(started(folder, NESTED.replace("space: naas", "accelerators: [eyeriss]"), "free"))
    power_mw = free["energy_pj"] * 1e-9 / free["latency_s"]
    limited = NESTED.replace("space: naas, budget: {", "accelerators: [eyeriss], budget: {macs: 168, ")
    candidate = only(started(folder, limited.replace("like: eyeriss", f"power: {power_mw * 0.97} mW"), "limited"))
    assert candidate["status"] == "infeasible" or (
        candidate["energy_pj"] * 1e-9 / candidate["latency_s"] <= power_mw * 0.97
        and candidate["edp_js"] > free["edp_js"]
    )


# ----------------------------------------------------------------------------------------------------------- commands


def test_the_command_for_given_hardware(folder: Path) -> None:
    done = codesign("nas", written(folder, GIVEN), "--csv", folder / "front.csv", "--json", folder / "front.json")
    assert done.returncode == 0, done.stderr
    candidate = only(started(folder, GIVEN))
    rows = json.loads((folder / "front.json").read_text())
    assert [row["energy_pj"] for row in rows] == [row[1] for row in candidate["front"]]
    with (folder / "front.csv").open() as file:
        assert [row["network"] for row in csv.DictReader(file)] == [row["network"] for row in rows]
    assert rows[0]["network"].startswith(f"{folder / 'tiny.yaml'}:")
    evaluated = codesign("evaluate", rows[0]["network"], "--on", "eyeriss", "--json", folder / "one.json")
    assert evaluated.returncode == 0, evaluated.stderr
    assert json.loads((folder / "one.json").read_text())[0]["energy_pj"] == pytest.approx(rows[0]["energy_pj"])
    assert "(best)" in done.stdout
    assert "\ncosts: optimal per layer\naccuracies: table accuracy.csv, measured\n" in done.stdout
    # What was written may be read as a table of accuracies.
    again = GIVEN.replace("accuracy.csv", "front.csv")
    assert codesign("nas", written(folder, again)).returncode == 0
    refused = codesign("nas", written(folder, NESTED))
    assert refused.returncode == 2
    assert "hardware is searched here: codesign run" in refused.stderr


#: A processor maps nothing: a network takes a millisecond.
ON_CPU = GIVEN.replace("eyeriss", "raspberry_pi_4") + "objective: latency\n"


def on_cpu(folder: Path, wanted: str, queries: int = 120) -> tuple[Judged, list[tuple[float, float, tuple[int, ...]]]]:
    """What a search finds with a part of ``nas``, and (accuracy, latency, code) of all networks."""
    text = ON_CPU.replace("at_least: 60", wanted).replace("queries: 1000", f"queries: {queries}")
    point = Experiment.load(written(folder, text), fronts=True).points[0]
    assert point.nas is not None
    search = NetworkSearch.of(point.nas)
    codes = list(search.space.codes())
    costs = NetworkCosts(search.works(False), devices.load("raspberry_pi_4")).costs(codes)
    known = [(accuracy_of(search.space, c), float(cost[1]), tuple(c)) for c, cost in zip(codes, costs, strict=True)]
    return search.run(devices.load("raspberry_pi_4")), known


def test_without_a_level_the_whole_front_is_searched(folder: Path) -> None:
    judged, known = on_cpu(folder, "batch: 1", queries=1000)
    points = np.array([(latency, -accuracy) for accuracy, latency, _ in known])
    assert judged.chosen == ()
    assert {row[3] for row in judged.front} == {known[i][2] for i in front(points)}
    # Nothing is better than the rest.
    done = codesign("nas", folder / "experiment.yaml")
    assert done.returncode == 0, done.stderr
    assert "best" not in done.stdout


@pytest.mark.parametrize("strategy", ["ofa_evolution", "nsga2", "surrogate", "reinforce"])
def test_the_most_accurate_network_within_a_limit(folder: Path, strategy: str) -> None:
    judged, known = on_cpu(folder, f"at_most: 300 us\n  strategy: {strategy}", queries=160)
    within = [each for each in known if each[1] <= 300e-6]
    assert len(within) < len(known) / 4
    (chosen,) = judged.chosen
    accuracies = {code: accuracy for accuracy, _, code in within}
    assert chosen is not None
    assert accuracies[chosen] >= sorted(accuracies.values())[-2]
    assert all(row[2] is not None and row[2] <= 300e-6 for row in judged.front)
    assert chosen in {row[3] for row in judged.front}


def test_every_limit_gets_its_network(folder: Path) -> None:
    judged, known = on_cpu(folder, "at_most: [0.4 ms, 0.01 ms, 250 us]", queries=1000)
    best = [max(each for each in known if each[1] <= limit)[2] for limit in (250e-6, 400e-6)]
    assert judged.chosen == (None, *best)
    assert judged.least == min(latency for _, latency, _ in known)
    done = codesign("nas", folder / "experiment.yaml")
    assert done.returncode == 0, done.stderr
    words = " ".join(done.stdout.split())
    assert "(best within 0.25 ms)" in words
    assert "(best within 0.4 ms)" in words
    assert f"no network within 0.01 ms: the least that was found is {judged.least * 1e3:.4g} ms" in words


def test_limits_that_no_network_keeps(folder: Path) -> None:
    with pytest.raises(NothingRunsError, match=r"no network within 0\.01 ms: the least that was found is 0\.1\d* ms"):
        on_cpu(folder, "at_most: 0.01 ms")
    limited = ON_CPU.replace("at_least: 60", "at_most: 0.01 ms")
    done = codesign("nas", written(folder, limited))
    assert done.returncode == 1
    assert "the least that was found" in done.stdout


def test_rewards_choose_the_network(folder: Path) -> None:
    judged, known = on_cpu(folder, "reward: {kind: mnasnet, target: 0.4 ms, within: 0, beyond: -1}", queries=1000)
    best = max(known, key=lambda each: (each[0] * min(1, 0.4e-3 / each[1]), -each[1]))
    assert judged.chosen == (best[2],)
    judged, _ = on_cpu(folder, "reward: {kind: weighted, points: 5, per: 0.1 ms}", queries=1000)
    assert judged.chosen == (max(known, key=lambda each: each[0] - 5 * each[1] / 0.1e-3)[2],)
    learned, _ = on_cpu(
        folder,
        "reward: {kind: mnasnet, target: 0.4 ms}\n  strategy: {name: reinforce, options: {rate: 0.1}}",
    )
    assert len(learned.chosen) == 1


def test_the_accuracy_is_the_first_of_two_objectives(folder: Path) -> None:
    """Strategies that predict what a query buys take it for that."""
    path = written(folder, ON_CPU.replace("at_least: 60", "at_least: [50, 60]"))
    nas = Experiment.load(path).points[0].nas
    assert nas is not None
    search = NetworkSearch.of(nas)
    codes = np.array(list(search.space.codes()))[:3]
    found = search._scores(codes, np.array([2.0, 3.0, math.inf]))
    assert found[:2].tolist() == [[-search.accuracies(codes)[i], value] for i, value in enumerate((2.0, 3.0))]
    assert np.isinf(found[2]).all()


@pytest.mark.parametrize(
    ("unit", "goal"), [("5 ms", "latency"), ("3 mJ", "energy"), ("0.5 mJ ms", "edp"), ("5e-7 Js", "edp")]
)
def test_limits_have_the_unit_of_the_objective(unit: str, goal: str) -> None:
    expected = {"5 ms": 0.005, "3 mJ": 3e9, "0.5 mJ ms": 5e-7, "5e-7 Js": 5e-7}[unit]
    assert limit_of(unit, goal) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("at_most: 20 mJ", "nas.at_most[0]: must be a time in seconds with a unit of s, ms, us, ns (got '20 mJ')"),
        ("at_most: [20 ms, 0 ms]", "nas.at_most[1]: must be > 0 (got '0 ms')"),
        ("at_most: soon", "nas.at_most[0]: must be a number, or text with a unit (got 'soon')"),
        ("at_most: 20 ms\n  at_least: 60", "give one of at_least, at_most and reward (got at_least and at_most)"),
        ("at_most: [1 ms, 2 ms]\n  strategy: reinforce", "takes one objective; for several limits: surrogate, nsga2"),
        ("strategy: ofa_evolution", "takes one objective; for a front: surrogate, nsga2"),
        ("reward: {kind: mnasnet, per: 1 ms}", "nas.reward: mnasnet needs target, and may have within and beyond"),
        ("reward: {kind: weighted, points: 1}", "nas.reward: weighted needs points and per (got points)"),
        ("reward: {kind: mnasnet, target: 1 ms, within: -1e300}", "nas.reward.within: must be >= -10 (got -1e+300)"),
        ("reward: {kind: weighted, points: .inf, per: 1 ms}", "nas.reward.points: must be <= 1e+09 (got inf)"),
        ("reward: {kind: mnasnet, target: 3 mJ}", "nas.reward.target: must be a time in seconds"),
        ("strategy: {name: surrogate, options: {rate: 1}}", "nas.strategy.options: surrogate: unknown option 'rate'"),
        ("strategy: {name: surrogate, options: {acquisition: thompson}}", "acquisition is for one objective"),
        ("at_least: 50\n  strategy: {name: surrogate, options: {model: tree}}", "no model is called 'tree'"),
        ("strategy: {name: surrogate, options: {costs: 1}}", "surrogate: unknown option 'costs'"),
        ("strategy: {name: nsga2, options: {population: 9}}", "nsga2: unknown option 'population'"),
        ("reward: {kind: weighted, points: 1, per: 1 ms}\n  strategy: {name: reinforce, options: {rate: fast}}",
         "nas.strategy: reinforce: rate must be a number > 0 (got 'fast')"),
    ],
)  # fmt: skip
def test_wrong_limits_rewards_and_strategies(folder: Path, wanted: str, expected: str) -> None:
    with pytest.raises(DocumentError) as error:
        Experiment.load(written(folder, ON_CPU.replace("at_least: 60", wanted)), fronts=True)
    assert expected in str(error.value)


@pytest.mark.parametrize(
    ("text", "old", "new", "expected"),
    [
        (GIVEN, "  at_least: 60\n", "", "nas.at_least: is required: without a level of accuracy the cheapest network"),
        (NESTED, "  at_least: 60\n", "", "use codesign nas (given hardware) or mode: joint"),
        (NESTED, "  at_least: 60\n", "  mode: joint\n", "nas.at_least: is required"),
        (GIVEN, "at_least: 60", "at_most: 1 mJ ms", "nas.at_most: is for codesign nas; designs are compared by"),
        (NESTED, "at_least: 60", "at_most: 1 mJ ms", "nas.at_most: is for given hardware; where hardware is searched"),
        (GIVEN, "workers:", "objective: [latency, accuracy]\nworkers:", "a nested search takes levels of it"),
    ],
)
def test_a_run_needs_a_level_of_accuracy(folder: Path, text: str, old: str, new: str, expected: str) -> None:
    assert old in text
    path = written(folder, text.replace(old, new))
    with pytest.raises(DocumentError) as error:
        Experiment.load(path)
    assert expected in str(error.value)


def test_a_joint_search_for_accuracy_needs_no_level(folder: Path) -> None:
    text = NESTED.replace("at_least: 60", "mode: joint").replace("search: {", "search: {optimiser: nsga2, ")
    assert Experiment.load(written(folder, text + "objective: [edp, accuracy]\n")).points[0].nas is not None


def test_fronts_are_exported(folder: Path) -> None:
    path = started(folder, NESTED.replace("generations: 2", "generations: 1"))
    columns = export.fronts(path).columns()
    space = spaces.load(folder / "tiny.yaml")
    for text, accuracy in zip(columns["network"][1], columns["accuracy"][1], strict=True):
        assert accuracy == pytest.approx(accuracy_of(space, space.parse(text)))
    rows = export.candidates(path).columns()
    assert all(count > 0 for count in rows["judged"][1])
    assert rows["network.tiny.accuracy_kind"][1] == ["measured"] * len(export.candidates(path))


@pytest.mark.parametrize(
    ("hardware", "expected"),
    [
        ("raspberry_pi_4", "costs: roofline, fp32, litert, 1 of 4 cores\n"),
        ("phone.npz", " ms (of the best network)\n"),
    ],
)
def test_the_command_says_where_figures_come_from(folder: Path, hardware: str, expected: str) -> None:
    if hardware == "phone.npz":
        space = spaces.load(folder / "tiny.yaml")
        networks = sorted(map(space.network, space.codes()), key=lambda net: net.macs)[::-6]
        Predictor("ms").fit(networks, [net.macs * 1e-7 for net in networks]).save(folder / "phone.npz")
    text = GIVEN.replace("eyeriss", hardware).replace("seed: 3", "seed: 3\nobjective: latency")
    done = codesign("nas", written(folder, text))
    assert done.returncode == 0, done.stdout + done.stderr
    assert expected in done.stdout
    assert "accuracies: table accuracy.csv, measured\n" in done.stdout
    if hardware == "phone.npz":
        limited = text.replace("accelerators: [phone.npz]", "accelerators: [phone.npz], budget: {power: 5 W}")
        done = codesign("nas", written(folder, limited))
        assert (done.returncode, "phone does not say the power of a network" in done.stdout) == (1, True)


def test_samples_can_be_learnt_from(tmp_path: Path) -> None:
    file = tmp_path / "drawn.csv"
    done = codesign("sample", "nas_bench_201", "--count", 8, "--csv", file)
    assert done.returncode == 0, done.stderr
    with file.open(newline="") as stream:
        (column,), *rows = csv.reader(stream)
    assert column == "network" and len(rows) == 8
    wide = tmp_path / "wide.csv"
    done = codesign("sample", "ofa_mobilenet_v3", "--count", 6, "--csv", wide)
    with wide.open(newline="") as stream:
        names = [row["network"] for row in csv.DictReader(stream)]
    assert len(names) == 6 and all(name.startswith('ofa_mobilenet_v3:{"d": [') for name in names)
    # Measured, it is what learn takes.
    with wide.open("w", newline="") as stream:
        csv.writer(stream).writerows([("network", "latency_ms"), *((name, i + 10) for i, name in enumerate(names))])
    learnt = codesign("learn", wide, "--out", tmp_path / "p.npz")
    assert "learnt from 6 networks" in learnt.stdout, learnt.stderr


def test_sampling_and_scoring() -> None:
    drawn = codesign("sample", "nas_bench_201", "--count", 3, "--seed", 1)
    assert drawn.returncode == 0, drawn.stderr
    first, *others = drawn.stdout.splitlines()
    assert len(others) == 2
    scored = codesign("score", first, "--accuracy", "nas_bench_201", "--on", "eyeriss", "raspberry_pi_4")
    assert scored.returncode == 0, scored.stderr
    assert "(measured)" in scored.stdout
    assert "raspberry_pi_4" in scored.stdout
    wrong = codesign("score", "nas_bench_201:|none~0|", "--accuracy", "nas_bench_201")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("error: nas_bench_201:")
    wide = codesign("sample", "ofa_mobilenet_v3", "--set", "breadth=1.3", "--count", 1)
    assert wide.returncode == 2
    assert "breadth" in wide.stderr


# ---------------------------------------------------------------------------------------------------------- crossbars

CROSSBARS = """\
name: crossbars
networks: digits_resnet8
accuracy: {after: 1 month, programmings: 1, images: 100}
objective: [edp, accuracy]
hardware: {space: crossbar, budget: {like: pcm_256}}
search: {optimiser: nsga2, population: 4, generations: 2}
"""


def test_crossbars_are_searched_for_edp_and_accuracy_after_a_month(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from accelerators import catalog
    from accelerators.crossbar import area
    from accelerators.crossbar.crossbar import Crossbar
    from accelerators.documents import Document
    from codesign.analog import accuracy_after, trained

    path = started(tmp_path, CROSSBARS)
    likeness, network = catalog.load("pcm_256"), trained.load("digits_resnet8")
    assert isinstance(likeness, Crossbar)
    with Ledger(path, write=False) as ledger:
        kept = [
            ledger.candidate(0, digest) for digest, record in ledger.objectives(0).items() if record["status"] == "ok"
        ]
    assert len(kept) >= 4
    for candidate in kept[:3]:
        hardware = catalog.from_document(Document("candidate", candidate["datasheet"]))
        assert isinstance(hardware, Crossbar)
        assert area.area_mm2(hardware) <= area.area_mm2(likeness) * (1 + 1e-9)
        assert candidate["edp_js"] == pytest.approx(evaluate(network.network, hardware).results[0].edp_js)
        expected = accuracy_after(network, hardware, time_s=2_592_000, programmings=1, images=100)
        assert candidate["accuracy"] == pytest.approx(expected.mean)
    searched = {name for candidate in kept for name in candidate["choices"]}
    assert {"arrays.rows", "arrays.count", "cell.bits", "adc.bits", "adc.columns"} <= searched


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("digits_resnet8", "digits_resnet9", "networks[0]"),
        ("digits_resnet8", "{network: digits_resnet8, options: {batch: 2}}", "trained networks have none (got batch)"),
        ("1 month", "1 fortnight", "accuracy.after"),
        ("budget: {like: pcm_256}", "budget: {like: pcm_256, area: 0.001 mm2}", "no design is valid"),
        ("like: pcm_256", "like: eyeriss", "the crossbar space needs the crossbar that it is like"),
        ("like: pcm_256", "like: pcm_256, macs: 100", "hardware.budget.macs: a crossbar has no such limit"),
        ("accuracy: {after", "#accuracy: {after", "unknown network 'digits_resnet8'"),
    ],
)
def test_wrong_searches_of_crossbars(tmp_path: Path, old: str, new: str, expected: str) -> None:
    pytest.importorskip("torch")
    assert old in CROSSBARS
    with pytest.raises(DocumentError) as error:
        Experiment.load(written(tmp_path, CROSSBARS.replace(old, new)))
    assert expected in str(error.value)


# ------------------------------------------------------------------------------------------------- what went wrong once


@pytest.mark.parametrize("strategy", ["ofa_evolution", "nsga2", "regularised_evolution", "random", "surrogate"])
def test_one_network_that_is_accurate_enough_is_enough(folder: Path, strategy: str) -> None:
    accuracies = sorted(accuracy for accuracy, _, _ in everything(folder, "eyeriss"))
    level = (accuracies[-1] + accuracies[-2]) / 2
    candidate = only(started(folder, GIVEN.replace("at_least: 60", f"at_least: {level}\n  strategy: {strategy}")))
    assert candidate["status"] == "ok", candidate["reason"]
    assert candidate["judged"] == 1
    assert candidate["accuracy"] == pytest.approx(accuracies[-1])


def test_levels_that_look_alike_stay_apart(folder: Path) -> None:
    candidate = only(started(folder, GIVEN.replace("at_least: 60", "at_least: [60.00000001, 60.00000002]")))
    assert len(candidate["networks"]) == 2


def test_a_few_networks_of_a_large_space_are_enough(folder: Path) -> None:
    space = spaces.load("ofa_mobilenet_v3")
    codes = space.sample(np.random.default_rng(0), 5)
    with (folder / "few.csv").open("w", newline="") as file:
        rows = [(space.text(code), 70 + i) for i, code in enumerate(codes)]
        csv.writer(file).writerows([("network", "accuracy"), *rows])
    text = GIVEN.replace("tiny.yaml", "ofa_mobilenet_v3").replace("accuracy.csv", "few.csv")
    candidate = only(started(folder, text.replace("at_least: 60", "at_least: 73")))
    assert candidate["status"] == "ok", candidate["reason"]
    assert candidate["accuracy"] in (73, 74)
    assert candidate["judged"] == 2


@pytest.mark.parametrize("changed", ["accuracy.csv", "tiny.yaml"])
def test_changed_files_are_refused_at_resume_and_read_anew(folder: Path, changed: str) -> None:
    path = started(folder, GIVEN)
    before = only(path)
    if changed == "accuracy.csv":
        rows = (folder / changed).read_text().splitlines()
        lines = [rows[0], *(f"{row.rpartition(',')[0]},{100 - float(row.rpartition(',')[2])}" for row in rows[1:])]
        (folder / changed).write_text("\n".join(lines))
    else:
        (folder / changed).write_text(SPACE + "# as it was\n")
    refused = codesign("resume", path)
    assert refused.returncode == 2
    assert f"{changed} has changed" in refused.stderr
    after = only(started(folder, GIVEN, "again"))
    assert (after["accuracy"] == before["accuracy"]) == (changed == "tiny.yaml")


def test_files_within_options_and_folders_are_noted(folder: Path) -> None:
    experiment = Experiment.load(written(folder, GIVEN))
    assert {Path(name).name for name in experiment.files} == {"tiny.yaml", "accuracy.csv"}
    (folder / "net").mkdir()
    (folder / "net" / "labels.npy").write_bytes(b"1")
    assert files_of({"trained": str(folder / "net")}) == (folder / "net" / "labels.npy",)
    assert files_of({"space": "quantised", "options": {"space": str(folder / "tiny.yaml")}}) == (folder / "tiny.yaml",)
    assert files_of({"network": "resnet18", "options": {"batch": 1}}) == ()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("at_least: 60", "at_least: 0.6", "accuracies are in per cent (got 0.6)"),
        ("at_least: 60", "mode: joint\n  at_least: [50, 60]", "a joint search takes one level (got 2)"),
        (
            "space: tiny.yaml",
            "space: tiny.yaml\n  options: {width: 1}",
            "a space from a file has no options (got width)",
        ),
        ("file: accuracy.csv", "file: accuracy.csv, name: x", "unknown option 'name'"),
        ("file: accuracy.csv", "file: accuracy.csv, space: x", "unknown option 'space'"),
    ],
)
def test_more_wrong_searches(folder: Path, old: str, new: str, expected: str) -> None:
    assert old in NESTED
    with pytest.raises(DocumentError) as error:
        Experiment.load(written(folder, NESTED.replace(old, new)))
    assert expected in str(error.value)


def test_joint_searches_need_something_to_search(folder: Path) -> None:
    with pytest.raises(DocumentError, match="here designs are given"):
        Experiment.load(written(folder, GIVEN.replace("at_least: 60", "mode: joint")))


def test_the_command_keeps_budgets_and_what_it_reads(folder: Path) -> None:
    limited = GIVEN.replace("accelerators: [eyeriss]", "accelerators: [eyeriss], budget: {area: 0.01 mm2}")
    done = codesign("nas", written(folder, limited))
    assert done.returncode == 1
    assert "mm2, the budget is 0.01" in done.stdout
    for target in ("accuracy.csv", "experiment.yaml"):
        before = (folder / target).read_text()
        refused = codesign("nas", written(folder, GIVEN), "--csv", folder / target)
        assert refused.returncode == 2
        assert "would be written over what is read" in refused.stderr
        assert (folder / target).read_text() == before or target == "experiment.yaml"
    assert codesign("nas", folder / "experiment.yaml", "--csv", folder / "none" / "x.csv").returncode == 2


def test_the_report_says_whose_gain_it_is(folder: Path) -> None:
    text = NESTED.replace("  at_least", "  baseline: {network: mobilenet_v2, accuracy: 72}\n  at_least")
    path = started(folder, text.replace("generations: 2", "generations: 1"))
    done = codesign("report", path)
    assert done.returncode == 0, done.stderr
    assert "by the network, which has" in done.stdout
    assert (path / "best" / "network.txt").exists()
    page = (path / "report.html").read_text()
    assert 'class="network"' in page
    assert "Accuracy against EDP" in page
    # The product of both parts is the whole.
    times = "\N{MULTIPLICATION SIGN}"
    said = done.stdout.partition("Against the baseline")[2].partition("by the hardware")[0]
    parts = re.findall(rf"(\S+){times}\s+(lower|higher)|(the\s+same)", said)
    whole, network, hardware = (
        1 if same else float(number) ** (1 if way == "lower" else -1) for number, way, same in parts
    )
    assert whole == pytest.approx(network * hardware, rel=0.03)
    # The other way round, it is higher.
    with Ledger(path, write=False) as ledger:
        run = Run.of(ledger)
    assert run.best is not None and run.baseline is not None
    (sentence,) = _Page(replace(run, best=run.baseline, baseline=run.best)).gains()
    turned = re.findall(rf"(\S+){times} (lower|higher)|(the same)", sentence)
    assert turned[0][1] == {"lower": "higher", "higher": "lower", "": ""}[parts[0][1]]
    assert turned[0][0] == parts[0][0]


def test_processors_in_other_number_types(tmp_path: Path) -> None:
    text = 'name: types\nnetworks: ds_cnn\nobjective: latency\nhardware: {accelerators: [v100, "v100:fp16"]}\n'
    path = started(tmp_path, text)
    table = export.candidates(path).columns()
    found = dict(zip(table["accelerator"][1], table["latency_s"][1], strict=True))
    for name in ("v100", "v100:fp16"):
        assert found[name] == pytest.approx(evaluate("ds_cnn", name).results[0].latency_s)
    with pytest.raises(DocumentError, match=r"hardware\.accelerators"):
        Experiment.load(written(tmp_path, text.replace("v100:fp16", "v100:int3")))
