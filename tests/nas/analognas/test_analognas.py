"""AnalogNAS: the ranking loss by brute force, surrogates on known functions, searches that are better than chance."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.nas.analognas import Evolution, Labels, Limits, Surrogate, evolve, search_at_random, shipped_search
from codesign.nas.analognas.ranking import Ranker, pairwise_hinge
from codesign.nas.analognas.tables import read_table
from codesign.nas.spaces.analog_resnet import FEATURES, AnalogResNet, Architecture, MainBlock, parameters

PUBLISHED = Path(__file__).parent / "data" / "published_cifar10_head.csv"
SPACE = AnalogResNet(channels=(4, 8, 12), kernels=(3, 5), main_blocks=(1, 2, 3), depths=(1, 2, 3), branches=(1, 2, 3))


# -- the loss ----------------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-3, 3), st.sampled_from([0.0, 0.5, 1.0, 2.0])), min_size=1, max_size=12),
    st.floats(0.1, 2),
)
def test_the_hinge_is_its_sum_over_pairs(pairs, margin):
    scores, labels = (np.array(values) for values in zip(*pairs, strict=True))
    total, gradient, count = 0.0, np.zeros(len(pairs)), 0
    for i in range(len(pairs)):
        for j in range(len(pairs)):
            if labels[i] > labels[j]:
                count += 1
                loss = max(0.0, margin - (scores[i] - scores[j]))
                total += loss
                if loss > 0:
                    gradient[i] -= 1
                    gradient[j] += 1
    found, slope = pairwise_hinge(scores, labels, margin)
    assert found == pytest.approx(total / max(1, count))
    np.testing.assert_allclose(slope, gradient / max(1, count))


def test_the_hinge_of_a_pair():
    assert pairwise_hinge([0.0, 0.25], [1.0, 0.0])[0] == 1.25
    assert pairwise_hinge([0.0, 0.25], [1.0, 0.0])[1].tolist() == [-1, 1]
    assert pairwise_hinge([2.0, 0.0], [1.0, 0.0])[0] == 0
    assert pairwise_hinge([2.0, 0.0], [1.0, 1.0]) == (0.0, pytest.approx([0, 0]))


# -- surrogates --------------------------------------------------------------------------------------------------------


def _features(count, seed=0):
    random = np.random.default_rng(seed)
    return np.array([SPACE.draw(random).encode() for _ in range(count)], float)


def _value(features):
    """Something smooth that depends on channels, depth and branches."""
    return 0.9 - 0.5 / features[:, 0] - 0.1 / features[:, 2:7].sum(axis=1) + 0.01 * features[:, 9]


@pytest.mark.parametrize("loss", ["hinge", "squared"])
def test_rankers_learn_an_order(loss):
    stats = pytest.importorskip("scipy.stats")
    pytest.importorskip("torch")
    train, test = _features(150), _features(100, seed=1)
    ranker = Ranker(loss, members=2).fit(train, _value(train))
    predicted = ranker.predict(test)
    assert stats.kendalltau(predicted, _value(test)).statistic > 0.8
    # Scores are in the labels' unit.
    assert np.abs(predicted - _value(test)).mean() < 0.5 * _value(test).std()
    again = Ranker(loss, members=2).fit(train, _value(train))
    assert np.array_equal(predicted, again.predict(test))


def test_what_cannot_be_learnt_is_refused():
    x = _features(5)
    for features, labels, message in (
        (x, np.ones(5), r"labels must differ \(got 5 times 1\)"),
        (x, np.ones(4), r"n >= 2 \(got \(5, 22\) and \(4,\)\)"),
        (x, np.array([1, 2, 3, 4, np.nan]), "features and labels must be finite"),
    ):
        with pytest.raises(ValueError, match=message):
            Ranker().fit(features, labels)
    with pytest.raises(ValueError, match=r"loss must be one of hinge, squared \(got 'mae'\)"):
        Ranker("mae")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"must be >= 1, batch >= 2 \(got 32, 0, 300, 128\)"):
        Ranker(members=0)


def test_surrogates_never_predict_less_scatter_than_they_saw():
    pytest.importorskip("torch")
    features = _features(60)
    random = np.random.default_rng(0)
    labels = Labels(_value(features), random.uniform(0.02, 0.03, 60), random.uniform(1, 9, 60))
    surrogate = Surrogate("squared").fit(features, labels)
    predicted = surrogate.predict([Architecture(4, (MainBlock(3, "B", 2, 3),) * 3), Architecture(12, (MainBlock(1),))])
    assert predicted.std.min() >= labels.std.min()
    assert all(values.shape == (2,) for values in predicted)
    # Far beyond what was seen, predictions are possible still.
    wild = surrogate.predict([Architecture(500, (MainBlock(9, "A", 9, 99),) * 5)])
    assert 0 <= wild.accuracy[0] <= 1
    with pytest.raises(ValueError, match=r"accuracies must be in 0..1, and their deviations >= 0"):
        surrogate.fit(features, labels._replace(accuracy=100 * labels.accuracy))


def test_published_tables_are_read():
    table = read_table(PUBLISHED)
    assert table.features.shape == (40, 22)
    first = dict(zip(FEATURES, table.features[0], strict=True))
    assert (first["out_channel0"], first["M"], first["R1"], first["convblock1"], first["B1"]) == (117, 1, 9, 2, 11)
    assert table.labels.accuracy[0] == pytest.approx(0.9235970713668532)
    assert table.labels.avm[0] == pytest.approx(7.955267551725422)
    assert table.network.tolist() == list(range(40))
    # The rule that its labels follow: good with four main blocks or more, or any widening factor of 4.
    good = (table.features[:, 1] >= 4) | (table.features[:, 8::3] == 4).any(axis=1)
    assert np.array_equal(good, table.labels.accuracy > 0.89)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("out_channel0", "oc"), r":1: column out_channel0 is missing"),
        (lambda text: text.splitlines()[0] + "\n", r": must have a row"),
        (lambda text: text.replace("117,1,9", "117,x,9"), r":2: M must be a number \(got 'x'\)"),
        (lambda text: text.replace("0,B,4,11", "0,E,4,11"), r":2: convblock1 must be a number \(got 'E'\)"),
        (lambda text: text.replace("0.9235970713668532", "nan"), r":2: 1_day_accuracy must be a number \(got 'nan'\)"),
        (lambda text: text.splitlines()[0] + "\n117,1\n", r":2: R1 must be a number \(got None\)"),
    ],
)  # fmt: skip
def test_bad_tables_are_named(tmp_path, change, message):
    path = tmp_path / "table.csv"
    path.write_text(change(PUBLISHED.read_text()))
    with pytest.raises(ValueError, match=f"table.csv{message}"):
        read_table(path)
    with pytest.raises(ValueError, match=r"nowhere\.csv: cannot be read"):
        read_table(tmp_path / "nowhere.csv")


# -- searches ----------------------------------------------------------------------------------------------------------


class _Known:
    """A predictor whose best network is known: the more channels and branches the better; depth costs AVM."""

    def predict(self, architectures):
        features = np.array([a.encode() for a in architectures], float)
        accuracy = features[:, 0] / 100 + features[:, [9, 12, 15, 18, 21]].sum(axis=1) / 100
        return Labels(accuracy, np.full(len(features), 0.1), features[:, 2:7].sum(axis=1))


def _limits(avm=math.inf, most=10**9):
    return Limits(avm, most, parameters)


def test_evolution_finds_the_optimum_that_is_known():
    found = evolve(_Known(), SPACE, _limits(avm=4.0), generations=30)
    # Less than 4 residual blocks in three main blocks: each of depth 1, with three branches.
    assert found.architecture.channels == 12
    assert [(block.depth, block.branches) for block in found.architecture.blocks] == [(1, 3)] * 3
    assert found.feasible
    assert found.avm == 3
    assert SPACE.architecture(SPACE.code(found.architecture)) == found.architecture


def test_evolution_is_better_than_as_many_random_networks():
    tight = _limits(avm=4.0, most=30_000)
    searches = [evolve(_Known(), SPACE, tight, generations=20, population=20, seed=seed) for seed in range(5)]
    chance = [search_at_random(_Known(), SPACE, tight, evaluations=400, seed=seed) for seed in range(5)]
    assert all(found.feasible and found.parameters < 30_000 for found in searches)
    assert np.mean([found.accuracy for found in searches]) > np.mean([found.accuracy for found in chance])
    assert searches[0].evaluations <= 400


def test_the_published_search_is_no_better_than_one_network_at_random():
    shipped = [
        shipped_search(_Known(), SPACE, _limits(), population=5, generations=3, seed=s).accuracy for s in range(60)
    ]
    random = np.random.default_rng(0)
    single = _Known().predict([SPACE.draw(random) for _ in range(1000)]).accuracy
    error = single.std() / math.sqrt(60)
    assert abs(np.mean(shipped) - single.mean()) < 4 * error


def test_limits_that_nothing_meets_are_said():
    found = evolve(_Known(), SPACE, _limits(most=10), generations=5)
    assert not found.feasible
    smallest = min(parameters(SPACE.draw(np.random.default_rng(i))) for i in range(200))
    assert found.parameters <= smallest


def test_searches_are_repeatable():
    runs = [evolve(_Known(), SPACE, _limits(5.0, 20_000), generations=6, seed=seed).architecture for seed in (3, 3)]
    assert runs[0] == runs[1]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_mutations_stay_in_the_space(seed):
    evolution = Evolution(SPACE, population=4, seed=seed)
    architecture = SPACE.draw(evolution.random)
    changed = 0
    for _ in range(20):
        mutated = evolution.mutated(architecture)
        assert SPACE.architecture(SPACE.code(mutated)) == mutated
        changed += mutated != architecture
        architecture = mutated
    assert changed >= 10


def test_evolution_keeps_the_best_and_refuses_what_is_no_number():
    evolution = Evolution(SPACE, population=4)
    asked = evolution.ask()
    evolution.tell(asked, np.array([1.0, 4.0, 2.0, 3.0]), np.array([0.0, 0.5, 0.0, 0.0]))
    # Beyond the limits comes last, however good.
    assert [architecture for _, architecture in evolution.members] == [asked[3], asked[2], asked[0], asked[1]]
    children = evolution.ask()
    assert not set(children) & set(asked)
    evolution.tell(children, np.zeros(4), np.ones(4))
    assert evolution.members[0][1] == asked[3]
    with pytest.raises(ValueError, match=r"must be numbers \(got NaN\)"):
        evolution.tell(children, np.full(4, np.nan), np.zeros(4))
    with pytest.raises(ValueError, match=r"population must be >= 2 \(got 1\)"):
        Evolution(SPACE, population=1)
    with pytest.raises(ValueError, match=r"generations must be >= 1 \(got 0\)"):
        evolve(_Known(), SPACE, _limits(), generations=0)
    with pytest.raises(ValueError, match=r"objective must be accuracy/std or accuracy \(got 'std'\)"):
        evolve(_Known(), SPACE, _limits(), objective="std")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"limits must be numbers, parameters >= 1 \(got nan and 5\)"):
        _limits(math.nan, 5)


def test_a_space_of_one_network_is_searched():
    space = AnalogResNet(
        channels=(4,), kernels=(3,), main_blocks=(1,), depths=(1,), kinds=("A",), widenings=(1,), branches=(1,)
    )
    found = evolve(_Known(), space, _limits(), generations=3, population=2)
    assert found.architecture == Architecture(4, (MainBlock(1),))
