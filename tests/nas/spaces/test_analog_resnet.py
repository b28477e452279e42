"""AnalogNAS's space: exact counts, parameters in closed form, the encoding, the same networks as graph and in torch."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.nas.spaces import analog_resnet
from codesign.nas.spaces.analog_resnet import AnalogResNet, Architecture, MainBlock, decode, network, parameters
from codesign.networks import NetworkError

TINY = AnalogResNet(channels=(4, 6), kernels=(3,), main_blocks=(1, 2), depths=(1, 2), widenings=(1, 2), branches=(1, 3))

blocks = st.builds(
    MainBlock, st.integers(1, 3), st.sampled_from(analog_resnet.KINDS), st.integers(1, 3), st.integers(1, 3)
)
architectures = st.builds(
    Architecture, st.integers(1, 20), st.lists(blocks, min_size=1, max_size=5).map(tuple), st.sampled_from((1, 3, 5))
)


def test_the_size_of_the_space_is_exact():
    assert TINY.size == 2 * (16 + 16**2)
    random = np.random.default_rng(0)
    assert len({TINY.draw(random) for _ in range(20_000)}) == TINY.size
    # |OC0| |KS0| sum_M (|R| |kinds| |WF| |B|)^M: 6 channels, 3 kernels; 16 depths, 2 kinds, 4 widenings, 12 branches.
    assert AnalogResNet().size == 18 * sum((16 * 2 * 4 * 12) ** number for number in range(1, 6))


def test_codes_stand_for_architectures():
    architectures = {TINY.architecture(code) for code in TINY.codes()}
    assert len(architectures) == TINY.size
    assert {TINY.architecture(TINY.code(found)) for found in architectures} == architectures
    for found in architectures:
        assert TINY.network(TINY.code(found)).unique() == network(found).unique()


def test_the_paper_s_numbers_are_read():
    """As a list, an array and JSON; the kernel, which is not among them, is 3."""
    found = Architecture(16, (MainBlock(3, "B", 2, 4), MainBlock(5, "A", 1, 6)))
    numbers, space = found.encode(), AnalogResNet()
    for written in (numbers, list(numbers), np.array(numbers), json.dumps(numbers)):
        assert space.architecture(space.parse(written)) == found
    assert space.write(space.code(found)) == {
        "OC0": 16, "KS0": 3, "M": 2, "R": [3, 5, None, None, None], "kind": ["B", "A", None, None, None],
        "WF": [2, 1, None, None, None], "B": [4, 6, None, None, None],
    }  # fmt: skip
    with pytest.raises(NetworkError, match=r"analog_resnet: OC0 must be one of 8, .* \(got 10\)"):
        space.parse([10, *numbers[1:]])
    with pytest.raises(NetworkError, match=r"analog_resnet: KS0 must be one of 5 \(got 3\)"):
        AnalogResNet(kernels=(5,)).parse(numbers)
    with pytest.raises(NetworkError, match=r"analog_resnet: M must be one of 1 \(got 2\)"):
        AnalogResNet(main_blocks=(1,)).code(found)


@settings(max_examples=60, deadline=None)
@given(architectures)
def test_encoding_is_undone_by_decoding(architecture):
    codes = architecture.encode()
    assert len(codes) == len(analog_resnet.FEATURES) == 22
    assert decode(codes, architecture.kernel) == architecture
    assert decode(np.array(codes), architecture.kernel) == architecture


def test_the_order_of_the_encoding_is_the_published_one():
    architecture = Architecture(16, (MainBlock(3, "B", 2, 4), MainBlock(5, "A", 1, 6)))
    assert architecture.encode() == (16, 2, 3, 5, 0, 0, 0, 2, 2, 4, 1, 1, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    assert analog_resnet.FEATURES[:9] == ("out_channel0", "M", "R1", "R2", "R3", "R4", "R5", "convblock1", "widenfact1")


@settings(max_examples=40, deadline=None)
@given(architectures, st.integers(1, 3), st.integers(2, 12))
def test_parameters_are_those_of_the_graph(architecture, input_channels, classes):
    graph = network(architecture, input_channels=input_channels, classes=classes, resolution=16)
    assert graph.parameters == parameters(architecture, input_channels=input_channels, classes=classes)


def test_parameters_by_hand():
    """Stem 9*3*8 + 16; A: 9*8*16 + 9*16*16 + 64 and shortcut 8*16 + 32; B: 16*4 + 9*16 + 4*16 + 8 + 8 + 32."""
    stem, head = 9 * 3 * 8 + 16, 17 * 10
    basic = 9 * 8 * 16 + 9 * 16 * 16 + 64
    narrow = 16 * 4 + 9 * 4 * 4 + 4 * 16 + 8 + 8 + 32
    assert parameters(Architecture(8, (MainBlock(1, "A", 2, 3),))) == stem + 3 * basic + 8 * 16 + 32 + head
    both = Architecture(8, (MainBlock(1, "A", 2), MainBlock(2, "B", 1, 2)))
    # The second main block halves the image, so that its first shortcut is a convolution.
    assert parameters(both) == stem + basic + 8 * 16 + 32 + 2 * 2 * narrow + 16 * 16 + 32 + head


def test_main_blocks_but_the_first_halve_the_image():
    graph = network(Architecture(4, tuple(MainBlock(2) for _ in range(5))), resolution=32)
    sizes = [graph.layer(f"blocks.{i}.{r}.branches.0.3").operator.bound("P") for i in range(5) for r in range(2)]
    assert sizes == [32, 32, 16, 16, 8, 8, 4, 4, 2, 2]
    assert graph.layer("blocks.1.0.shortcut.0").operator.bound("P") == 16
    assert "blocks.0.0.shortcut.0" not in graph
    assert network(Architecture(4, (MainBlock(1),) * 5), resolution=1).layer("classifier").operator.macs == 40


def test_macs_grow_with_branches_and_depth():
    def macs(depth, branches):
        return network(Architecture(8, (MainBlock(depth, "A", 1, branches),)), resolution=8).macs

    per_branch = 2 * 9 * 8 * 8 * 64
    for depth, branches in itertools.product((1, 2, 3), (1, 2)):
        assert macs(depth, branches) == macs(1, 1) + (depth * branches - 1) * per_branch


@settings(max_examples=15, deadline=None)
@given(architectures)
def test_the_torch_module_is_the_graph(architecture):
    torch = pytest.importorskip("torch")
    from codesign.nas.analognas.module import AnalogResNetModule

    model = AnalogResNetModule(architecture, input_channels=2, classes=7).eval()
    graph = network(architecture, input_channels=2, classes=7, resolution=9)
    assert sum(values.numel() for values in model.parameters()) == graph.parameters
    modules, shapes = dict(model.named_modules()), {}
    for name, module in modules.items():
        module.register_forward_hook(lambda _m, _i, output, name=name: shapes.update({name: tuple(output.shape)}))
    with torch.inference_mode():
        assert model(torch.zeros(1, 2, 9, 9)).shape == (1, 7)
    products = [layer for layer in graph if layer.operator.macs]
    assert {layer.name for layer in products} == {
        name for name, module in modules.items() if isinstance(module, torch.nn.Conv2d | torch.nn.Linear)
    }
    for layer in products:
        assert modules[layer.name].weight.numel() == layer.operator.weight_words
        assert np.prod(shapes[layer.name]) == layer.operator.words(layer.operator.output)


def test_modules_are_drawn_from_their_seed():
    torch = pytest.importorskip("torch")
    from codesign.nas.analognas.module import AnalogResNetModule

    architecture = Architecture(4, (MainBlock(2, "B", 2, 2),))
    first, again, other = (AnalogResNetModule(architecture, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["stem.0.weight"], other["stem.0.weight"])


GOOD = Architecture(8, (MainBlock(1),)).encode()


def _with(position, value):
    return [value if i == position else code for i, code in enumerate(GOOD)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: decode(GOOD[:-1]), r"features must have 22 values \(got 21\)"),
        (lambda: decode(_with(1, 6)), r"M must be 1 to 5 \(got 6\)"),
        (lambda: decode(_with(1, 2)), r"convblock2 must be 1 or 2 \(got 0\)"),
        (lambda: decode(_with(7, 3)), r"convblock1 must be 1 or 2 \(got 3\)"),
        (lambda: decode(_with(9, 0)), r"branches must be an integer >= 1 \(got 0\)"),
        (lambda: decode(_with(3, 1)), r"main block 2 must be 0 throughout: M is 1"),
        (lambda: decode(_with(0, 0)), r"channels must be an integer >= 1 \(got 0\)"),
        (lambda: MainBlock(1, "C"), r"kind must be one of A, B \(got 'C'\)"),
        (lambda: MainBlock(0), r"depth must be an integer >= 1 \(got 0\)"),
        (lambda: Architecture(8, ()), r"must have 1 to 5 main blocks \(got 0\)"),
        (lambda: Architecture(8, (MainBlock(1),), 4), r"kernel must be odd \(got 4\)"),
        (lambda: network(GOOD, resolution=0), r"resolution must be an integer >= 1 \(got 0\)"),
        (lambda: network(GOOD, classes=0), r"classes must be an integer >= 1 \(got 0\)"),
        (lambda: AnalogResNet(channels=()), r"channels must be a list of integers \(got \(\)\)"),
        (lambda: AnalogResNet(depths=(2, 1)), r"depths must be different, in increasing order \(got \[2, 1\]\)"),
        (lambda: AnalogResNet(kernels=(3, 4)), r"kernels must be odd \(got 4\)"),
        (lambda: AnalogResNet(kinds=("A", "C")), r"kinds must be some of A, B, in this order \(got \('A', 'C'\)\)"),
        (lambda: AnalogResNet(main_blocks=(5, 6)), r"main_blocks must be at most 5 \(got 6\)"),
        (lambda: AnalogResNet(resolution=0), r"resolution must be an integer >= 1 \(got 0\)"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(NetworkError, match=f"analog_resnet: {message}"):
        make()
