"""Latency and energy learned from a few measured networks."""

from codesign.predictors.features import UnknownOperatorError, Vocabulary
from codesign.predictors.mlp import Mlp
from codesign.predictors.predictor import OutOfRangeError, Prediction, Predictor

__all__ = ["Mlp", "OutOfRangeError", "Prediction", "Predictor", "UnknownOperatorError", "Vocabulary"]
