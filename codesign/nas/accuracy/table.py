"""Accuracies of networks that were trained, from tables."""

from __future__ import annotations

import functools
from importlib import resources
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from codesign.nas.accuracy._base import Estimate, Estimator
from codesign.nas.spaces import Codes, NasBench201, Space
from codesign.networks import NetworkError
from codesign.predictors import OutOfRangeError

#: What NAS-Bench-201 knows of a cell: accuracy on validation or test images after 12 epochs, on test images after 200.
Oracle = Literal["val_12", "test_12", "test_200"]
ORACLES: tuple[Oracle, ...] = ("val_12", "test_12", "test_200")


class MeasuredTable(Estimator):
    """Accuracies in per cent (n,) of networks (n, genes), all of a space or some of them; NaN for those not trained.

    ``notes`` go with every estimate. Raises ValueError for shapes that do not match, accuracies outside of 0..100, or a
    network that is there twice with different accuracies; NetworkError for what is no network of the space.
    """

    kind = "measured"

    def __init__(
        self,
        space: Space,
        codes: ArrayLike,
        accuracies: ArrayLike,
        *,
        name: str = "measured",
        notes: tuple[str, ...] = (),
    ):
        self.space, self.name, self.notes = space, name, notes
        found, values = space.check_all(codes), np.asarray(accuracies, np.float64)
        if values.shape != (len(found),):
            raise ValueError(f"{name}: accuracies must have shape ({len(found)},) (got {values.shape})")
        bad = np.nonzero(~(np.isnan(values) | ((values >= 0) & (values <= 100))))[0]
        if len(bad):
            raise ValueError(f"{name}: accuracies[{bad[0]}] must be from 0 to 100 per cent (got {values[bad[0]]:g})")
        self._rows: dict[bytes, float] = {}
        for i, (code, value) in enumerate(zip(found, values.tolist(), strict=True)):
            if np.isnan(value):
                continue
            if self._rows.setdefault(code.tobytes(), value) != value:
                raise ValueError(
                    f"{name}: accuracies[{i}] must be {self._rows[code.tobytes()]:g}, as in an earlier row of the same "
                    f"network (got {value:g})"
                )

    def __len__(self) -> int:
        return len(self._rows)

    def listed(self) -> Codes | None:
        """The networks of the table."""
        codes = [np.frombuffer(key, np.int64) for key in self._rows]
        return np.array(codes, np.int64).reshape(-1, len(self.space.genes))

    def covers(self, codes: Codes) -> NDArray[np.bool_]:
        """(n,) which networks are in the table."""
        return np.array([code.tobytes() in self._rows for code in codes], np.bool_)

    def _estimates(self, codes: Codes) -> list[Estimate]:
        found = []
        for code in codes:
            value = self._rows.get(code.tobytes())
            if value is None:
                raise OutOfRangeError(f"{self.name}: has no accuracy of {self.space.write(code)}")
            found.append(Estimate(value, self.kind, None, self.notes))
        return found

    def accuracies(self, codes: ArrayLike) -> NDArray[np.float64]:
        """See :class:`~codesign.nas.accuracy.Estimator`."""
        found = self.space.check_all(codes)
        values = [self._rows.get(code.tobytes(), np.nan) for code in found]
        if np.isnan(values).any():
            self._estimates(found)
        return np.array(values, np.float64)


@functools.cache
def nas_bench_201_accuracies(data_set: str, oracle: Oracle) -> NDArray[np.float64]:
    """(15625,) accuracies in per cent in the order of the benchmark's numbers; see :class:`NasBench201Table`."""
    path = resources.files("codesign.nas").joinpath("data/nas_bench_201_accuracy.npz")
    with path.open("rb") as file:
        found: NDArray[np.float64] = np.load(file, allow_pickle=False)[f"{data_set}_{oracle}"].astype(np.float64)
    found.flags.writeable = False
    return found


class NasBench201Table(Estimator):
    """NAS-Bench-201's accuracies of every cell on a data set ("cifar10", "cifar100", "imagenet16").

    ``oracle`` "val_12" is what an honest search may ask for: validation accuracy after 12 epochs. "test_200" is the
    test accuracy after 200 epochs, mean of the seeds, by which results are judged; published searches often ask for
    it.
    """

    kind = "measured"

    def __init__(self, data_set: str = "cifar10", oracle: Oracle = "val_12"):
        self.space = self._cells = NasBench201(data_set)
        if oracle not in ORACLES:
            raise NetworkError(f"{self.space.name}: oracle must be one of {', '.join(ORACLES)} (got {oracle!r})")
        self.oracle = oracle
        self.name = f"nas_bench_201_{data_set}_{oracle}"
        self._values = nas_bench_201_accuracies(data_set, oracle)

    def accuracies(self, codes: ArrayLike) -> NDArray[np.float64]:
        """See :class:`~codesign.nas.accuracy.Estimator`."""
        return np.asarray(self._values[self._cells.index(self.space.check_all(codes))])

    def _estimates(self, codes: Codes) -> list[Estimate]:
        split, epochs = self.oracle.split("_")
        images = "validation" if split == "val" else "test"
        note = f"{images} images, {epochs} epochs"
        return [Estimate(float(value), self.kind, None, (note,)) for value in self.accuracies(codes)]
