"""Once-for-all's published accuracy predictors, evaluated in numpy.

They predict what a network reaches with the weights that it inherits from the supernet, on images held out of
ImageNet's *training* set. That is more than its top-1 accuracy on the validation set, even after fine-tuning:
:data:`TOP1_BELOW` has the difference to the published specialised networks. Both are multilayer perceptrons on one-hot
genes (128 or 82, three hidden layers of 400, ReLU).

What the predictors do not know, found by asking them:

* MobileNetV3: at sizes below 160 pixels it was not trained: the smallest network scores more at 112 than at 160.
* ResNet50: it saturates. The largest networks, and one in 200 of all, tie at exactly the same value; a search should
  break the ties by cost. Networks of middle size score less at 256 pixels than at 240.

Sources: mit-han-lab/once-for-all (ofa/nas/accuracy_predictor, tutorial/accuracy_predictor.py) and its authors' file
store; the data's notice has the licence. Spread of the predictions: 0.21 points (root mean square, Cai et al. 2020).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from codesign.nas.accuracy._base import Estimate, Estimator
from codesign.nas.spaces import Codes, OfaMobileNetV3, OfaResNet50
from codesign.nas.spaces.ofa_resnet50 import PREDICTOR_SIZES
from codesign.networks import NetworkError
from codesign.predictors import OutOfRangeError

#: By width of the supernet: points by which published top-1 is below the prediction, mean and standard deviation over
#: the published networks on the predictor's sizes (4 of width 1.2, 75 epochs of fine-tuning; 13 of width 1.0, 25
#: epochs). ``python -m benchmarks.nas.ofa`` prints them.
TOP1_BELOW = {1.2: (3.54, 0.08), 1.0: (5.17, 0.53)}

#: Points; of the predictions themselves.
_SPREAD = 0.21
_MOBILE_SIZES = tuple(range(112, 225, 16))
_LEAST_TRAINED_SIZE = 160
_SATURATED = 1e-7


class _OfaPredictor(Estimator):
    kind = "predicted"
    _FILE: str
    _SIZES: tuple[int, ...]

    def __init__(self) -> None:
        path = resources.files("codesign.nas").joinpath(f"data/{self._FILE}")
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            self._layers: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
            while f"weight{len(self._layers)}" in data.files:
                i = len(self._layers)
                weights = data[f"weight{i}"].astype(np.float64)
                if f"scale{i}" in data.files:
                    weights *= data[f"scale{i}"].astype(np.float64)[:, None]
                self._layers.append((weights, data[f"bias{i}"].astype(np.float64)))

    @abstractmethod
    def _inputs(self, codes: Codes) -> NDArray[np.float64]:
        """(n, inputs) what the perceptron is given."""

    def _one_hot(self, codes: Codes, group: str) -> NDArray[np.float64]:
        """(n, genes x options) a one per gene of a group that matters."""
        active = self.space.active(codes)
        columns = [
            (codes[:, i, None] == np.arange(len(gene.options))) & active[:, i, None]
            for i, gene in enumerate(self.space.genes)
            if gene.name.startswith(f"{group}[")
        ]
        return np.concatenate(columns, axis=1).astype(np.float64)

    def _sizes(self, codes: Codes) -> NDArray[np.int64]:
        """(n,) pixels."""
        return np.array(self.space.genes[-1].options, np.int64)[codes[:, -1]]

    def covers(self, codes: Codes) -> NDArray[np.bool_]:
        """(n,) whose image sizes the predictor has an input for."""
        return np.isin(self._sizes(codes), self._SIZES)

    def predict(self, codes: Codes) -> NDArray[np.float64]:
        """(n,) the perceptron's outputs for canonical codes: accuracies in 0..1 with inherited weights.

        Raises :class:`~codesign.predictors.OutOfRangeError` for sizes that it has no input for.
        """
        sizes = self._sizes(codes)
        outside = ~np.isin(sizes, self._SIZES)
        if outside.any():
            raise OutOfRangeError(
                f"{self.name}: r must be one of {', '.join(map(str, self._SIZES))} (got {sizes[outside][0]})"
            )
        x = self._inputs(codes)
        for i, (weights, bias) in enumerate(self._layers):
            x = x @ weights.T + bias
            if i + 1 < len(self._layers):
                x = np.maximum(x, 0.0)
        return np.asarray(x[:, 0])

    def _size_inputs(self, codes: Codes) -> NDArray[np.float64]:
        return (self._sizes(codes)[:, None] == np.array(self._SIZES)).astype(np.float64)


class OfaMobileNetV3Predictor(_OfaPredictor):
    """Of the supernet of width 1.2; ``calibrated`` turns predictions into the top-1 of fine-tuned networks.

    Of width 1.0, whose networks it ranks as well, calibration is six times less certain.

    Raises NetworkError for another width.
    """

    name = "ofa_mobilenet_v3_predictor"
    _FILE = "ofa_mobilenet_v3_accuracy.npz"
    _SIZES = _MOBILE_SIZES

    def __init__(self, space: OfaMobileNetV3 | None = None, *, calibrated: bool = True):
        super().__init__()
        self.space: OfaMobileNetV3 = OfaMobileNetV3() if space is None else space
        if self.space.width not in TOP1_BELOW:
            raise NetworkError(f"{self.name}: width must be 1.2 or 1.0 (got {self.space.width:g})")
        self.calibrated = calibrated

    def _inputs(self, codes: Codes) -> NDArray[np.float64]:
        parts = (self._one_hot(codes, "ks"), self._one_hot(codes, "e"), self._size_inputs(codes))
        return np.concatenate(parts, axis=1)

    def _estimates(self, codes: Codes) -> list[Estimate]:
        below, spread = TOP1_BELOW[self.space.width] if self.calibrated else (0.0, 0.0)
        found = []
        for prediction, size in zip(self.predict(codes), self._sizes(codes), strict=True):
            notes = [
                "top-1 after fine-tuning" if self.calibrated else "inherited weights, held-out training images",
            ]
            if size < _LEAST_TRAINED_SIZE:
                notes.append(f"not trained below {_LEAST_TRAINED_SIZE} pixels (r {size})")
            uncertainty = None if size < _LEAST_TRAINED_SIZE else math.hypot(_SPREAD, spread)
            found.append(Estimate(100 * float(prediction) - below, self.kind, uncertainty, tuple(notes)))
        return found


class OfaResNet50Predictor(_OfaPredictor):
    """Of the ResNet50 supernet; nothing is published to calibrate it with."""

    name = "ofa_resnet50_predictor"
    _FILE = "ofa_resnet50_accuracy.npz"
    _SIZES = PREDICTOR_SIZES

    def __init__(self, space: OfaResNet50 | None = None):
        super().__init__()
        self.space: OfaResNet50 = OfaResNet50()
        # The largest network has the value that all ties have.
        self.plateau = float(self.predict((self.space.counts - 1)[None])[0])
        self.space = self.space if space is None else space

    def _inputs(self, codes: Codes) -> NDArray[np.float64]:
        # The input is called "skip", and is 1 where the stem's block is kept.
        kept = codes[:, :1] == np.arange(2)
        return np.concatenate(
            [self._size_inputs(codes), kept, self._one_hot(codes, "w"), self._one_hot(codes, "e")], axis=1
        )

    def _estimates(self, codes: Codes) -> list[Estimate]:
        found = []
        for prediction, size in zip(self.predict(codes), self._sizes(codes), strict=True):
            notes = ["inherited weights, held-out training images"]
            uncertainty: float | None = _SPREAD
            if abs(prediction - self.plateau) < _SATURATED:
                notes.append("tie: the predictor saturates here, let the cost decide")
                uncertainty = None
            if size == PREDICTOR_SIZES[-1]:
                notes.append(f"networks of middle size score less at {size} pixels than at {PREDICTOR_SIZES[-2]}")
            found.append(Estimate(100 * float(prediction), self.kind, uncertainty, tuple(notes)))
        return found
