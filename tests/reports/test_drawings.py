"""Drawings of networks and crossbars: well-formed, with as many parts as there are."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from accelerators import catalog
from accelerators.crossbar.crossbar import Crossbar
from codesign import networks
from codesign.networks import Builder, Network
from codesign.reports.crossbar_drawing import draw_crossbar
from codesign.reports.network_drawing import draw_network


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def classes(element: ElementTree.Element) -> list[str]:
    return [node.get("class", "") for node in element.iter()]


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "bert_base", "unet"])
def test_every_layer_with_macs_is_a_bar(name: str) -> None:
    network = networks.load(name)
    bars = [kind for kind in classes(parsed(draw_network(network))) if kind.startswith("bar ")]
    assert len(bars) == sum(not layer.operator.passes for layer in network)


def test_shortcuts_are_arcs() -> None:
    # ResNet-18 has eight blocks; three shortcuts have a convolution of their own, which is a bar, and lead on.
    arcs = [kind for kind in classes(parsed(draw_network(networks.load("resnet18")))) if kind == "arc"]
    chain = [kind for kind in classes(parsed(draw_network(networks.load("vgg16")))) if kind == "arc"]
    assert len(arcs) >= 8
    assert not chain


def test_names_are_text() -> None:
    builder = Builder("<b>&")
    x = builder.input(3, 8, 8)
    builder.conv(x, "<script>", K=4, kernel=3)
    network: Network = builder.network
    drawing = draw_network(network)
    assert "<script>" not in drawing
    titles = [node.text for node in parsed(drawing).iter("title")]
    assert titles[0] is not None and titles[0].startswith("<script>: ")


@pytest.mark.parametrize("name", catalog.names("crossbar"))
def test_crossbars(name: str) -> None:
    crossbar = catalog.load(name)
    assert isinstance(crossbar, Crossbar)
    drawing = parsed(draw_crossbar(crossbar))
    text = " ".join(node.text or "" for node in drawing.iter("text"))
    assert f"{crossbar.rows:,} rows x {crossbar.columns:,} columns" in text
    assert (f"converters of {crossbar.adc_bits} bit" in text) == (crossbar.converter is not None)
    assert "cell" in classes(drawing)
