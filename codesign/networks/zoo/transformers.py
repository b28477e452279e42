"""Transformers: BERT, the vision transformer, GPT-2 (prompt and generation)."""

from __future__ import annotations

from codesign.networks.builder import Builder, Value
from codesign.networks.graph import Network, NetworkError


def bert_base(*, batch: int = 1, sequence: int = 128) -> Network:
    """BERT-base, uncased vocabulary, with the pooler and no task head (Devlin et al. 2019)."""
    b = Builder("bert_base", batch)
    _at_most("bert_base", "sequence", sequence, 512)
    words = b.embedding("embeddings.word_embeddings", tokens=sequence, rows=30522, features=768)
    places = b.embedding("embeddings.position_embeddings", tokens=sequence, rows=512, features=768, first=0)
    types = b.embedding("embeddings.token_type_embeddings", tokens=sequence, rows=2, features=768)
    x = b.layernorm(b.add("embeddings.add", words, types, places), "embeddings.LayerNorm")
    for i in range(12):
        name = f"encoder.layer.{i}"
        q, k, v = (b.linear(x, f"{name}.attention.self.{part}", K=768) for part in ("query", "key", "value"))
        y = b.attention(q, k, v, f"{name}.attention.self", heads=12)
        y = b.linear(y, f"{name}.attention.output.dense", K=768)
        x = b.layernorm(b.add(f"{name}.attention.output.add", y, x), f"{name}.attention.output.LayerNorm")
        y = b.linear(x, f"{name}.intermediate.dense", K=3072, activation="gelu")
        y = b.linear(y, f"{name}.output.dense", K=768)
        x = b.layernorm(b.add(f"{name}.output.add", y, x), f"{name}.output.LayerNorm")
    first = b.flatten(b.crop(x, 1, 768))
    b.linear(first, "pooler.dense", K=768, activation="tanh")
    return b.network


def vit_b_16(*, batch: int = 1, resolution: int = 224, classes: int = 1000) -> Network:
    """Vision transformer ViT-B/16 (Dosovitskiy et al. 2021)."""
    b = Builder("vit_b_16", batch)
    if not isinstance(resolution, int) or resolution < 16 or resolution % 16:
        raise NetworkError(f"vit_b_16: resolution must be a multiple of 16 (got {resolution!r})")
    x = b.tokens(b.conv(b.input(3, resolution, resolution), "conv_proj", K=768, kernel=16, stride=16))
    x = b.concat(b.trained("class_token", 1, 768), x)  # counted with the positions
    x = b.add_trained(x, "encoder.pos_embedding", parameters=x.shape[0] * 768 + 768)
    for i in range(12):
        name = f"encoder.layers.encoder_layer_{i}"
        y = b.linear(b.layernorm(x, f"{name}.ln_1"), f"{name}.self_attention.in_proj", K=3 * 768)
        y = _self_attention(b, y, f"{name}.self_attention", heads=12)
        x = b.add(f"{name}.add_1", b.linear(y, f"{name}.self_attention.out_proj", K=768), x)
        y = b.linear(b.layernorm(x, f"{name}.ln_2"), f"{name}.mlp.0", K=3072, activation="gelu")
        x = b.add(f"{name}.add_2", b.linear(y, f"{name}.mlp.3", K=768), x)
    x = b.layernorm(x, "encoder.ln")
    b.linear(b.flatten(b.crop(x, 1, 768)), "heads.head", K=classes)
    return b.network


def gpt2_prefill(*, batch: int = 1, sequence: int = 1024, last_only: bool = False) -> Network:
    """GPT-2 small reading a prompt of ``sequence`` tokens (Radford et al. 2019).

    The output head runs on every token, as in training and in the published figure; ``last_only`` runs it on the last
    one, which is all that generation needs.
    """
    return _gpt2("gpt2_prefill", batch, sequence, sequence, last_only)


def gpt2_decode(*, batch: int = 1, context: int = 1024) -> Network:
    """GPT-2 small generating one token that attends to ``context`` tokens, itself included, through the cache."""
    return _gpt2("gpt2_decode", batch, 1, context, last_only=False)


def _gpt2(name: str, batch: int, tokens: int, context: int, last_only: bool) -> Network:
    b = Builder(name, batch)
    _at_most(name, "sequence or context", context, 1024)
    x = b.add(
        "transformer.add",
        b.embedding("transformer.wte", tokens=tokens, rows=50257, features=768),
        b.embedding("transformer.wpe", tokens=tokens, rows=1024, features=768, first=context - tokens),
    )
    for i in range(12):
        layer = f"transformer.h.{i}"
        y = b.linear(b.layernorm(x, f"{layer}.ln_1"), f"{layer}.attn.c_attn", K=3 * 768)
        y = _self_attention(b, y, f"{layer}.attn", heads=12, cached=context - tokens, causal=True)
        x = b.add(f"{layer}.add_1", b.linear(y, f"{layer}.attn.c_proj", K=768), x)
        y = b.linear(b.layernorm(x, f"{layer}.ln_2"), f"{layer}.mlp.c_fc", K=3072, activation="gelu")
        x = b.add(f"{layer}.add_2", b.linear(y, f"{layer}.mlp.c_proj", K=768), x)
    x = b.layernorm(x, "transformer.ln_f")
    if last_only:
        x = b.crop(x, 1, 768, start=[tokens - 1, 0])
    b.linear(x, "lm_head", K=50257, bias=False, shared="transformer.wte")
    return b.network


def _self_attention(b: Builder, qkv: Value, name: str, *, heads: int, cached: int = 0, causal: bool = False) -> Value:
    """Attention on queries, keys and values that one projection computed side by side, after ``cached`` tokens."""
    tokens, features = qkv.shape[0], qkv.shape[1] // 3
    q, k, v = (b.crop(qkv, tokens, features, start=[0, part * features]) for part in range(3))
    if cached:
        k, v = (b.concat(b.input(cached, features), part) for part in (k, v))
    return b.attention(q, k, v, name, heads=heads, causal=causal)


def _at_most(network: str, option: str, value: int, limit: int) -> None:
    if not isinstance(value, int) or not 1 <= value <= limit:
        raise NetworkError(f"{network}: {option} must be in 1..{limit} (got {value!r})")
