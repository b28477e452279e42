"""Hardware-aware transformers for translation (HAT, Wang et al. 2020): encoder, and decoder token by token.

A latency is that of one encoder run and one decoder run per generated token, so the graphs are separate: the costs of
:func:`encoder` and :func:`decoder_steps` add up. Published latencies were measured with a batch of 1 in the encoder and
of :data:`BEAM` in the decoder. The measured code was in training mode and spent time on dropout as well, which the
graphs leave out, as they do the scaling of embeddings by a constant.

Queries, keys and values have 512 features (:data:`QKV`) whatever the width of the embedding, so that the number of
heads changes nothing but the shape of the attention. Layer normalisation follows each addition.

Source: mit-han-lab/hardware-aware-transformers (fairseq/models/transformer_super.py, fairseq/utils.py,
latency_dataset.py, configs). Layer names are those of its modules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

from codesign.nas.spaces._genes import chosen, count
from codesign.networks import Builder, Network, NetworkError
from codesign.networks.builder import Value

#: Choices of the genes, those of the published latency measurements (the searched spaces are parts of it).
EMBEDDINGS = (512, 640)
FFNS = (512, 1024, 2048, 3072)
HEADS = (2, 4, 8)
#: Encoder-decoder attention reads the last encoder layer (-1), the last two (1) or the last three (2).
ATTENDED = (-1, 1, 2)

#: Layers of the encoder, and the most that the decoder may have.
LAYERS = 6
#: Features of queries, keys and values.
QKV = 512
#: Batch of the decoder in the published measurements: the width of the beam search.
BEAM = 5
#: Names of the features of a network, in their order.
FEATURES = (
    "encoder_embed_dim",
    "encoder_layer_num",
    "encoder_ffn_embed_dim_avg",
    "encoder_self_attention_heads_avg",
    "decoder_embed_dim",
    "decoder_layer_num",
    "decoder_ffn_embed_dim_avg",
    "decoder_self_attention_heads_avg",
    "decoder_ende_attention_heads_avg",
    "decoder_arbitrary_ende_attn_avg",
)

_NAME = "hat"
_LONGEST = 1024


@dataclass(frozen=True)
class Task:
    """What a data set sets: tokens of a measured sentence (source and target), and words of the two vocabularies.

    Without ``tied`` the output layer has weights of its own, not those of the table of embeddings.
    """

    tokens: int
    source_vocabulary: int
    target_vocabulary: int
    tied: bool = True


#: Tasks by the name that the published latency tables begin with.
TASKS = {
    "iwslt14deen": Task(23, 8848, 6632, tied=False),
    "wmt14ende": Task(30, 32768, 32768),
    "wmt19ende": Task(30, 49600, 49600),
}


@dataclass(frozen=True)
class Genes:
    """A network of the space; lists have one value per layer.

    ``encoder_embed`` and ``decoder_embed`` are the widths of the embeddings, ``*_ffn`` the hidden features of the
    feed-forward layers, ``*_heads`` the heads of the self-attention, ``ende_heads`` those of the encoder-decoder
    attention, and ``attended`` which encoder layers that one reads (see :data:`ATTENDED`). The encoder has 6 layers,
    the decoder 1..6.

    Raises NetworkError, naming the gene, for a value that is no choice, or lists whose lengths do not match.
    """

    encoder_embed: int
    encoder_ffn: tuple[int, ...]
    encoder_heads: tuple[int, ...]
    decoder_embed: int
    decoder_ffn: tuple[int, ...]
    decoder_heads: tuple[int, ...]
    ende_heads: tuple[int, ...]
    attended: tuple[int, ...]

    def __post_init__(self) -> None:
        layers = len(tuple(self.decoder_ffn))
        if not 1 <= layers <= LAYERS:
            raise NetworkError(f"{_NAME}: decoder_ffn must have 1..{LAYERS} values (got {layers})")
        for name in ("encoder_embed", "decoder_embed"):
            object.__setattr__(self, name, _embedding(name, getattr(self, name)))
        for name, choices, length in (
            ("encoder_ffn", FFNS, LAYERS),
            ("encoder_heads", HEADS, LAYERS),
            ("decoder_ffn", FFNS, layers),
            ("decoder_heads", HEADS, layers),
            ("ende_heads", HEADS, layers),
            ("attended", ATTENDED, layers),
        ):
            object.__setattr__(self, name, chosen(f"{_NAME}: {name}", getattr(self, name), choices, length))

    @property
    def decoder_layers(self) -> int:
        """Layers of the decoder."""
        return len(self.decoder_ffn)

    def features(self) -> tuple[float, ...]:
        """The ten numbers by which the latency tables describe a network (see :data:`FEATURES`)."""
        attended = [1 + ATTENDED.index(value) for value in self.attended]
        return (
            self.encoder_embed,
            LAYERS,
            _mean(self.encoder_ffn),
            _mean(self.encoder_heads),
            self.decoder_embed,
            self.decoder_layers,
            _mean(self.decoder_ffn),
            _mean(self.decoder_heads),
            _mean(self.ende_heads),
            _mean(attended),
        )


def from_features(features: Sequence[float]) -> Genes:
    """A network with the given ten features (see :data:`FEATURES`), four of which are means over layers.

    The published tables hold means only. Of all ways to give every layer one of the choices such that the mean is
    right, this takes the most even one (the least sum of squares), in ascending order. Parameters, MACs and words of
    tensors are linear in these genes, so their sums are those of the network that was measured. Only the softmax of the
    encoder-decoder attention may differ in size, because two genes of a layer multiply there: heads, and encoder layers
    that are read.

    Raises NetworkError, naming the feature, for a mean that no choice of the layers has.
    """
    values = [float(value) for value in features]
    if len(values) != len(FEATURES):
        raise NetworkError(f"{_NAME}: features must have {len(FEATURES)} values (got {len(values)})")
    named = dict(zip(FEATURES, values, strict=True))
    if named["encoder_layer_num"] != LAYERS:
        raise NetworkError(f"{_NAME}: encoder_layer_num must be {LAYERS} (got {named['encoder_layer_num']:g})")
    layers = named["decoder_layer_num"]
    if layers not in range(1, LAYERS + 1):
        raise NetworkError(f"{_NAME}: decoder_layer_num must be in 1..{LAYERS} (got {layers:g})")

    def spread(name: str, choices: tuple[int, ...], number: float) -> tuple[int, ...]:
        return _spread(name, named[name], choices, int(number))

    attended = spread("decoder_arbitrary_ende_attn_avg", tuple(range(1, len(ATTENDED) + 1)), layers)
    return Genes(
        encoder_embed=_embedding("encoder_embed_dim", named["encoder_embed_dim"]),
        encoder_ffn=spread("encoder_ffn_embed_dim_avg", FFNS, LAYERS),
        encoder_heads=spread("encoder_self_attention_heads_avg", HEADS, LAYERS),
        decoder_embed=_embedding("decoder_embed_dim", named["decoder_embed_dim"]),
        decoder_ffn=spread("decoder_ffn_embed_dim_avg", FFNS, layers),
        decoder_heads=spread("decoder_self_attention_heads_avg", HEADS, layers),
        ende_heads=spread("decoder_ende_attention_heads_avg", HEADS, layers),
        attended=tuple(ATTENDED[number - 1] for number in attended),
    )


def encoder(genes: Genes, *, batch: int = 1, tokens: int = 30, vocabulary: int = 32768) -> Network:
    """The encoder on sentences of ``tokens`` tokens; ``vocabulary`` words in its table of embeddings.

    Raises NetworkError for more than 1024 tokens, or an option below 1. See :data:`TASKS` for measured settings.
    """
    tokens = _sequence("tokens", tokens)
    b = Builder(f"{_NAME}_encoder", batch)
    x = _embed(b, "encoder", tokens, count(f"{_NAME}: vocabulary", vocabulary), genes.encoder_embed)
    for i, (ffn, heads) in enumerate(zip(genes.encoder_ffn, genes.encoder_heads, strict=True)):
        name = f"encoder.layers.{i}"
        x = _self_attention(b, x, name, heads)
        x = _feed_forward(b, x, name, ffn)
    return b.network


def decoder_step(
    genes: Genes,
    *,
    position: int,
    batch: int = 1,
    tokens: int = 30,
    vocabulary: int = 32768,
    tied: bool = True,
) -> Network:
    """The decoder for the token at ``position`` (from 0), after a source sentence of ``tokens`` tokens.

    Keys and values of earlier tokens come from a cache. Those of the encoder's output are computed at position 0 only,
    so their parameters are counted there only. ``vocabulary`` is that of the target language; with ``tied`` weights,
    those of the output layer are the table of embeddings and are not counted again (WMT; not IWSLT, where source and
    target have vocabularies of their own).

    Raises NetworkError for more than 1024 tokens, a position outside 0..1023, or another option below 1.
    """
    position = count(f"{_NAME}: position", position, least=0)
    _sequence("position + 1", position + 1)
    tokens = _sequence("tokens", tokens)
    vocabulary = count(f"{_NAME}: vocabulary", vocabulary)
    b = Builder(f"{_NAME}_decoder", batch)
    x = _embed(b, "decoder", 1, vocabulary, genes.decoder_embed)
    for i in range(genes.decoder_layers):
        name = f"decoder.layers.{i}"
        x = _self_attention(b, x, name, genes.decoder_heads[i], cached=position)
        # The outputs of several encoder layers stand one after the other, like one longer sentence.
        sources = tokens * (1 + ATTENDED.index(genes.attended[i]))
        query = b.linear(x, f"{name}.encoder_attn.q_proj", K=QKV)
        if position:
            keys, values = b.input(sources, QKV), b.input(sources, QKV)
        else:
            encoded = b.input(sources, genes.encoder_embed)
            keys = b.linear(encoded, f"{name}.encoder_attn.k_proj", K=QKV)
            values = b.linear(encoded, f"{name}.encoder_attn.v_proj", K=QKV)
        y = b.attention(query, keys, values, f"{name}.encoder_attn", heads=genes.ende_heads[i])
        y = b.linear(y, f"{name}.encoder_attn.out_proj", K=genes.decoder_embed)
        x = b.layernorm(b.add(f"{name}.encoder_attn.add", y, x), f"{name}.encoder_attn_layer_norm")
        x = _feed_forward(b, x, name, genes.decoder_ffn[i])
    b.linear(x, "decoder.output_projection", K=vocabulary, bias=False, shared="decoder.embed_tokens" if tied else None)
    return b.network


def decoder_steps(
    genes: Genes,
    *,
    batch: int = 1,
    tokens: int = 30,
    vocabulary: int = 32768,
    tied: bool = True,
) -> list[Network]:
    """The decoder for all of ``tokens`` tokens, one network each: a translation as long as its source sentence."""
    return [
        decoder_step(genes, position=position, batch=batch, tokens=tokens, vocabulary=vocabulary, tied=tied)
        for position in range(_sequence("tokens", tokens))
    ]


def translation(genes: Genes, task: Task) -> list[tuple[Network, int]]:
    """What a translation of a sentence runs, as it was measured: networks, and how many times each.

    Work per step grows linearly with the position, so those in the middle stand for all after the first: operations and
    words are those of all steps.
    """
    tokens = task.tokens
    common = {"batch": BEAM, "tokens": tokens, "vocabulary": task.target_vocabulary}

    def step(position: int) -> Network:
        return decoder_step(genes, position=position, tied=task.tied, **common)

    found = [
        (encoder(genes, tokens=tokens, vocabulary=task.source_vocabulary), 1),
        (step(0), 1),
    ]
    if tokens % 2 == 0:
        positions = {tokens // 2: tokens - 1}
    else:
        positions = {tokens // 2: tokens // 2, tokens // 2 + 1: tokens // 2}
    return found + [(step(position), times) for position, times in positions.items() if times]


def _embed(b: Builder, part: str, tokens: int, vocabulary: int, features: int) -> Value:
    words = b.embedding(f"{part}.embed_tokens", tokens=tokens, rows=vocabulary, features=features)
    # Positions are sinusoids from a table that is not trained.
    return b.add(f"{part}.embed_positions", words, b.input(tokens, features))


def _self_attention(b: Builder, x: Value, name: str, heads: int, cached: int = 0) -> Value:
    tokens, features = x.shape
    projected = b.linear(x, f"{name}.self_attn.in_proj", K=3 * QKV)
    q, k, v = (b.crop(projected, tokens, QKV, start=[0, part * QKV]) for part in range(3))
    if cached:
        k, v = (b.concat(b.input(cached, QKV), part) for part in (k, v))
    y = b.attention(q, k, v, f"{name}.self_attn", heads=heads)
    y = b.linear(y, f"{name}.self_attn.out_proj", K=features)
    return b.layernorm(b.add(f"{name}.self_attn.add", y, x), f"{name}.self_attn_layer_norm")


def _feed_forward(b: Builder, x: Value, name: str, hidden: int) -> Value:
    y = b.linear(x, f"{name}.fc1", K=hidden, activation="relu")
    y = b.linear(y, f"{name}.fc2", K=x.shape[-1])
    return b.layernorm(b.add(f"{name}.final_add", y, x), f"{name}.final_layer_norm")


def _spread(name: str, mean: float, choices: tuple[int, ...], layers: int) -> tuple[int, ...]:
    total = round(mean * layers) if abs(mean) < 1e6 else -1
    # Means come in single precision; sums of choices are integers.
    ways = [way for way in combinations_with_replacement(choices, layers) if sum(way) == total]
    if not ways or abs(mean * layers - total) > 0.01:
        allowed = ", ".join(map(str, choices))
        raise NetworkError(f"{_NAME}: {name} must be a mean of {layers} values out of {allowed} (got {mean:g})")
    return min(ways, key=lambda way: sum(value * value for value in way))


def _mean(values: Sequence[int]) -> float:
    return sum(values) / len(values)


def _sequence(option: str, value: int) -> int:
    found = count(f"{_NAME}: {option}", value)
    if found > _LONGEST:
        raise NetworkError(f"{_NAME}: {option} must be at most {_LONGEST} (got {found})")
    return found


def _embedding(name: str, value: float) -> int:
    if value not in EMBEDDINGS:
        raise NetworkError(f"{_NAME}: {name} must be one of {', '.join(map(str, EMBEDDINGS))} (got {value!r})")
    return int(value)
