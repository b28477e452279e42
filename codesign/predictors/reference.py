"""What a predictor starts from: a processor's roofline, or a predictor for another device, kept with all it needs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from accelerators import catalog
from accelerators.processors.processor import Processor
from codesign.networks import Network
from codesign.processors import on_processor

if TYPE_CHECKING:
    from codesign.predictors.predictor import Predictor


@dataclass(frozen=True)
class Reference:
    """``estimate`` says what a network takes, in the unit asked for; ``content`` is the datasheet or the .npz file."""

    name: str
    content: bytes
    estimate: Callable[[Network], float]

    @classmethod
    def open(cls, name_or_path: str | Path, unit: str, predictors: type[Predictor]) -> Reference:
        """A processor by its name in the catalog or its datasheet, or the .npz file of a predictor.

        Raises ValueError for what is neither, or predicts another unit.
        """
        path = Path(name_or_path)
        if path.suffix == ".npz":
            try:
                content = path.read_bytes()
            except OSError as error:
                raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
        else:
            content = json.dumps(catalog.document(name_or_path).data).encode()
        return cls.of(path.name, content, unit, predictors)

    @classmethod
    def of(cls, name: str, content: bytes, unit: str, predictors: type[Predictor]) -> Reference:
        """The reference that a file has."""
        if name.endswith(".npz"):
            other = predictors.load(BytesIO(content), name)
            if other.unit != unit:
                raise ValueError(f"{name}: must predict {unit}, like the measurements (got {other.unit})")
            return cls(name, content, lambda network: other.predict(network, extrapolate=True).mean)
        hardware = catalog.from_text(content.decode(), name)
        if not isinstance(hardware, Processor):
            raise ValueError(f"{name}: a reference must be a processor or the .npz file of a predictor")

        def estimate(network: Network) -> float:
            cost = on_processor(network, hardware)
            found = cost.latency_s if unit == "ms" else cost.energy_pj
            if found is None:
                raise ValueError(f"{name} cannot run {network.name}: {cost.problems[0]}")
            return found * (1e3 if unit == "ms" else 1e-9)

        return cls(name, content, estimate)
