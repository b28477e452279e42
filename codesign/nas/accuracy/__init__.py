"""Accuracy of networks: measured, predicted, proxied or trained, and always labelled so."""

from codesign.nas.accuracy._base import Estimate, Estimator, Kind
from codesign.nas.accuracy.learned import LearnedAccuracy
from codesign.nas.accuracy.named import ESTIMATORS, fitting, load
from codesign.nas.accuracy.ofa import OfaMobileNetV3Predictor, OfaResNet50Predictor
from codesign.nas.accuracy.quantised import QuantisedAccuracy
from codesign.nas.accuracy.scored import NoScoreError, Scored
from codesign.nas.accuracy.table import MeasuredTable, NasBench201Table

__all__ = [
    "ESTIMATORS",
    "Estimate",
    "Estimator",
    "Kind",
    "LearnedAccuracy",
    "MeasuredTable",
    "NasBench201Table",
    "NoScoreError",
    "OfaMobileNetV3Predictor",
    "OfaResNet50Predictor",
    "QuantisedAccuracy",
    "Scored",
    "fitting",
    "load",
]
