"""Networks of HAT's space run: shapes of every layer are those of its operator, steps share their weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from codesign.nas.spaces import Hat, hat
from codesign.networks import Network

torch = pytest.importorskip("torch")

from codesign.networks import computation as compute  # noqa: E402
from codesign.networks.torch_module import to_torch  # noqa: E402


@pytest.fixture(scope="module")
def small() -> Network:
    """Two decoder layers; the first reads two encoder layers, the second three."""
    space = Hat("iwslt14deen")
    code = np.zeros(len(space.genes), np.int64)
    written = space.write(code)
    written |= {"decoder_layers": 2, "attended": [1, 2, None, None, None, None]}
    for name in ("decoder_ffn", "decoder_heads", "ende_heads"):
        value = written[name][0]
        written[name] = [value, value, None, None, None, None]
    return space.network(space.parse(written))


@pytest.fixture(scope="module", autouse=True)
def short_sentences():  # type: ignore[no-untyped-def]
    """Four tokens and few words."""
    patch = pytest.MonkeyPatch()
    patch.setitem(hat.TASKS, "iwslt14deen", hat.Task(4, 50, 40, tied=False))
    patch.setitem(hat.TASKS, "wmt14ende", hat.Task(3, 30, 30))
    yield
    patch.undo()


def _data(network: Network) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    found = []
    for value in network.inputs:
        if len(value.shape) == 1:
            found.append(torch.randint(0, 30, (2, *value.shape), generator=generator))
        else:
            found.append(torch.randn(2, *value.shape, generator=generator))
    return found


def test_every_layer_writes_what_its_operator_says(small: Network) -> None:
    """For one sentence, and one hypothesis instead of a beam."""
    module = to_torch(small, seed=0).eval()
    data = _data(small)
    outputs = module._run({layer.name for layer in small}, data)
    for layer in small:
        operator = layer.operator
        beam = hat.BEAM if layer.name.startswith("step") else 1
        assert outputs[layer.name][0].numel() * beam == operator.words(operator.output), layer.name
        for tensor, producers in small.operands(layer.name).items():
            assert producers or layer.name.endswith("embed_positions"), (layer.name, tensor)
    assert module(*data).shape == (2, 1, 40)
    assert torch.isfinite(module(*data)).all()


@pytest.mark.parametrize("task", ["iwslt14deen", "wmt14ende"])
def test_steps_share_the_weights_of_the_first(task: str) -> None:
    space = Hat(task)
    for code in space.sample(np.random.default_rng(0), 2):
        network = space.network(code)
        module = to_torch(network, seed=0)
        assert sum(p.numel() for p in module.parameters()) == network.parameters
        assert module.layer("step2.decoder.layers.0.fc1") is module.layer("step0.decoder.layers.0.fc1")


def test_steps_are_causal_attention_with_a_cache(small: Network) -> None:
    """The last step sees the earlier tokens and the sentence, and the first step's logits do not see later tokens."""
    module = to_torch(small, seed=0).eval()
    data = _data(small)
    logits = ["step0.decoder.output_projection", "step3.decoder.output_projection"]
    before = module._run(set(logits), data)
    # Inputs: words and positions of the sentence, then of every token.
    changed = [tensor.clone() for tensor in data]
    changed[5] = changed[5] + 1.0
    after = module._run(set(logits), changed)
    assert torch.equal(before[logits[0]], after[logits[0]])
    assert not torch.allclose(before[logits[1]], after[logits[1]])
    changed = [tensor.clone() for tensor in data]
    changed[1] = changed[1] + torch.randn(changed[1].shape, generator=torch.Generator().manual_seed(2))
    after = module._run(set(logits), changed)
    assert not torch.allclose(before[logits[0]], after[logits[0]])


def test_which_encoder_layers_are_read(small: Network) -> None:
    def sources(layer: int) -> tuple[str, ...]:
        return small.operands(f"step0.decoder.layers.{layer}.encoder_attn.k_proj")["inputs"]

    last = [f"encoder.layers.{i}.final_layer_norm" for i in (5, 4, 3)]
    assert sources(0) == tuple(last[:2])
    assert sources(1) == tuple(last)


def test_attention_is_that_of_torch(small: Network) -> None:
    """The first encoder layer's self-attention against torch's own function."""
    module = to_torch(small, seed=0).eval()
    data = _data(small)
    name = "encoder.layers.0.self_attn"
    outputs = module._run({f"{name}.in_proj", f"{name}.context"}, data)
    heads = small.layer(f"{name}.scores").computation
    assert isinstance(heads, compute.Scores)
    q, k, v = (
        part.unflatten(-1, (heads.heads, -1)).transpose(1, 2) for part in outputs[f"{name}.in_proj"].chunk(3, -1)
    )
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2)
    assert torch.allclose(outputs[f"{name}.context"], expected, atol=1e-6)


def test_the_onnx_file_computes_what_the_module_does(small: Network, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator

    from codesign.networks.onnx_export import export_onnx

    module = to_torch(small, seed=0).eval()
    path = tmp_path / "hat.onnx"
    export_onnx(small, path, module=module)
    data = [tensor[:1] for tensor in _data(small)]
    feeds = {f"input{i}": tensor.numpy() for i, tensor in enumerate(data)}
    (found,) = ReferenceEvaluator(onnx.load(str(path))).run(None, feeds)
    assert np.allclose(found, module(*data).detach().numpy(), atol=1e-4)


def test_zero_shot_scores(small: Network) -> None:
    from codesign.nas.zero_shot import score

    found = score(small, ["params", "naswot", "snip", "jacob_cov"], batch=3)
    assert found["params"].mean == small.parameters
    assert found["snip"].mean is not None and found["snip"].mean > 0
    assert found["naswot"].mean is not None
