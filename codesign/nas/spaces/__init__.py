"""Spaces of networks: one module per space builds any of its members as a graph of operators."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from accelerators.suggestions import did_you_mean
from codesign import networks
from codesign.nas import _options
from codesign.nas.spaces import staged
from codesign.nas.spaces._base import Code, Codes, Gene, Site, Space
from codesign.nas.spaces.analog_resnet import AnalogResNet
from codesign.nas.spaces.darts import Darts
from codesign.nas.spaces.fbnet import FbNet
from codesign.nas.spaces.hat_space import Hat
from codesign.nas.spaces.nas_bench_201 import NasBench201
from codesign.nas.spaces.ofa_mobilenet_v3 import OfaMobileNetV3
from codesign.nas.spaces.ofa_resnet50 import OfaResNet50
from codesign.nas.spaces.proxylessnas import OfaProxylessNas, ProxylessNas
from codesign.nas.spaces.quantised import Quantised
from codesign.networks import Network, NetworkError

#: How encodings begin, and no space or network does: JSON, or a cell of NAS-Bench-201.
_ENCODING = re.compile(r'\s*["{\[|]')


def mnasnet() -> Space:
    """MnasNet's space (Tan et al., CVPR 2019): ``mnasnet.yaml`` beside this module."""
    return staged.load(Path(__file__).parent / "mnasnet.yaml")


def _quantised(*, space: str, options: Mapping[str, Any] | None = None, **bits: Any) -> Space:
    """Any space with bits of weights and activations as further genes.

    ``space`` is its name or file, ``options`` are its options, ``bits`` those of :class:`Quantised`: ``weights``,
    ``activations``, ``per`` and ``ends``.
    """
    if not isinstance(space, str | Path):
        raise NetworkError(f"quantised: space must be a name or a .yaml file (got {space!r})")
    if not isinstance(options or {}, Mapping):
        raise NetworkError(f"quantised: options must be a mapping (got {options!r})")
    return Quantised(load(space, **(options or {})), **bits)


#: Spaces by name; some take options.
SPACES: dict[str, Callable[..., Space]] = {
    "analog_resnet": AnalogResNet,
    "darts": Darts,
    "fbnet": FbNet,
    "hat": Hat,
    "mnasnet": mnasnet,
    "naas_resnet50": OfaResNet50.naas,
    "nas_bench_201": NasBench201,
    "ofa_mobilenet_v3": OfaMobileNetV3,
    "ofa_proxylessnas": OfaProxylessNas,
    "ofa_resnet50": OfaResNet50,
    "proxylessnas": ProxylessNas,
    "quantised": _quantised,
}


def load(name_or_path: str | Path, /, **options: Any) -> Space:
    """The space with this name, or the one that a ``.yaml`` file describes.

    Raises NetworkError for an unknown name or option, :class:`~accelerators.documents.DocumentError` for a file.
    """
    text = str(name_or_path)
    if text.endswith((".yaml", ".yml")):
        if options:
            raise NetworkError(f"{text}: a space from a file has no options (got {', '.join(options)})")
        return staged.load(text)
    if text not in SPACES:
        raise NetworkError(
            f"unknown space {text!r}{did_you_mean(text, SPACES)} (known: {', '.join(SPACES)}, or a .yaml file)"
        )
    _options.belong(text, SPACES[text], options)
    try:
        return SPACES[text](**options)
    except TypeError as error:
        raise NetworkError(f"{text}: {error}") from None


def split(text: str) -> tuple[str, str] | None:
    """Space and encoding of ``SPACE:ENCODING``; None for other text, such as a name of the zoo or an .onnx file.

    Raises NetworkError for an encoding without its space.
    """
    space, separator, encoding = text.partition(":")
    if text.lower().endswith(".onnx"):
        return None
    if _ENCODING.match(text):
        raise NetworkError(f"an encoding must have its space before it, SPACE:ENCODING (got {text!r})")
    return (space, encoding) if separator else None


def encoding_of(text: str) -> str:
    """The encoding of ``SPACE:ENCODING``, or of an encoding by itself."""
    return text if _ENCODING.match(text) else text.partition(":")[2] or text


def named_network(name_or_path: str | Path, /, *, batch: int | None = None, **options: Any) -> Network:
    """Any network by name: ``SPACE:ENCODING``, or what :func:`codesign.networks.load` takes.

    ``options`` are those of the space or of the network, ``batch`` is 1 if the network has no other. A network of a
    space goes by the text it was given as. Raises NetworkError, and
    :class:`~accelerators.documents.DocumentError` for the file of a space.
    """
    text = str(name_or_path)
    parts = split(text)
    if parts is None:
        if text in SPACES or text.endswith((".yaml", ".yml")):
            raise NetworkError(
                f"unknown network {text!r}: it is a space, and one of its networks is {text}:ENCODING "
                f"(`codesign sample {text}` prints some)"
            )
        return networks.load(text, **options, **({} if batch is None else {"batch": batch}))
    space, encoding = parts
    found = load(space, **options)
    network = found.network(found.parse(encoding), batch=1 if batch is None else batch)
    network.name = text
    return network


__all__ = [
    "SPACES",
    "Code",
    "Codes",
    "Gene",
    "Quantised",
    "Site",
    "Space",
    "encoding_of",
    "load",
    "named_network",
    "split",
]
