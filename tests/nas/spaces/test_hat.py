"""HAT against the sizes and operations that its authors, and their own profiler, report."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.nas.spaces import hat
from codesign.networks import Network, NetworkError

# Published networks, by their names in the repository.
IWSLT_138 = hat.Genes(
    512, [1024] * 6, [4] * 6, 512, [1024, 2048, 2048, 1024], [4, 4, 4, 2], [4, 4, 4, 4], [2, -1, -1, -1]
)
IWSLT_169 = hat.Genes(
    512, [1024] * 6, [4] * 6, 512, [2048, 2048, 2048, 1024, 1024], [4, 4, 4, 2, 2], [4] * 5, [2, -1, -1, -1, -1]
)
PI_6_0 = hat.Genes(
    512, [3072] * 6, [4, 4, 4, 8, 8, 4], 512, [2048, 2048, 3072, 3072], [4, 8, 8, 4], [4, 8, 8, 8], [-1, -1, 1, -1]
)
PI_6_9 = hat.Genes(
    512, [3072] * 6, [8, 4, 8, 8, 8, 8], 512, [2048, 2048, 3072, 3072, 2048], [8, 8, 8, 4, 8], [4, 8, 8, 8, 8],
    [-1, 1, 1, 1, -1],
)  # fmt: skip


def _size(genes, task):
    """Parameters without embeddings, and MACs of a translation without the output layer, as the authors count."""
    sentence = hat.TASKS[task]
    words = sentence.target_vocabulary
    encoder = hat.encoder(genes, tokens=sentence.tokens, vocabulary=sentence.source_vocabulary)
    steps = hat.decoder_steps(genes, tokens=sentence.tokens, vocabulary=words)
    tables = genes.encoder_embed * sentence.source_vocabulary + genes.decoder_embed * words
    macs = encoder.macs + sum(step.macs for step in steps) - sentence.tokens * words * genes.decoder_embed
    return encoder.parameters + steps[0].parameters - tables, macs


def test_size_and_operations_are_those_of_the_authors_profiler():
    # The repository's train.py --profile-flops prints 27,333,632 parameters and 1,320,607,920 operations. It runs the
    # decoder on the whole sentence at once, where self-attention is a square, and counts an operation per element of
    # the normalisations (12 of the encoder, 3 per layer of the decoder), of the scaled queries and of the scaled
    # embeddings. A hundred more belong to the numbers of the positions.
    parameters, macs = _size(IWSLT_138, "iwslt14deen")
    assert parameters == 27_333_632
    tokens, layers = 23, 4
    square = layers * 2 * 512 * (tokens**2 - tokens * (tokens + 1) // 2)
    elements = 512 * tokens * ((12 + 3 * layers) + (6 + 2 * layers) + 2)
    assert 0 <= 1_320_607_920 - 2 * (macs + square + elements) < 200


# Parameters without embeddings and FLOPs (two per MAC) of the networks in the paper.
@pytest.mark.parametrize(
    "genes, task, parameters, flops",
    [(PI_6_0, "wmt14ende", "44M", "2.7G"), (PI_6_9, "wmt14ende", "48M", "3.0G")],
    ids=["6.0s", "6.9s"],
)
def test_networks_for_the_raspberry_pi_have_the_published_size(genes, task, parameters, flops):
    found, macs = _size(genes, task)
    assert f"{found / 1e6:.0f}M" == parameters
    assert f"{2 * macs / 1e9:.1f}G" == flops


def test_network_for_iwslt_has_the_published_size():
    assert f"{_size(IWSLT_169, 'iwslt14deen')[0] / 1e6:.1f}" == "31.5"


def test_encoder_closed_form():
    genes = hat.Genes(640, [512, 1024, 2048, 3072, 512, 1024], [2, 4, 8, 8, 4, 2], 512, [512], [2], [2], [-1])
    network = hat.encoder(genes, tokens=30, vocabulary=7)
    projections = 6 * 30 * 640 * 4 * 512
    attention = 6 * 2 * 30 * 30 * 512
    assert network.macs == projections + attention + 30 * 2 * 640 * sum(genes.encoder_ffn)
    assert network.layer("encoder.layers.2.self_attn.scores").operator.bound("G") == 8
    assert network.layer("encoder.embed_tokens").parameters == 7 * 640


@pytest.mark.parametrize("position", [0, 1, 7])
def test_decoder_step_closed_form(position):
    genes = hat.Genes(640, [512] * 6, [2] * 6, 512, [1024, 2048], [4, 8], [8, 2], [-1, 2])
    network = hat.decoder_step(genes, position=position, batch=5, tokens=30, vocabulary=100)
    per_layer = 512 * 4 * 512 + 2 * 512 * 512 + 2 * (position + 1) * 512
    encoder_attention = 2 * 30 * 512 * (1 + 3)
    # Keys and values of the encoder's output, once per translation.
    cached = 0 if position else 2 * 30 * 640 * 512 * (1 + 3)
    assert network.macs == 5 * (2 * per_layer + encoder_attention + cached + 512 * 2 * (1024 + 2048) + 512 * 100)
    assert ("decoder.layers.1.encoder_attn.k_proj" in network) == (position == 0)
    scores = network.layer("decoder.layers.1.encoder_attn.scores").operator
    assert (scores.bound("K"), scores.bound("P")) == (90, 1)


def test_output_layer_is_counted_once_if_it_is_the_table_of_embeddings():
    tied, own = (hat.decoder_step(PI_6_0, position=1, vocabulary=100, tied=tied) for tied in (True, False))
    assert own.parameters - tied.parameters == 512 * 100
    assert own.macs == tied.macs


def test_steps_differ_in_the_cached_tokens_only():
    steps = hat.decoder_steps(PI_6_0, tokens=4, vocabulary=10)
    assert [step.layer("decoder.layers.0.self_attn.scores").operator.bound("K") for step in steps] == [1, 2, 3, 4]
    assert steps[3].macs - steps[2].macs == steps[2].macs - steps[1].macs == 4 * 2 * 512


# The first rows of two of the published latency tables.
@pytest.mark.parametrize(
    "features",
    [
        [640, 6, 1962.6666, 6, 512, 4, 1920, 2.5, 5.5, 1.5],
        [512, 6, 1877.3334, 6, 640, 3, 1706.6666, 6, 2.6666667, 1.3333334],
    ],
)
def test_features_of_a_table_give_a_network_with_these_features(features):
    assert hat.from_features(features).features() == pytest.approx(features, rel=1e-6)


def test_genes_from_means_are_the_most_even_ones():
    genes = hat.from_features([512, 6, 1024 * 9 / 6, 26 / 6, 640, 2, 1536, 3, 5, 2])
    assert genes.encoder_ffn == (1024, 1024, 1024, 2048, 2048, 2048)
    assert genes.encoder_heads == (2, 4, 4, 4, 4, 8)
    assert genes.decoder_ffn == (1024, 2048)
    assert (genes.decoder_heads, genes.ende_heads) == ((2, 4), (2, 8))
    assert genes.attended == (1, 1)


def _lists(choices, length):
    return st.lists(st.sampled_from(choices), min_size=length, max_size=length)


@st.composite
def _genes(draw):
    layers = draw(st.integers(1, 6))
    return hat.Genes(
        draw(st.sampled_from(hat.EMBEDDINGS)), draw(_lists(hat.FFNS, 6)), draw(_lists(hat.HEADS, 6)),
        draw(st.sampled_from(hat.EMBEDDINGS)), draw(_lists(hat.FFNS, layers)), draw(_lists(hat.HEADS, layers)),
        draw(_lists(hat.HEADS, layers)), draw(_lists(hat.ATTENDED, layers)),
    )  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(_genes(), st.integers(0, 3))
def test_any_genes_build_and_their_features_tell_the_cost(genes, position):
    again = hat.from_features(genes.features())
    for build in (
        lambda g: hat.encoder(g, tokens=5, vocabulary=10),
        lambda g: hat.decoder_step(g, position=position, tokens=5, vocabulary=10),
    ):
        found, expected = build(again), build(genes)
        assert found.macs == expected.macs > 0
        assert found.parameters == expected.parameters
        assert len(found) == len(expected)


GOOD = {
    "encoder_embed": 512,
    "encoder_ffn": [1024] * 6,
    "encoder_heads": [4] * 6,
    "decoder_embed": 640,
    "decoder_ffn": [512, 3072],
    "decoder_heads": [8, 2],
    "ende_heads": [4, 4],
    "attended": [-1, 2],
}


@pytest.mark.parametrize(
    "change, message",
    [
        ({"encoder_embed": 600}, r"encoder_embed must be one of 512, 640 \(got 600\)"),
        ({"encoder_ffn": [1024] * 5}, r"encoder_ffn must have 6 values \(got 5\)"),
        ({"encoder_heads": [4] * 5 + [3]}, r"encoder_heads\[5\] must be one of 2, 4, 8 \(got 3\)"),
        ({"decoder_ffn": []}, r"decoder_ffn must have 1..6 values \(got 0\)"),
        ({"decoder_heads": [8]}, r"decoder_heads must have 2 values \(got 1\)"),
        ({"attended": [0, 1]}, r"attended\[0\] must be one of -1, 1, 2 \(got 0\)"),
    ],
)
def test_mistakes_in_genes_are_named(change, message):
    with pytest.raises(NetworkError, match=f"hat: {message}"):
        hat.Genes(**{**GOOD, **change})


@pytest.mark.parametrize(
    "place, value, message",
    [
        (0, 500, r"encoder_embed_dim must be one of 512, 640 \(got 500\.0\)"),
        (1, 5, r"encoder_layer_num must be 6 \(got 5\)"),
        (2, 1000, r"encoder_ffn_embed_dim_avg must be a mean of 6 values out of 512, 1024, 2048, 3072 \(got 1000\)"),
        (3, math.nan, r"encoder_self_attention_heads_avg must be a mean of 6 values out of 2, 4, 8 \(got nan\)"),
        (5, 2.5, r"decoder_layer_num must be in 1..6 \(got 2\.5\)"),
        (9, 3.5, r"decoder_arbitrary_ende_attn_avg must be a mean of 2 values out of 1, 2, 3 \(got 3\.5\)"),
    ],
)
def test_mistakes_in_features_are_named(place, value, message):
    features = list(hat.Genes(**GOOD).features())
    features[place] = value
    with pytest.raises(NetworkError, match=f"hat: {message}"):
        hat.from_features(features)
    with pytest.raises(NetworkError, match=r"hat: features must have 10 values \(got 9\)"):
        hat.from_features(features[:9])


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: hat.encoder(PI_6_0, tokens=0), r"tokens must be an integer >= 1 \(got 0\)"),
        (lambda: hat.encoder(PI_6_0, tokens=1025), r"tokens must be at most 1024 \(got 1025\)"),
        (lambda: hat.encoder(PI_6_0, vocabulary=0), r"vocabulary must be an integer >= 1 \(got 0\)"),
        (lambda: hat.encoder(PI_6_0, batch=0), r"batch: must be an integer >= 1 \(got 0\)"),
        (lambda: hat.decoder_step(PI_6_0, position=-1), r"position must be an integer >= 0 \(got -1\)"),
        (lambda: hat.decoder_step(PI_6_0, position=1024), r"position \+ 1 must be at most 1024 \(got 1025\)"),
        (lambda: hat.decoder_steps(PI_6_0, tokens=0), r"tokens must be an integer >= 1 \(got 0\)"),
    ],
)
def test_mistakes_in_options_are_named(build, message):
    with pytest.raises(NetworkError, match=f"hat.*{message}"):
        build()


@pytest.mark.parametrize("task", list(hat.TASKS))
def test_a_translation_does_the_work_of_all_its_steps(task: str) -> None:
    sentence = hat.TASKS[task]
    steps = hat.decoder_steps(
        PI_6_0, batch=hat.BEAM, tokens=sentence.tokens, vocabulary=sentence.target_vocabulary, tied=sentence.tied
    )
    parts = hat.translation(PI_6_0, sentence)
    assert sum(times for _, times in parts) == 1 + sentence.tokens
    assert sum(times * part.macs for part, times in parts[1:]) == sum(step.macs for step in steps)

    def words(networks: list[tuple[Network, int]]) -> int:
        return sum(
            times * sum(layer.operator.words(tensor) for layer in network for tensor in layer.operator.tensors)
            for network, times in networks
        )

    assert words(parts[1:]) == words([(step, 1) for step in steps])
