"""Networks from ONNX files.

Only shapes matter here: weights are never read, so a file whose external data is missing imports as well. The `onnx`
package is an extra and is imported when the first file is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from codesign.networks.graph import Network, NetworkError


def load_onnx(
    path: str | Path,
    *,
    batch: int | None = None,
    dimensions: Mapping[str, int] | None = None,
    allow_unknown: bool = False,
) -> Network:
    """Import a network from an ONNX file.

    ``batch`` fills the first dimension of the inputs where the file leaves it open. ``dimensions`` fills other open
    dimensions, by name (``{"sequence": 128}``) or by place (``{"input_ids[1]": 128}``). With ``allow_unknown`` an
    operator that is not supported is costed as one pass over its inputs and outputs and listed in the network's
    ``warnings``.

    Batch normalisation and biases after a multiply-accumulate layer are folded into it. Shape arithmetic and whatever
    else follows from constants alone is no work at run time and leaves no layer.

    Raises NetworkError if the file cannot be read, leaves dimensions open, or has unsupported operators (lists all).
    """
    try:
        # The two modules behind this one need the onnx package at import.
        from codesign.networks._onnx_model import read_model
        from codesign.networks._onnx_nodes import Importer
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in {"onnx", "google"}:
            raise
        raise NetworkError(
            f"{path}: reading ONNX files needs the onnx package: pip install 'codesign[onnx]'"
        ) from error
    try:
        model = read_model(Path(path), batch, dict(dimensions or {}))
        return Importer(model, Path(path).stem, allow_unknown).run()
    except NetworkError as error:
        raise NetworkError(f"{path}: {error}") from error
