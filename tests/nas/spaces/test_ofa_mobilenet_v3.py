"""Once-for-all's MobileNetV3 space against the figures that its authors publish for specialised networks."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.nas.spaces import ofa_mobilenet_v3 as ofa
from codesign.networks import NetworkError

GENES = {
    "ks": st.lists(st.sampled_from([3, 5, 7]), min_size=20, max_size=20),
    "e": st.lists(st.sampled_from([3, 4, 6]), min_size=20, max_size=20),
    "d": st.lists(st.sampled_from([2, 3, 4]), min_size=5, max_size=5),
}


def _net(stem, blocks, feature_mix, final_expand=None):
    """Dictionary of a published network; blocks as (input, output, kernel, stride, expansion, mid, act, excite)."""
    keys = ("cin", "cout", "k", "s", "e", "mid", "act", "se")
    dictionaries = [block and dict(zip(keys, block, strict=True)) for block in blocks]
    for block in dictionaries:
        if block:
            block["shortcut"] = block["cin"] == block["cout"] and block["s"] == 1
    return {
        "stem": stem,
        "final_expand": final_expand,
        "feature_mix": feature_mix,
        "classifier_in": feature_mix,
        "blocks": dictionaries,
    }


def _proxyless(stem, widths, kernels, expansions, feature_mix):
    """A ProxylessNAS: kernel 0 for a removed block; the first block of each of the six stages may change the shape."""
    blocks, before = [(stem, widths[0], 3, 1, 1, None, "relu6", False)], widths[0]
    strides = [2, 2, 2, 1, 2, 1]
    for i, (kernel, expansion) in enumerate(zip(kernels, expansions, strict=True)):
        after = widths[1 + i // 4]
        stride = 1 if i % 4 else strides[i // 4]
        blocks.append((before, after, kernel, stride, expansion, None, "relu6", False) if kernel else None)
        before = after
    return _net(stem, blocks, feature_mix)


# ProxylessNAS in the authors' files; removed blocks in its first stages.
MOBILE = {
    "kernels": [5, 3, 0, 0, 7, 3, 5, 5, 7, 5, 5, 5, 5, 5, 5, 5, 7, 7, 7, 7, 7],
    "expansions": [3, 3, 0, 0, 3, 3, 3, 3, 6, 3, 3, 3, 6, 3, 3, 3, 6, 6, 3, 3, 6],
}
GPU = {
    "kernels": [5, 0, 0, 0, 7, 0, 0, 3, 7, 0, 0, 5, 5, 0, 3, 5, 7, 7, 7, 5, 7],
    "expansions": [3, 0, 0, 0, 3, 0, 0, 3, 6, 0, 0, 3, 6, 0, 3, 3, 6, 6, 6, 6, 6],
}


# Parameters (M) and MACs (M) as published by the authors of ProxylessNAS and once-for-all.
@pytest.mark.parametrize(
    "net, parameters, macs",
    [
        (_proxyless(32, [16, 32, 40, 80, 96, 192, 320], feature_mix=1280, **MOBILE), 4.1, 320),
        (_proxyless(48, [24, 40, 56, 112, 136, 256, 448], feature_mix=1792, **MOBILE), 6.9, 581),
        (_proxyless(40, [24, 32, 56, 112, 128, 256, 432], feature_mix=1728, **GPU), 7.1, 465),
    ],
    ids=["mobile", "mobile_14", "gpu"],
)
def test_proxylessnas_has_the_published_size(net, parameters, macs):
    network = ofa.specialized(net)
    assert network.macs / 1e6 == pytest.approx(macs, rel=0.002)
    assert network.parameters / 1e6 == pytest.approx(parameters, abs=0.05)


# "flops@389M_top1@79.1": 8.4 M parameters, 389 M MACs at 224 pixels, width 1.2.
FLOPS_389 = {
    "ks": [3, 3, 3, 3, 5, 5, 3, 3, 5, 5, 3, 3, 5, 5, 3, 3, 3, 3, 7, 3],
    "e": [3, 3, 3, 3, 3, 6, 3, 3, 4, 4, 3, 3, 6, 4, 4, 4, 6, 6, 6, 3],
    "d": [2, 3, 3, 4, 4],
}
# "note10_lat@11ms_top1@73.6": 4.3 M parameters, 110 M MACs at 176 pixels, width 1.0.
NOTE10_11 = [
    (16, 16, 3, 1, 1, None, "relu", False),
    (16, 24, 3, 2, 3, 48, "relu", False),
    (24, 24, 3, 1, 3, 72, "relu", False),
    (24, 40, 5, 2, 4, 96, "relu", True),
    (40, 40, 3, 1, 4, 160, "relu", True),
    (40, 80, 5, 2, 4, 160, "h_swish", False),
    (80, 80, 3, 1, 4, 320, "h_swish", False),
    (80, 112, 3, 1, 4, 320, "h_swish", True),
    (112, 112, 3, 1, 3, 336, "h_swish", True),
    (112, 112, 3, 1, 3, 336, "h_swish", True),
    (112, 160, 3, 2, 4, 448, "h_swish", True),
    (160, 160, 5, 1, 4, 640, "h_swish", True),
    (160, 160, 5, 1, 4, 640, "h_swish", True),
]


def test_genes_give_the_published_network():
    network = ofa.network(**FLOPS_389, width=1.2)
    assert network.macs / 1e6 == pytest.approx(389, rel=0.01)
    assert f"{network.parameters / 1e6:.1f}" == "8.4"


def test_specialised_network_is_the_member_of_the_space_with_its_genes():
    entry = {"name": "note10_lat-11ms", "image_size": 176, "net": _net(16, NOTE10_11, 1280, 960)}
    published = ofa.specialized(entry)
    assert published.name == "note10_lat-11ms"
    assert published.macs / 1e6 == pytest.approx(110, rel=0.01)
    assert f"{published.parameters / 1e6:.1f}" == "4.3"
    member = ofa.network(
        ks=[3, 3, 0, 0, 5, 3, 0, 0, 5, 3, 0, 0, 3, 3, 3, 0, 3, 5, 5, 0],
        e=[3, 3, 0, 0, 4, 4, 0, 0, 4, 4, 0, 0, 4, 3, 3, 0, 4, 4, 4, 0],
        d=[2, 2, 2, 3, 3],
        resolution=176,
    )
    assert [(layer.name, layer.operator, layer.parameters) for layer in member] == [
        (layer.name, layer.operator, layer.parameters) for layer in published
    ]
    assert member.edges == published.edges


def test_widths_are_those_of_the_supernets():
    for width, stem, units, last in [
        (1.0, 16, [24, 40, 80, 112, 160], (960, 1280)),
        (1.2, 24, [32, 48, 96, 136, 192], (1152, 1536)),
    ]:
        network = ofa.network([3] * 20, [3] * 20, [2] * 5, width=width)
        assert network.layer("first_conv.conv").operator.bound("K") == stem
        ends = [network.layer(f"blocks.{i}.conv.point_linear.conv").operator.bound("K") for i in (2, 4, 6, 8, 10)]
        assert ends == units
        assert network.layer("final_expand_layer.conv").operator.bound("K") == last[0]
        assert network.layer("classifier.linear").operator.bound("C") == last[1]


def test_units_have_their_activations_squeezes_strides_and_shortcuts():
    network = ofa.network([3] * 20, [6] * 20, [2] * 5)
    names = {layer.name for layer in network}
    excited = [i for i in range(11) if f"blocks.{i}.conv.depth_conv.se.mul" in names]
    assert excited == [3, 4, 7, 8, 9, 10]
    hard = [i for i in range(11) if f"blocks.{i}.conv.depth_conv.conv.hswish" in names]
    assert hard == [5, 6, 7, 8, 9, 10]
    assert [i for i in range(11) if f"blocks.{i}.add" in names] == [0, 2, 4, 6, 8, 10]
    assert [network.layer(f"blocks.{i}.conv.depth_conv.conv").operator.bound("P") for i in (0, 1, 3, 5, 7, 9)] == [
        112, 56, 28, 14, 14, 7,
    ]  # fmt: skip
    # The hidden channels of squeeze-excite are a quarter of 240, 60, as a multiple of 8.
    assert network.layer("blocks.4.conv.depth_conv.se.fc.reduce").operator.bound("K") == 64
    # The last pointwise convolution works on pooled features and has neither bias nor normalisation.
    mix = network.layer("feature_mix_layer.conv")
    assert mix.parameters == mix.operator.macs == 960 * 1280


@settings(max_examples=25, deadline=None)
@given(**GENES, resolution=st.sampled_from([128, 131, 160, 224]))
def test_any_genes_build_and_unused_ones_do_not_matter(ks, e, d, resolution):
    network = ofa.network(ks, e, d, resolution=resolution)
    assert network.macs > 0
    assert sum(layer.name.endswith("point_linear.conv") for layer in network) == 1 + sum(d)
    used = [i % 4 < d[i // 4] for i in range(20)]
    blank = [None if not use else k for use, k in zip(used, ks, strict=True)]
    assert ofa.network(blank, e, d, resolution=resolution).unique() == network.unique()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"ks": [3] * 19}, r"ks must have 20 values \(got 19\)"),
        ({"ks": [3] * 4 + [4] + [3] * 15}, r"ks\[4\] must be one of 3, 5, 7 \(got 4\)"),
        ({"e": [5] + [3] * 19}, r"e\[0\] must be one of 3, 4, 6 \(got 5\)"),
        ({"d": [2, 2, 2, 2, 5]}, r"d\[4\] must be one of 2, 3, 4 \(got 5\)"),
        ({"d": [2] * 4}, r"d must have 5 values \(got 4\)"),
        ({"resolution": 0}, r"resolution must be an integer >= 1 \(got 0\)"),
        ({"classes": 0}, r"classes must be an integer >= 1 \(got 0\)"),
        ({"width": 0}, r"width must be a positive number \(got 0\)"),
        ({"width": "wide"}, r"width must be a positive number \(got 'wide'\)"),
        ({"batch": 0}, r"batch: must be an integer >= 1 \(got 0\)"),
    ],
)
def test_mistakes_in_genes_are_named(change, message):
    with pytest.raises(NetworkError, match=f"ofa_mobilenet_v3: {message}"):
        ofa.network(**{"ks": [3] * 20, "e": [3] * 20, "d": [2] * 5, **change})


def _changed(**changes):
    net = _net(16, NOTE10_11, 1280, 960)
    net["blocks"][1].update(changes)
    return net


@pytest.mark.parametrize(
    "net, message",
    [
        (_changed(cin=24), r"blocks\[1\]: cin must be 16, the channels before it \(got 24\)"),
        (_changed(act="gelu"), r"blocks\[1\]: act must be one of relu, relu6, h_swish \(got 'gelu'\)"),
        (_changed(shortcut=True), r"blocks\[1\]: shortcut needs stride 1 and 16 output channels"),
        (_changed(k=0), r"blocks\[1\]: k must be an integer >= 1 \(got 0\)"),
        ({"stem": 16}, r"net has no 'blocks'"),
        ({"stem": 16, "blocks": [{"cin": 16}]}, r"blocks\[0\] has no 'cout'"),
        ({**_changed(), "classifier_in": 1000}, r"classifier_in must be feature_mix, 1280 \(got 1000\)"),
    ],
)
def test_mistakes_in_published_networks_are_named(net, message):
    with pytest.raises(NetworkError, match=f"ofa_mobilenet_v3: {message}"):
        ofa.specialized(net)
