"""Trained networks with the task that they solve: plain arrays, and the network that they belong to.

``digits_resnet8`` comes with the program (``data/README.md`` has its source). One of your own is an .npz file with

========================  ============================================================================================
``network``               text: ``SPACE:ENCODING`` as `codesign evaluate` takes it, or a network of the zoo
``options``               text, may be absent: JSON of the options of the space or the network, ``{"resolution": 32}``
``weights/NAME``          parameters and statistics by the names that ``to_torch(network).state_dict()`` gives them
``images``, ``labels``    what is classified: [n, *input of the network] as the network wants it, and n whole numbers
``calibration``           inputs like ``images`` and none of them, by which ranges are set; may be absent
========================  ============================================================================================

or a folder with the same arrays as files: ``NAME.npy`` (``weights/NAME.npy``), ``network.txt`` and ``options.json``.
Nothing is unpickled. :func:`save` writes such a file.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from accelerators.suggestions import did_you_mean
from codesign.files import read_arrays, write_whole
from codesign.nas import spaces
from codesign.networks import Network, NetworkError
from codesign.networks.torch_module import NetworkModule, to_torch

#: What comes with the program.
NAMES = ("digits_resnet8",)
_WEIGHTS = "weights/"
#: Counts the batches of training, and nothing else.
_COUNTER = "num_batches_tracked"
_BATCH = 500
#: Parameters of a network that are let pass without as many weights, to say which are missing.
_MOST_MISSING = 10_000_000


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A trained network and images that it was not trained with.

    ``network`` has the size of ``inputs`` [n, *shape]; ``module`` is in evaluation mode and gives scores [n, classes];
    ``labels`` [n]. ``calibration`` are other inputs, None if there are none.
    """

    name: str
    network: Network
    module: NetworkModule
    inputs: Tensor
    labels: Tensor
    calibration: Tensor | None = None

    @cached_property
    def digital_accuracy(self) -> float:
        """Per cent of the images that the network classifies rightly as it is."""
        return accuracy(self.module, self.inputs, self.labels)


def accuracy(module: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Per cent of right answers."""
    with torch.inference_mode():
        batches = zip(inputs.split(_BATCH), labels.split(_BATCH), strict=True)
        right = sum(int((module(x).argmax(dim=1) == y).sum()) for x, y in batches)
    return 100 * right / len(labels)


def load(name_or_path: str | Path) -> TrainedNetwork:
    """The trained network of a name (see :data:`NAMES`), of an .npz file or of a folder.

    Raises NetworkError, naming file and array, for what is missing, has another shape or is no number.
    """
    text = str(name_or_path)
    path = Path(text)
    if text in NAMES:
        source = resources.files("codesign.analog") / "data" / f"{text}.npz"
        with resources.as_file(source) as file:
            return _made(text, text, _arrays(file))
    if path.is_dir():
        return _made(path.name, text, _folder(path))
    if path.suffix == ".npz":
        return _made(path.stem, text, _arrays(path))
    raise NetworkError(
        f"unknown trained network {text!r}{did_you_mean(text, NAMES)} (known: {', '.join(NAMES)}, an .npz file, or a "
        "folder)"
    )


def save(
    path: str | Path,
    network: str,
    module: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    calibration: Tensor | None = None,
    options: dict[str, Any] | None = None,
    half: bool = False,
) -> TrainedNetwork:
    """Write the .npz file of a trained network, and give what :func:`load` makes of it.

    ``module`` has the weights, by the names of ``to_torch`` of the ``network`` (see the module); with ``half`` these,
    inputs and calibration are kept in half precision. Raises NetworkError like :func:`load`, then nothing is written.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise NetworkError(f"{path}: a trained network is an .npz file")
    kind = np.float16 if half else np.float32
    arrays: dict[str, NDArray[Any]] = {
        "network": np.array(network),
        "options": np.array(json.dumps(options or {})),
        "images": inputs.numpy().astype(kind),
        "labels": labels.numpy().astype(np.int32),
    }
    if calibration is not None:
        arrays["calibration"] = calibration.numpy().astype(kind)
    for name, values in module.state_dict().items():
        if not name.endswith(_COUNTER):
            arrays[_WEIGHTS + name] = values.detach().cpu().numpy().astype(kind)
    found = _made(path.stem, str(path), arrays)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_whole(path, buffer.getvalue())
    return found


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        return read_arrays(path)
    except ValueError as error:
        raise NetworkError(str(error)) from None


def _folder(folder: Path) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {}
    try:
        for name, file in (("network", "network.txt"), ("options", "options.json")):
            if (folder / file).is_file():
                found[name] = np.array((folder / file).read_text(encoding="utf-8").strip())
        for path in sorted(folder.rglob("*.npy")):
            found[path.relative_to(folder).with_suffix("").as_posix()] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        why = "it has objects that are no arrays of numbers" if "pickle" in str(error).lower() else error
        raise NetworkError(f"{folder}: cannot be read: {why}") from None
    return found


def _made(name: str, place: str, arrays: dict[str, NDArray[Any]]) -> TrainedNetwork:
    for needed in ("network", "images", "labels"):
        if needed not in arrays:
            raise NetworkError(f"{place}: {needed} is missing")
    network = _network(place, arrays)
    weights = {key: values for key, values in arrays.items() if key.startswith(_WEIGHTS)}
    given = sum(values.size for values in weights.values())
    if network.parameters > _MOST_MISSING + 2 * given:
        # Before as much memory is asked for: some options make any network huge.
        raise NetworkError(
            f"{place}: the network has {network.parameters:,} parameters, the weights are {given:,} numbers"
        )
    module = to_torch(network, seed=0).eval()
    if len(module.inputs) != 1:
        raise NetworkError(f"{place}: the network must have one input (got {len(module.inputs)})")
    _fill(place, module, weights)
    inputs = _images(place, "images", arrays["images"], module.inputs[0])
    labelled = arrays["labels"]
    with torch.inference_mode():
        scores = module(inputs[:1])
    if scores.ndim != 2:
        raise NetworkError(f"{place}: the network must give scores of classes (got outputs {list(scores.shape[1:])})")
    classes = scores.shape[1]
    if labelled.shape != (len(inputs),) or labelled.dtype.kind not in "iu":
        got = f"{list(labelled.shape)} of {labelled.dtype}"
        raise NetworkError(f"{place}: labels must be {len(inputs)} integers (got {got})")
    wrong = (labelled < 0) | (labelled >= classes)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise NetworkError(f"{place}: labels[{at}] must be in 0..{classes - 1}, the classes (got {labelled[at]})")
    calibration = None
    if "calibration" in arrays:
        calibration = _images(place, "calibration", arrays["calibration"], module.inputs[0])
    labels = torch.from_numpy(labelled.astype(np.int64))
    return TrainedNetwork(name, network, module, inputs, labels, calibration)


def _network(place: str, arrays: dict[str, NDArray[Any]]) -> Network:
    for name in ("network", "options"):
        if name in arrays and (arrays[name].ndim or arrays[name].dtype.kind != "U"):
            raise NetworkError(f"{place}: {name} must be text (got {arrays[name].dtype})")
    try:
        options = json.loads(str(arrays.get("options", "{}")))
    except (ValueError, RecursionError) as error:
        raise NetworkError(f"{place}: options must be JSON ({error})") from None
    if not isinstance(options, dict):
        raise NetworkError(f"{place}: options must be a mapping (got {options!r})")
    try:
        return spaces.named_network(str(arrays["network"]), **options)
    except (ValueError, TypeError, RecursionError) as error:
        raise NetworkError(f"{place}: network: {error}") from None


def _fill(place: str, module: NetworkModule, weights: dict[str, NDArray[Any]]) -> None:
    """Put the weights into the module."""
    state = {name: values for name, values in module.state_dict().items() if not name.endswith(_COUNTER)}
    for key in weights:
        name = key.removeprefix(_WEIGHTS)
        if name not in state and not name.endswith(_COUNTER):
            raise NetworkError(f"{place}: {key} belongs to no layer{did_you_mean(name, state)}")
    for name, wanted in state.items():
        given = weights.get(_WEIGHTS + name)
        if given is None:
            raise NetworkError(f"{place}: {_WEIGHTS}{name} is missing")
        state[name] = _numbers(place, _WEIGHTS + name, given, tuple(wanted.shape))
        if name.endswith("running_var") and (state[name] < 0).any():
            raise NetworkError(f"{place}: {_WEIGHTS}{name} must be >= 0 (got {float(state[name].min())})")
    module.load_state_dict(state, strict=False)


def _images(place: str, name: str, given: NDArray[Any], shape: tuple[int, ...]) -> Tensor:
    if given.ndim != len(shape) + 1 or given.shape[1:] != shape or not len(given):
        raise NetworkError(f"{place}: {name} must be [n, {', '.join(map(str, shape))}] (got {list(given.shape)})")
    return _numbers(place, name, given, given.shape)


def _numbers(place: str, name: str, given: NDArray[Any], shape: tuple[int, ...]) -> Tensor:
    """An array in single precision."""
    if given.shape != shape:
        raise NetworkError(f"{place}: {name} must have the shape {list(shape)} (got {list(given.shape)})")
    if given.dtype.kind not in "fiu":
        raise NetworkError(f"{place}: {name} must be numbers (got {given.dtype})")
    # What is too large for single precision becomes infinite, and is refused.
    with np.errstate(over="ignore"):
        found = given.astype(np.float32)
    if not np.isfinite(found).all():
        at = [int(i) for i in np.argwhere(~np.isfinite(found))[0]]
        raise NetworkError(f"{place}: {name} must be finite (got {given[tuple(at)]} at {at})")
    return torch.from_numpy(found)
