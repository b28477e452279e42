"""Spaces with bits as genes: what their networks' tensors carry, and that nothing else changes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from codesign.nas import spaces
from codesign.nas.quantisation import Bits
from codesign.nas.spaces import (
    AnalogResNet,
    Darts,
    FbNet,
    Hat,
    NasBench201,
    OfaMobileNetV3,
    OfaProxylessNas,
    OfaResNet50,
    ProxylessNas,
    Quantised,
    Site,
    quantised,
)
from codesign.nas.testing import Cut, SpaceConformance
from codesign.networks import Network, NetworkError

MOBILE = OfaMobileNetV3()


class TestQuantisedNetwork(SpaceConformance):
    space = Quantised(NasBench201(), weights=(2, 4, 8), activations=(4, 8), per="network")


class TestQuantisedStages(SpaceConformance):
    space = Quantised(MOBILE, per="stage")
    networks = 5


class TestQuantisedLayers(SpaceConformance):
    space = Quantised(OfaResNet50.naas(), weights=(4, 8), activations=(2, 8), per="layer", ends=16)
    networks = 5


class TestQuantisedWeights(SpaceConformance):
    space = Quantised(MOBILE, weights=(4, 8), activations=(8,), per="layer")
    networks = 5


class TestQuantisedCellStages(SpaceConformance):
    space = Quantised(NasBench201(), per="stage")


class TestQuantisedEdges(SpaceConformance):
    space = Quantised(NasBench201("cifar100"), weights=(4, 8), activations=(4, 8), per="layer")
    networks = 5


class TestQuantisedFbNet(SpaceConformance):
    space = Quantised(FbNet(), per="stage")
    networks = 5


class TestQuantisedFbNetLayers(SpaceConformance):
    space = Quantised(FbNet("imagenet"), weights=(4, 8), activations=(2, 8), per="layer")
    networks = 5


class TestQuantisedProxylessNas(SpaceConformance):
    space = Quantised(ProxylessNas(), weights=(4, 8), activations=(2, 8), per="layer")
    networks = 5


class TestQuantisedOfaProxylessNas(SpaceConformance):
    space = Quantised(OfaProxylessNas(), per="stage")
    networks = 5


class TestQuantisedMnasNet(SpaceConformance):
    space = Quantised(spaces.mnasnet(), per="stage")
    networks = 3


class TestQuantisedDarts(SpaceConformance):
    space = Quantised(Darts(), weights=(4, 8), activations=(4, 8), per="stage")
    networks = 2


class TestQuantisedAnalogResNet(SpaceConformance):
    space = Quantised(AnalogResNet(depths=(1, 2), branches=(1, 3), resolution=16), weights=(4, 8), per="stage")
    networks = 5


class TestQuantisedHat(SpaceConformance):
    space = Quantised(Hat("iwslt14deen"), weights=(4, 8), per="stage")
    networks = 1


def _without_bits(network: Network) -> Counter[Any]:
    return Counter(
        replace(layer.operator, tensors=tuple(replace(t, bits=None) for t in layer.operator.tensors))
        for layer in network
    )


@pytest.mark.parametrize("per", ["network", "stage", "layer"])
@pytest.mark.parametrize("inner", [MOBILE, OfaResNet50.naas(), NasBench201(), FbNet(), ProxylessNas()])
def test_every_tensor_has_bits_and_one_width(inner: spaces.Space, per: quantised.Per) -> None:
    """Producer and consumers agree; first and last are 8; the rest of the network is the inner space's."""
    space = Quantised(inner, weights=(2, 3), activations=(4, 5, 6), per=per)
    assert space.size > inner.size
    for code in space.sample(np.random.default_rng(3), 6):
        network = space.network(code)
        assert _without_bits(network) == _without_bits(inner.network(code[: len(inner.genes)]))
        for layer in network:
            operands = network.operands(layer.name)
            assert all(tensor.bits is not None for tensor in layer.operator.tensors)
            for tensor in layer.operator.tensors[:-1]:
                producers = [network.layer(name).operator.output.bits for name in operands.get(tensor.name, ())]
                if producers:
                    assert tensor.bits == max(producers)
                elif tensor.role == "inputs":
                    assert tensor.bits == 8
                else:
                    assert tensor.bits in (2, 3)
        last = list(network)[-1]
        assert last.operator.output.bits == 8
        bits, depthwise = space.bits(code)
        layers = [layer.operator for layer in network if layer.operator.macs]
        assert bits == tuple((o.tensor("weights").bits, o.tensor("inputs").bits) for o in layers)
        assert bits[0].activations == 8
        assert depthwise == isinstance(inner, OfaMobileNetV3 | FbNet | ProxylessNas)


def test_bits_are_those_of_the_place() -> None:
    """A block keeps its genes when other units become shallower."""
    space = Quantised(MOBILE, weights=(4, 8), activations=(4, 8), per="layer")
    names = [group.name for group in space.groups]
    group = space.groups[names.index("unit2.1.conv.depth_conv.conv")]
    inner = MOBILE.parse({"d": [4] * 5, "ks": [3] * 20, "e": [3] * 20, "r": 224})
    for depths in ([4, 4, 4, 4, 4], [2, 3, 2, 4, 4]):
        code = np.array([*inner, *[0] * (len(space.genes) - len(inner))])
        code[: len(depths)] = [MOBILE.genes[0].options.index(d) for d in depths]
        code[group.weights] = 1
        assert group.activations is not None
        code[group.activations] = 1
        network = space.network(code)
        # One block before the first unit.
        block = f"blocks.{1 + sum(depths[:2]) + 1}"
        wide = [layer.name for layer in network if layer.operator.macs and layer.operator.tensors[0].bits == 8]
        assert wide == [f"{block}.conv.depth_conv.conv"]
        assert network.layer(wide[0]).operator.output.bits == 8
        assert network.layer(f"{block}.conv.point_linear.conv").operator.tensor("inputs").bits == 8
        assert network.layer(f"{block}.conv.inverted_bottleneck.conv").operator.output.bits == 4


def test_sums_are_rounded_to_the_branch() -> None:
    """A shortcut of 8 bits meets a branch of 4: the sum has 4, its second operand 8."""
    space = Quantised(MOBILE, weights=(8,), activations=(4, 8), per="layer")
    code = np.array([*MOBILE.parse({"d": [2] * 5, "ks": [3] * 20, "e": [3] * 20, "r": 224}),
                     *[0] * (len(space.genes) - len(MOBILE.genes))])  # fmt: skip
    (group,) = (g for g in space.groups if g.name == "unit1.0.conv.point_linear.conv")
    assert group.activations is not None
    code[group.activations] = 1
    added = space.network(code).layer("blocks.4.add").operator
    assert [tensor.bits for tensor in added.tensors] == [4, 8, 4]


def test_a_layer_that_is_not_there_has_no_bits() -> None:
    space = Quantised(MOBILE, per="layer")
    shallow = space.parse({**space.write([0] * len(space.genes))})
    written = space.write(shallow)
    assert len(written["weight_bits"]) == len(space.groups) == 3 + 4 * (2 * 3 + 3 * 5) + 3
    absent = [group.name for group, bits in zip(space.groups, written["weight_bits"], strict=True) if bits is None]
    assert absent == [g.name for g in space.groups if ".2.conv" in g.name or ".3.conv" in g.name]
    # What the classifier writes is the network's output.
    assert len(written["activation_bits"]) == len(written["weight_bits"]) - 1
    assert space.groups[-1] == quantised.Group("classifier.linear", len(MOBILE.genes) + len(space.groups) - 1, None)


def test_stages_are_counted_once() -> None:
    space = Quantised(MOBILE, weights=(4, 8), activations=(8,), per="stage")
    assert [group.name for group in space.groups] == ["stem", *(f"unit{u}" for u in range(5)), "head"]
    assert space.size == MOBILE.size * 2**7
    one = Quantised(NasBench201(), weights=(4, 8), activations=(2, 4, 8), per="network")
    assert one.size == 15_625 * 6
    assert list(one.bits([3] * 6 + [0, 1])[0][:2]) == [Bits(4, 8), Bits(4, 4)]


def test_by_name_as_experiments_write_it() -> None:
    made = spaces.load(
        "quantised", space="ofa_mobilenet_v3", options={"width": 1.0}, weights=[4, 8], activations=[8], per="stage"
    )
    assert isinstance(made, Quantised)
    assert isinstance(made.space, OfaMobileNetV3)
    assert made.space.width == 1.0
    assert made.name == "quantised_ofa_mobilenet_v3"
    assert "weight bits 4 4" in made.describe([0] * len(made.genes))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "quantised: space is missing"),
        ({"space": "ofa"}, "unknown space 'ofa'"),
        ({"space": 3}, r"quantised: space must be a name or a \.yaml file \(got 3\)"),
        ({"space": "ofa_mobilenet_v3", "options": [1]}, "options must be a mapping"),
        (
            {"space": "ofa_mobilenet_v3", "options": {"with": 1}},
            "ofa_mobilenet_v3: unknown option 'with': did you mean width",
        ),
        ({"space": "ofa_mobilenet_v3", "bits": [4]}, "quantised: .*unexpected keyword"),
        ({"space": "ofa_mobilenet_v3", "weights": [8, 4]}, r"weights must be different, in increasing order"),
        ({"space": "ofa_mobilenet_v3", "weights": [4, 33]}, r"weights must be different, .* at most 32"),
        ({"space": "ofa_mobilenet_v3", "weights": []}, r"weights must be a list of integers \(got \[\]\)"),
        ({"space": "ofa_mobilenet_v3", "activations": ["int8"]}, r"activations must be an integer >= 1 \(got 'int8'\)"),
        ({"space": "ofa_mobilenet_v3", "ends": 0}, r"ends must be an integer >= 1 \(got 0\)"),
        ({"space": "ofa_mobilenet_v3", "per": "block"}, r"per must be one of network, stage, layer \(got 'block'\)"),
        ({"space": "darts", "per": "layer"}, r"per must be network or stage, as darts does not say which layers are"),
    ],
)
def test_what_is_wrong_is_said(options: dict[str, Any], message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        spaces.load("quantised", **options)


def test_spaces_without_sites_have_bits_of_networks_only() -> None:
    cut = Cut(NasBench201(), frozenset({0}))
    assert Quantised(cut, per="network").size == 5 * 3 * 3
    with pytest.raises(NetworkError, match=r"per must be network, as nas_bench_201 does not say where .*'stage'"):
        Quantised(cut)


def test_stages_are_there_as_of_one_gene() -> None:
    """Of cells without convolutions no stage is known to be there, nor where it is."""
    space = NasBench201()
    space.sites = tuple(site for site in space.sites if site.name != "stem")
    with pytest.raises(NetworkError, match=r"stage stage0 must be there as of one gene \(got op\[0\], op\[1\], "):
        Quantised(space, per="stage")


def test_a_stage_that_is_there_with_all_options_is_where_their_gene_matters() -> None:
    """A second layer that is chosen where the first is left out."""
    space = FbNet()
    space.genes = tuple(
        replace(gene, parent=0, when=frozenset({8})) if i == 1 else gene for i, gene in enumerate(space.genes)
    )
    options = [frozenset(range(8)), frozenset({8})]
    space.sites = tuple(Site(f"cells.1.{k}", "second", (), 1, when) for k, when in enumerate(options))
    quantised = Quantised(space, weights=(4, 8), activations=(8,))
    assert (quantised.genes[22].parent, quantised.genes[22].when) == (0, {8})


def test_what_is_not_there_has_no_bits() -> None:
    """A first layer that is left out, an edge without convolution; a convolution in place of a block has its own."""
    skipped = Quantised(FbNet(), weights=(4, 8), activations=(8,), per="layer")
    names = [group.name for group in skipped.groups]
    code = np.full(len(skipped.genes), 1)
    code[:22] = 8
    code[-sum(group.activations is not None for group in skipped.groups) :] = 0
    bits = skipped.write(code)["weight_bits"]
    there = [name for name, chosen in zip(names, bits, strict=True) if chosen is not None]
    assert there == [
        "stem.conv", *(f"cells.{i}.skip.conv" for i in (1, 5, 9, 13, 17, 21)), "header.conv", "fc",
    ]  # fmt: skip
    assert "cells.0.skip.conv" not in names
    stages = Quantised(FbNet(), weights=(4, 8), activations=(8,), per="stage")
    assert stages.size == (8 * 2 + 1) * 9**21 * 2**8
    edges = Quantised(NasBench201(), weights=(4, 8), activations=(8,), per="layer")
    assert edges.size == (3 + 2 * 2**15) ** 6 * 2 ** (1 + 2 * 3 + 1)


def test_spaces_are_quantised_once() -> None:
    with pytest.raises(NetworkError, match="the space is quantised already"):
        Quantised(Quantised(MOBILE))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight_bits": [4]}, r"quantised_nas_bench_201: .*weight_bits\[0\] must be one of 8 \(got 4\)"),
        ({"weight_bits": [8, 8]}, r"weight_bits must have 1 values \(got 2\)"),
        ({"network": "cell"}, "quantised_nas_bench_201: network: nas_bench_201: cell must have 3 nodes"),
        ({"bits": 1}, r"must be a mapping with network, weight_bits, activation_bits \(got \['act"),
    ],
)
def test_what_is_no_network_is_refused(change: dict[str, Any], message: str) -> None:
    space = Quantised(NasBench201(), weights=(8,), activations=(8,), per="network")
    written = space.write([0] * 8)
    with pytest.raises(NetworkError, match=message):
        space.parse({**written, **change})
