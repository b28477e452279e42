"""The spaces that HAT searches (Wang et al. 2020), see :mod:`codesign.nas.spaces.hat` for its networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from codesign.nas.spaces import hat
from codesign.nas.spaces._base import Gene, Space
from codesign.networks import Network, NetworkError


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
#: Tasks whose output layer is the table of embeddings.
_TIED = ("wmt14ende", "wmt19ende")


class Hat(Space):
    """Transformers for a task of :data:`~codesign.nas.spaces.hat.TASKS`; an encoder of 6 layers, a decoder of 1..6.

    A network is one translation of the task's measured sentence: the encoder, and the decoder once per token with the
    beam of the published measurements. All of them are one graph of layers that run one after another.
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
            for layer in part:
                operands = {
                    tensor: [prefix + source for source in sources]
                    for tensor, sources in part.operands(layer.name).items()
                }
                # All steps have the parameters of the first.
                parameters = layer.parameters if i < 2 else 0
                found.add(prefix + layer.name, layer.operator, operands, parameters, layer.batch_norm)
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
