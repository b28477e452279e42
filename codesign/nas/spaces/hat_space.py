"""The spaces that HAT searches (Wang et al. 2020), see :mod:`codesign.nas.spaces.hat` for its networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from codesign.nas.spaces import hat
from codesign.nas.spaces._base import Code, Gene, Site, Space
from codesign.networks import Network, NetworkError
from codesign.networks import computation as compute
from codesign.networks.computation import Value


@dataclass(frozen=True)
class _Choices:
    ffns: tuple[int, ...]
    heads: tuple[int, ...]


# Published supernets (configs of mit-han-lab/hardware-aware-transformers).
_CHOICES = {
    "wmt14ende": _Choices((1024, 2048, 3072), (4, 8)),
    "wmt19ende": _Choices((1024, 2048, 3072), (4, 8)),
    "iwslt14deen": _Choices((512, 1024, 2048), (2, 4)),
}
#: The decoder's table of embeddings.
_TABLE = "decoder.embed_tokens"
#: Tasks whose output layer is the table of embeddings.
_TIED = ("wmt14ende", "wmt19ende")


class Hat(Space):
    """Transformers for a task of :data:`~codesign.nas.spaces.hat.TASKS`; an encoder of 6 layers, a decoder of 1..6.

    A network is one translation of the task's measured sentence: the encoder, and the decoder once per token with the
    beam of the published measurements. All of them are one graph of layers that run one after another, in which every
    step reads what the encoder and the steps before have written. As a torch module it takes the words of a sentence,
    its positions, and both for every token of the translation, for one hypothesis per sentence; it gives the last
    token's logits.
    The written form has the fields of :class:`~codesign.nas.spaces.hat.Genes` and ``decoder_layers``.
    """

    name = "hat"

    def __init__(self, task: str = "wmt14ende"):
        if task not in _CHOICES:
            raise NetworkError(f"{self.name}: task must be one of {', '.join(_CHOICES)} (got {task!r})")
        self.task = task
        choices, layers = _CHOICES[task], range(hat.LAYERS)
        genes = [
            Gene("encoder_embed", hat.EMBEDDINGS),
            Gene("decoder_embed", hat.EMBEDDINGS),
            Gene("decoder_layers", tuple(range(1, hat.LAYERS + 1))),
        ]
        for name, options in (("encoder_ffn", choices.ffns), ("encoder_heads", choices.heads)):
            genes += [Gene(f"{name}[{i}]", options) for i in layers]
        for name, options in (
            ("decoder_ffn", choices.ffns),
            ("decoder_heads", choices.heads),
            ("ende_heads", choices.heads),
            ("attended", hat.ATTENDED),
        ):
            genes += [Gene(f"{name}[{i}]", options, parent=2, when=frozenset(range(i, hat.LAYERS))) for i in layers]
        self.genes = tuple(genes)
        # Steps differ in their layers: keys and values of the encoder's output are projected in the first one.
        self.sites = (
            *(Site(f"encoder.layers.{i}", f"encoder{i}", ()) for i in layers),
            *(Site(f"decoder.layers.{i}", f"decoder{i}", (), 2, frozenset(range(i, hat.LAYERS))) for i in layers),
            Site("decoder.output_projection", "head", (), last=True),
        )

    def standing(self, code: Code) -> dict[str, str]:
        """See :class:`~codesign.nas.spaces.Space`: a layer of the decoder is one site in all steps, which share its
        weights."""
        found = super().standing(code)
        steps = [f"step{step}." for step in range(hat.TASKS[self.task].tokens)]
        return {f"{step}{name}": name for name in found for step in (steps if name.startswith("decoder.") else [""])}

    def _build(self, values: dict[str, Any], batch: int) -> Network:
        genes, task = self._genes(values), hat.TASKS[self.task]
        parts = [
            hat.encoder(genes, batch=batch, tokens=task.tokens, vocabulary=task.source_vocabulary),
            *hat.decoder_steps(
                genes, batch=batch * hat.BEAM, tokens=task.tokens, vocabulary=task.target_vocabulary,
                tied=self.task in _TIED,
            ),
        ]  # fmt: skip
        found = Network(self.name)
        for i, part in enumerate(parts):
            prefix = f"step{i - 1}." if i else ""
            inputs = _inputs(genes, task.tokens, i - 1, found, part.inputs)
            for layer in part:
                assert layer.computation is not None
                made = compute.rewired(layer.computation, prefix, inputs)
                tensors = zip(part.operands(layer.name), compute.operands(made), strict=False)
                operands = {tensor: value.sources for tensor, value in tensors}
                # All steps have the parameters of the first.
                if i > 1:
                    made = _repeated(f"step0.{layer.name}", made, tied=f"step0.{_TABLE}")
                parameters = layer.parameters if i < 2 else 0
                found.add(prefix + layer.name, layer.operator, operands, parameters, layer.batch_norm, made)
        return found

    def translation(self, code: Any) -> hat.Genes:
        """The genes of a code, for the encoder and the decoder on their own."""
        return self._genes(self._values(self.check(code)))

    @staticmethod
    def _genes(values: dict[str, Any]) -> hat.Genes:
        fields: dict[str, Any] = {
            name: tuple(v) if isinstance(v, list) else v for name, v in values.items() if name != "decoder_layers"
        }
        for name in ("decoder_ffn", "decoder_heads", "ende_heads", "attended"):
            fields[name] = tuple(value for value in fields[name] if value is not None)
        return hat.Genes(**fields)


def _inputs(genes: hat.Genes, tokens: int, step: int, whole: Network, own: Sequence[Value]) -> list[Value]:
    """What stands for the inputs ``own`` of the encoder (step -1) or of a step of the decoder in the whole network.

    Words and positions stay inputs of the network. Keys and values of earlier tokens are what earlier steps projected;
    those of the encoder's layers are projected in the first step.
    """
    found: list[Value] = []
    for value in own[:2]:
        whole.inputs.append(Value(value.shape, (), compute.Input(len(whole.inputs))))
        found.append(whole.inputs[-1])
    for i in range(genes.decoder_layers if step >= 0 else 0):
        name = f"decoder.layers.{i}"
        if step == 0:
            read = 1 + hat.ATTENDED.index(genes.attended[i])
            layers = [f"encoder.layers.{hat.LAYERS - 1 - k}.final_layer_norm" for k in range(read)]
            found.append(compute.concat([_written(layer, tokens, genes.encoder_embed) for layer in layers], 0))
            continue
        for part in (1, 2):
            earlier = [_written(f"step{s}.{name}.self_attn.in_proj", 1, 3 * hat.QKV) for s in range(step)]
            crops = [
                Value((1, hat.QKV), projected.sources, compute.Crop(projected, (0, part * hat.QKV)))
                for projected in earlier
            ]
            found.append(compute.concat(crops, 0))
        for projection in ("k_proj", "v_proj"):
            sources = tokens * (1 + hat.ATTENDED.index(genes.attended[i]))
            found.append(_written(f"step0.{name}.encoder_attn.{projection}", sources, hat.QKV))
    return found


def _repeated(first: str, made: compute.Computation, tied: str) -> compute.Computation:
    """A later step's layer, which has the trained values of the ``first`` one, or of the ``tied`` table."""
    if isinstance(made, compute.Linear) and made.shared:
        return replace(made, shared=tied)
    if isinstance(made, compute.Linear | compute.LayerNorm | compute.Embedding):
        return compute.Repeated(first, made)
    return made


def _written(layer: str, tokens: int, features: int) -> Value:
    return Value((tokens, features), (layer,), compute.Output(layer))
