"""The zoo against published figures; every source stands in the registry next to its figure."""

import pytest

from codesign.networks import ZOO, Network, NetworkError, find, load

IMAGE = ("alexnet", "alexnet_grouped", "vgg16", "resnet18", "resnet50", "squeezenet1_0", "mobilenet_v2", "mnasnet1_0",
         "mobilenet_v3_large", "efficientnet_b0", "unet", "vit_b_16", "ds_cnn")  # fmt: skip


@pytest.mark.parametrize("name", ZOO)
def test_parameters_equal_the_published_number(name):
    assert load(name).parameters == ZOO[name].parameters


@pytest.mark.parametrize("name", [n for n, entry in ZOO.items() if entry.gmacs])
def test_macs_equal_the_published_digits(name):
    entry = ZOO[name]
    macs = load(name).macs
    if entry.tolerance:
        assert macs / 1e9 == pytest.approx(float(entry.gmacs), rel=entry.tolerance)
    else:
        digits = len(entry.gmacs.partition(".")[2])
        assert f"{macs / 1e9:.{digits}f}" == entry.gmacs


@pytest.mark.parametrize("name", ZOO)
def test_every_entry_has_a_source_and_a_summary(name):
    entry = ZOO[name]
    assert entry.source and entry.summary and entry.build.__doc__
    assert load(name).name == name


# The convolutions of the networks that torchvision publishes to three digits, to the last operation (fvcore, ptflops
# and Sze et al. print the same numbers).
@pytest.mark.parametrize(
    "name, macs",
    [
        ("alexnet", 714_188_480),
        ("alexnet_grouped", 724_406_816),
        ("vgg16", 15_470_264_320),
        ("resnet18", 1_814_073_344),
        ("resnet50", 4_089_184_256),
        ("mobilenet_v2", 300_774_272),
    ],
)
def test_macs_to_the_last_operation(name, macs):
    assert load(name).macs == macs


def test_grouped_alexnet_layers_are_those_of_the_eyeriss_measurements():
    network = load("alexnet_grouped")
    convolutions = {
        layer.name: layer.operator for layer in network if layer.name.startswith("conv") and layer.operator.macs
    }
    assert sum(op.macs for op in convolutions.values()) == 665_784_864  # 666 M in Chen et al., JSSC 2017
    assert str(convolutions["conv1"]) == "conv2d(K96 C3 P55 Q55 R11 S11 stride4)"
    assert str(convolutions["conv2"]) == "conv2d(G2 K128 C48 P27 Q27 R5 S5)"
    assert convolutions["conv5"].bound("G") == 2


def test_unet_is_the_sum_over_the_paper_s_23_convolutions():
    network = load("unet")
    sizes = [(570, 1, 64), (568, 64, 64), (282, 64, 128), (280, 128, 128), (138, 128, 256), (136, 256, 256),
             (66, 256, 512), (64, 512, 512), (30, 512, 1024), (28, 1024, 1024), (54, 1024, 512), (52, 512, 512),
             (102, 512, 256), (100, 256, 256), (198, 256, 128), (196, 128, 128), (390, 128, 64),
             (388, 64, 64)]  # fmt: skip
    three_by_three = sum(9 * size**2 * c * k for size, c, k in sizes)
    up = sum(4 * size**2 * 2 * k * k for size, k in [(28, 512), (52, 256), (100, 128), (196, 64)])
    assert len(sizes) + 4 + 1 == 23
    assert network.macs == three_by_three + up + 388**2 * 64 * 2
    assert network.layer("out").operator.bound("P") == 388


def test_unet_up_convolution_is_four_phases_of_one_tap():
    network = load("unet")
    phases = [layer for layer in network if layer.name.startswith("up3.")]
    assert [layer.name for layer in phases] == [f"up3.phase{a}_{b}" for a in (0, 1) for b in (0, 1)]
    assert sum(layer.parameters for layer in phases) == 1024 * 512 * 4 + 512
    assert set(network.predecessors("merge3.conv1")) == {"down3.conv2.relu", *(layer.name for layer in phases)}


def _transformer_macs(layers: int, width: int, tokens: int, keys: int) -> int:
    return layers * (12 * width**2 * tokens + 2 * tokens * keys * width)


def test_transformers_closed_form():
    assert load("bert_base").macs == _transformer_macs(12, 768, 128, 128) + 768**2
    assert load("bert_base", sequence=512).macs == _transformer_macs(12, 768, 512, 512) + 768**2
    assert load("vit_b_16").macs == _transformer_macs(12, 768, 197, 197) + 196 * 768**2 + 768_000
    without_attention = load("vit_b_16").macs - 12 * 2 * 197**2 * 768
    assert f"{without_attention / 1e9:.2f}" == "16.85"


@pytest.mark.parametrize("context", [1, 2, 1024])
@pytest.mark.parametrize("batch", [1, 4])
def test_gpt2_decode_closed_form(context, batch):
    network = load("gpt2_decode", context=context, batch=batch)
    assert network.macs == batch * (_transformer_macs(12, 768, 1, context) + 768 * 50257)
    assert network.layer("transformer.h.0.attn.c_attn").operator.bound("P") == 1
    assert network.layer("transformer.h.0.attn.scores").operator.bound("K") == context
    assert network.parameters == 124_439_808


def test_decoding_token_by_token_costs_the_causal_half_of_the_prompt():
    # Sum over contexts of the decode products = the lower triangle of the prefill's square.
    n = 5
    decode = sum(load("gpt2_decode", context=i).macs for i in range(1, n + 1))
    prefill = load("gpt2_prefill", sequence=n).macs
    assert prefill - decode == 12 * 2 * 768 * (n * n - n * (n + 1) // 2)


def test_gpt2_head_is_tied_and_optional_for_all_but_the_last_token():
    network = load("gpt2", sequence=8)
    assert network.layer("lm_head").parameters == 0
    assert network.layer("lm_head").operator.weight_words == 50257 * 768
    assert network.macs - load("gpt2", sequence=8, last_only=True).macs == 7 * 50257 * 768


def test_ds_cnn_is_the_small_one_of_hello_edge():
    network = load("ds_cnn")
    # 38.6 KB in table 5 of the paper: weights with folded normalisation, and two 25 x 5 x 64 activation buffers.
    batch_norm = 9 * 2 * 64
    assert (network.parameters - batch_norm) + 2 * 25 * 5 * 64 == 38_604
    assert network.macs == 125 * 64 * 40 + 4 * 125 * 64 * (9 + 64) + 64 * 12


@pytest.mark.parametrize("name", IMAGE)
def test_macs_are_proportional_to_the_batch(name):
    assert load(name, batch=3).macs == 3 * load(name).macs
    assert load(name, batch=3).parameters == load(name).parameters


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "squeezenet1_0", "alexnet", "vgg16"])
def test_parameters_do_not_depend_on_the_resolution(name):
    assert load(name, resolution=288).parameters == load(name).parameters
    assert load(name, resolution=288).macs > load(name).macs


def test_squeezenet_pools_with_ceil_mode():
    network = load("squeezenet1_0")
    sizes = [network.layer(f"features.{i}").operator.bound("P") for i in (2, 6, 11)]
    assert sizes == [54, 27, 13]


def test_squeeze_excite_scale_is_read_once_per_channel():
    operator = load("efficientnet_b0").layer("features.2.0.block.2.mul").operator
    assert [operator.words(t) for t in operator.tensors] == [96 * 56 * 56, 96, 96 * 56 * 56]


@pytest.mark.parametrize(
    "alias", ["resnet-50", "ResNet50", "mobilenetv2", "mobilenet-v3-large", "squeezenet1.0", "vit-b/16", "bert"]
)
def test_aliases(alias):
    assert isinstance(load(alias), Network)


def test_unknown_name_suggests():
    with pytest.raises(NetworkError, match=r"unknown network 'resnet5': did you mean resnet50, resnet18\?"):
        find("resnet5")
    with pytest.raises(NetworkError, match="one of alexnet, "):
        load("zzz")


def test_unknown_option_lists_the_options():
    with pytest.raises(NetworkError, match="resnet50: unknown option size \\(it takes batch, resolution, classes\\)"):
        load("resnet50", size=3)


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("resnet18", {"batch": 0}, "resnet18: batch: must be an integer >= 1 \\(got 0\\)"),
        ("resnet18", {"classes": 0}, "resnet18: classes must be an integer >= 1 \\(got 0\\)"),
        ("alexnet", {"resolution": 6}, "alexnet: features.0: a 11x11 kernel does not fit"),
        ("vgg16", {"resolution": 64}, "vgg16: avgpool: cannot pool"),
        ("unet", {"resolution": 570}, "unet: pool2: needs an even size"),
        ("vit_b_16", {"resolution": 100}, "multiple of 16"),
        ("bert_base", {"sequence": 513}, "in 1..512"),
        ("gpt2_decode", {"context": 0}, "in 1..1024"),
    ],
)
def test_options_that_cannot_work_name_the_layer(name, options, message):
    with pytest.raises(NetworkError, match=message):
        load(name, **options)
