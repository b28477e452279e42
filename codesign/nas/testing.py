"""What every space and every strategy must do; one passes by subclassing :class:`SpaceConformance` and
:class:`StrategyConformance`."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from codesign.nas import spaces
from codesign.nas.costs import Works
from codesign.nas.spaces import Codes, Space
from codesign.nas.strategies import STRATEGIES, Strategy
from codesign.networks import Network, NetworkError

_MOST_CUT = 2_000


class Cut(Space):
    """A part of a space, small enough to enumerate: some genes keep their options, all others have their first only."""

    def __init__(self, space: Space, kept: frozenset[int]):
        self.name = space.name
        self.genes = tuple(
            gene if i in kept else replace(gene, options=gene.options[:1]) for i, gene in enumerate(space.genes)
        )

    def _build(self, values: dict[str, Any], batch: int) -> Network:
        raise NotImplementedError


def cuts(space: Space) -> list[Cut]:
    """Parts around every gene on which others depend, and one of genes that depend on none."""
    found = []
    for parent in dict.fromkeys(gene.parent for gene in space.genes):
        kept: list[int] = [] if parent is None else [parent]
        for i, gene in enumerate(space.genes):
            if gene.parent == parent and i not in kept:
                more = [*kept, i]
                if math.prod(int(space.counts[k]) for k in more) <= _MOST_CUT:
                    kept = more
        found.append(Cut(space, frozenset(kept)))
    return found


class SpaceConformance:
    """Subclass it and set ``space``."""

    space: ClassVar[Space]
    #: Networks that tests build: large ones take their time.
    networks: ClassVar[int] = 10

    def sample(self, count: int = 200, seed: int = 1) -> Codes:
        """Some networks."""
        return self.space.sample(np.random.default_rng(seed), count)

    def test_parents_come_before_their_children(self) -> None:
        """And name options that there are."""
        for i, gene in enumerate(self.space.genes):
            assert gene.options
            if gene.parent is not None:
                assert gene.parent < i
                assert gene.when <= set(range(len(self.space.genes[gene.parent].options)))

    def test_same_seed_same_networks(self) -> None:
        """And another seed others."""
        assert (self.sample() == self.sample()).all()
        assert (self.sample() != self.sample(seed=2)).any()

    def test_codes_are_canonical(self) -> None:
        """What does not matter is zero, however a code came about."""
        random = np.random.default_rng(0)
        codes = self.sample()
        others = self.space.mutate(codes, random)
        for found in (codes, others, self.space.mutate(codes, random, 0.3), self.space.cross(codes, others, random)):
            assert found.shape == codes.shape
            assert (self.space.check_all(found) == found).all()
            assert (found[~self.space.active(found)] == 0).all()

    def test_what_does_not_matter_changes_nothing(self) -> None:
        """Codes that differ there are one network."""
        random = np.random.default_rng(0)
        codes = self.sample(self.networks)
        anything = random.integers(0, self.space.counts, codes.shape)
        noisy = np.where(self.space.active(codes), codes, anything)
        assert (self.space.check_all(noisy) == codes).all()
        for code, other in zip(codes, noisy, strict=True):
            assert self.space.digest(code) == self.space.digest(other)
            assert self.space.network(code).unique() == self.space.network(other).unique()

    def test_a_mutant_differs(self) -> None:
        """In one gene, and where that decides over others in those."""
        codes = self.sample()
        mutants = self.space.mutate(codes, np.random.default_rng(0))
        both = self.space.active(codes) & self.space.active(mutants)
        assert (((codes != mutants) & both).sum(axis=1) == 1).all()

    def test_a_child_is_made_of_its_parents(self) -> None:
        """Gene by gene, where the gene matters in a parent."""
        mothers, fathers = self.sample(), self.sample(seed=2)
        children = self.space.cross(mothers, fathers, np.random.default_rng(0))
        from_mother = (children == mothers) & self.space.active(mothers)
        from_father = (children == fathers) & self.space.active(fathers)
        neither = ~(self.space.active(mothers) | self.space.active(fathers))
        assert (from_mother | from_father | neither | ~self.space.active(children)).all()
        assert (children != mothers).any()
        assert (children != fathers).any()

    def test_vectors_stand_for_codes(self) -> None:
        """Both ways, and every point of the cube for some code."""
        codes = self.sample()
        vectors = self.space.to_vectors(codes)
        assert ((vectors > 0) & (vectors < 1)).all()
        assert (self.space.from_vectors(vectors) == codes).all()
        ends = np.stack([np.zeros(codes.shape[1]), np.ones(codes.shape[1])])
        found = self.space.from_vectors(np.concatenate([ends, np.random.default_rng(0).random(codes.shape)]))
        assert (self.space.check_all(found) == found).all()
        with pytest.raises(NetworkError, match=r"vectors must lie in 0\.\.1"):
            self.space.from_vectors(vectors + 1)

    @pytest.mark.parametrize("kind", ["one_hot", "ordinal"])
    def test_features_tell_networks_apart(self, kind: spaces._base.FeatureKind) -> None:
        """Different networks have different features, of one width; equal ones equal."""
        codes = np.unique(self.sample(), axis=0)
        features = self.space.features(codes, kind)
        assert np.isfinite(features).all()
        assert len(np.unique(features, axis=0)) == len(codes)
        assert (self.space.features(codes[:1], kind) == features[:1]).all()

    def test_the_size_is_what_enumeration_finds(self) -> None:
        """On parts of the space, by brute force over all codes."""
        for cut in cuts(self.space):
            everything = np.array(list(itertools.product(*(range(count) for count in cut.counts.tolist()))))
            distinct = {tuple(code) for code in cut.canonical(everything).tolist()}
            assert cut.size == len(distinct)
            assert set(cut.codes()) == distinct
        assert self.space.size <= math.prod(self.space.counts.tolist())

    def test_written_networks_are_read(self) -> None:
        """As they are, as JSON, and as a line of text."""
        for code in self.sample():
            written = self.space.write(code)
            assert self.space.parse(written) == tuple(code.tolist())
            # Lists stand for tuples in JSON.
            through = json.loads(json.dumps(written))
            assert self.space.parse(through) == tuple(code.tolist())
            assert self.space.parse(self.space.text(code)) == tuple(code.tolist())

    @pytest.mark.parametrize("written", [None, 3, {}, {"nonsense": 1}, [], "nonsense"])
    def test_what_is_no_network_is_refused(self, written: Any) -> None:
        """With a message that begins with the space's name."""
        with pytest.raises(NetworkError, match=f"^{self.space.name}: "):
            self.space.parse(written)

    def test_codes_outside_are_refused(self) -> None:
        """By gene."""
        first = np.zeros(len(self.space.genes), np.int64)
        for value in (-1, int(self.space.counts[0])):
            first[0] = value
            with pytest.raises(NetworkError, match=rf"code\[0\] .* must be from 0 to .* \(got {value}\)"):
                self.space.check(first)
        with pytest.raises(NetworkError, match="a code must have"):
            self.space.check(first[1:])
        with pytest.raises(NetworkError, match="a code must have"):
            self.space.check(first.astype(float))

    def test_networks_are_built(self) -> None:
        """They do something, and a batch of two does it twice."""
        for code in self.sample(self.networks):
            network = self.space.network(code)
            assert network.macs > 0
            assert network.parameters > 0
            assert self.space.network(code, batch=2).macs == 2 * network.macs
            assert self.space.describe(code).startswith(self.space.name)

    @pytest.mark.parametrize("fuse", [False, True])
    def test_parts_are_the_network(self, fuse: bool) -> None:
        """Whatever networks they were learnt from: the same operators, as often."""
        codes = self.sample(4 * self.networks)
        if self.space.parts(self.space.check(codes[0])) is None:
            return
        works = Works(self.space, fuse)
        for code in codes:
            works.of(self.space.check(code))
        for code in self.sample(4 * self.networks, seed=2)[: 2 * self.networks]:
            network = self.space.network(code)
            fused = network.fusable() if fuse else {}
            expected = Counter(
                (layer.operator, fused[layer.name].reads if layer.name in fused else None) for layer in network
            )
            found: Counter[Any] = Counter()
            for part in works.of(self.space.check(code)):
                for number, times in works.parts[part]:
                    found[works.works[number]] += times
            assert found == expected

    def test_layers_stand_at_sites(self) -> None:
        """All that multiply and accumulate, at one that is there, and at none that is not; names are of one site."""
        sites = {site.name: site for site in self.space.sites}
        assert len(sites) == len(self.space.sites)
        stages = [stage for stage, _ in itertools.groupby(site.stage for site in self.space.sites)]
        assert len(stages) == len(set(stages))
        for code in self.sample(self.networks) if sites else ():
            active = self.space.active(code[None])[0]
            standing = self.space.standing(self.space.check(code))
            assert set(standing.values()) == {
                site.name
                for site in self.space.sites
                if site.parent is None or (active[site.parent] and code[site.parent] in site.when)
            }
            network = self.space.network(code)
            found: dict[str, list[str]] = {beginning: [] for beginning in standing}
            for layer in network:
                if layer.operator.macs:
                    beginnings = [name for name in standing if f"{layer.name}.".startswith(f"{name}.")]
                    beginning = max(beginnings, key=len)
                    found[beginning].append(layer.name.removeprefix(beginning).removeprefix("."))
                    if sites[standing[beginning]].last:
                        assert not network.graph.out_degree(layer.name)
            for beginning, layers in found.items():
                assert layers
                assert sites[standing[beginning]].layers in ((), tuple(layers))

    def test_digests_do_not_depend_on_the_process(self) -> None:
        """Nor do samples."""
        codes = self.sample(20)
        digests = [self.space.digest(code) for code in codes]
        assert len(set(digests)) == len(np.unique(codes, axis=0))
        assert all(len(digest) == 16 for digest in digests)


class Targets:
    """Scores of the strategies' tests: genes in which a network differs from some targets; a fifth cannot work."""

    def __init__(self, space: Space, objectives: int):
        self.space = space
        self.targets = space.sample(np.random.default_rng(11), objectives)

    def __call__(self, codes: Codes) -> NDArray[np.float64]:
        """(n, objectives)."""
        away = self.space.to_vectors(codes)[:, None] - self.space.to_vectors(self.targets)[None]
        found = np.abs(away).sum(axis=2)
        found[codes.sum(axis=1) % 5 == 0] = np.inf
        return np.asarray(found)


def trace(strategy: Strategy, objectives: int, generations: int) -> list[list[int]]:
    """All networks that a strategy proposes."""
    scores = Targets(strategy.space, objectives)
    found: list[list[int]] = []
    for _ in range(generations):
        codes = strategy.ask()
        found += codes.tolist()
        strategy.tell(codes, scores(codes))
    return found


class StrategyConformance:
    """Subclass it and set ``strategy``; ``space`` is a name of :data:`~codesign.nas.spaces.SPACES`.

    ``options`` are those of the strategy, ``most_objectives`` how many it takes with them if it takes several.
    """

    strategy: ClassVar[type[Strategy]]
    options: ClassVar[dict[str, Any]] = {}
    most_objectives: ClassVar[int] = 2
    space: ClassVar[str] = "nas_bench_201"
    #: Whether it must beat random sampling on a smooth hill, in the median of so many seeds after so many queries.
    learns: ClassVar[bool] = True
    seeds: ClassVar[int] = 5
    queries: ClassVar[int] = 150

    def make(self, seed: int = 3, **options: Any) -> Strategy:
        """One of the kind, with a small population."""
        return self.strategy(spaces.load(self.space), population=8, seed=seed, **self.options, **options)

    @property
    def objectives(self) -> int:
        """As many as it takes, at most two."""
        return self.most_objectives if self.strategy.several_objectives else 1

    def test_same_seed_same_proposals(self) -> None:
        """And another seed others."""
        first, second = (trace(self.make(), self.objectives, 12) for _ in range(2))
        assert first == second
        assert trace(self.make(4), self.objectives, 2)[:8] != first[:8]

    def test_same_proposals_in_another_process(self) -> None:
        """Nothing depends on what a process has done before."""
        code = (
            "import json; from codesign.nas import spaces, strategies; from codesign.nas.testing import trace\n"
            f"kind = strategies.STRATEGIES[{self.strategy.name!r}]\n"
            f"made = kind(spaces.load({self.space!r}), population=8, seed=3, **{self.options!r})\n"
            f"print(json.dumps(trace(made, {self.objectives}, 6)))"
        )
        assert STRATEGIES[self.strategy.name] is self.strategy
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert json.loads(done.stdout) == trace(self.make(), self.objectives, 6)

    def test_the_global_generator_has_no_influence(self) -> None:
        """Nor is it used."""
        np.random.seed(1)  # noqa: NPY002 - what other code may do
        before = np.random.get_state()[1].tolist()  # type: ignore[index] # noqa: NPY002
        first = trace(self.make(), self.objectives, 4)
        assert np.random.get_state()[1].tolist() == before  # type: ignore[index] # noqa: NPY002
        np.random.seed(2)  # noqa: NPY002
        assert trace(self.make(), self.objectives, 4) == first

    def test_stays_in_the_space(self) -> None:
        """With codes in canonical form."""
        codes = np.array(trace(self.make(), self.objectives, 15))
        assert (spaces.load(self.space).check_all(codes) == codes).all()

    def test_told_the_same_it_goes_on_the_same(self) -> None:
        """So a search is resumed by telling a new strategy what the old one was told."""
        old, new = self.make(), self.make()
        scores = Targets(old.space, self.objectives)
        for _ in range(8):
            codes = old.ask()
            assert (new.ask() == codes).all()
            old.tell(codes, scores(codes))
            new.tell(codes, scores(codes))
            assert json.loads(json.dumps(old.state())) == new.state()
        assert (old.ask() == new.ask()).all()

    def test_the_state_shows_differences(self) -> None:
        """Strategies that were told other things are not alike, unless they do not learn."""
        one, other = self.make(), self.make()
        scores = Targets(one.space, self.objectives)
        codes = one.ask()
        other.ask()
        one.tell(codes, scores(codes))
        other.tell(codes, scores(codes)[::-1])
        assert (one.state() != other.state()) == self.learns

    def test_asked_again_it_gives_replacements(self) -> None:
        """What means nothing is left out of ``tell``, and others take its place."""
        strategy = self.make()
        scores = Targets(strategy.space, self.objectives)
        for _ in range(6):
            first, second = strategy.ask(), strategy.ask()
            assert (len(first) != len(second)) or (first != second).any()
            kept = np.concatenate([first[::2], second])
            strategy.tell(kept, scores(kept))
        assert strategy.generation == 6

    def test_nothing_may_work(self) -> None:
        """All scores infinite, and only one network told."""
        strategy = self.make()
        for count in (8, 1, 2, 8):
            codes = strategy.ask()[:count]
            strategy.tell(codes, np.full((len(codes), self.objectives), np.inf))
        assert len(strategy.ask())

    @pytest.mark.parametrize("value", [np.nan, -np.inf])
    def test_scores_that_are_no_numbers_are_refused(self, value: float) -> None:
        """And nothing is learnt from them."""
        strategy = self.make()
        codes = strategy.ask()
        scores = Targets(strategy.space, self.objectives)(codes)
        scores[0] = value
        with pytest.raises(ValueError, match="got NaN or -infinity"):
            strategy.tell(codes, scores)
        assert strategy.generation == 0

    def test_shapes_are_checked(self) -> None:
        """Each with a message."""
        strategy = self.make()
        codes = strategy.ask()
        with pytest.raises(ValueError, match="scores must have shape"):
            strategy.tell(codes, np.zeros(len(codes)))
        with pytest.raises(NetworkError, match="a code must have"):
            strategy.tell(codes[:, :3], np.zeros((len(codes), 1)))
        with pytest.raises(NetworkError, match="must be from 0 to"):
            strategy.tell(codes + 100, np.zeros((len(codes), 1)))
        if not self.strategy.several_objectives:
            with pytest.raises(ValueError, match="takes one objective"):
                strategy.tell(codes, np.zeros((len(codes), 2)))

    def test_only_what_is_admitted_is_proposed(self) -> None:
        """Whatever is learnt; and a rule that admits nothing is an error."""
        strategy = self.make(admits=lambda codes: codes[:, 0] == 1)
        assert set(np.array(trace(strategy, self.objectives, 8))[:, 0].tolist()) == {1}
        with pytest.raises(NetworkError, match="are admitted"):
            self.make(admits=lambda codes: np.zeros(len(codes), np.bool_)).ask()

    def test_learns(self) -> None:
        """A smooth hill is climbed higher than by chance, in the median of some seeds."""
        if not self.learns:
            return

        def best(made: Strategy) -> float:
            found: list[float] = []
            scores = Targets(made.space, 1)
            while len(found) < self.queries:
                codes = made.ask()
                values = scores(codes)
                made.tell(codes, values)
                found += values[:, 0].tolist()
            return min(found[: self.queries])

        chance = STRATEGIES["random"]
        mine = np.median([best(self.make(seed)) for seed in range(self.seeds)])
        other = np.median(
            [best(chance(spaces.load(self.space), population=8, seed=seed)) for seed in range(self.seeds)]
        )
        assert mine < other
