"""What runs: networks as graphs of operators, a zoo of published ones, and import from ONNX."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from codesign.networks.builder import Builder, Value
from codesign.networks.graph import Fusion, Layer, Network, NetworkError
from codesign.networks.zoo import ZOO, Entry, find

__all__ = ["ZOO", "Builder", "Entry", "Fusion", "Layer", "Network", "NetworkError", "Value", "find", "load"]


def load(name_or_path: str | Path, /, **options: Any) -> Network:
    """The network with this zoo name (``resnet50``, ``mobilenetv2``), or the one in this ``.onnx`` file.

    ``options`` go to the zoo's constructor (``batch``, ``resolution``, ``sequence``, ..) or to
    :func:`codesign.networks.onnx.load_onnx` (``batch``, ``dimensions``, ``allow_unknown``).

    Raises NetworkError for an unknown name (with suggestions), an unknown option, or a file that cannot be imported.
    """
    text = str(name_or_path)
    if text.lower().endswith(".onnx"):
        from codesign.networks.onnx import load_onnx

        _check_options(text, load_onnx, options)
        return _built(text, load_onnx, text, **options)
    entry = find(text)
    _check_options(entry.name, entry.build, options)
    return _built(entry.name, entry.build, **options)


def _built(name: str, build: Callable[..., Network], *arguments: Any, **options: Any) -> Network:
    try:
        return build(*arguments, **options)
    except ValueError as error:
        low = next((option for option, value in options.items() if isinstance(value, int) and value < 1), None)
        if low is not None and low not in str(error):
            raise NetworkError(f"{name}: {low} must be an integer >= 1 (got {options[low]})") from None
        if isinstance(error, NetworkError):
            raise
        # An operator with counts that cannot be: dimensions are each within bounds, their products need not be.
        raise NetworkError(f"{name}: {error}") from None


def _check_options(name: str, build: Callable[..., Network], options: dict[str, Any]) -> None:
    allowed = [p.name for p in inspect.signature(build).parameters.values() if p.kind is p.KEYWORD_ONLY]
    unknown = [option for option in options if option not in allowed]
    if unknown:
        raise NetworkError(f"{name}: unknown option {', '.join(unknown)} (it takes {', '.join(allowed)})")
