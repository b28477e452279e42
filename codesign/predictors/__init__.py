"""Latency and energy learned from a few measured networks."""

from codesign.predictors.features import UnknownOperatorError, Vocabulary
from codesign.predictors.predictor import OutOfRangeError, Prediction, Predictor

__all__ = ["OutOfRangeError", "Prediction", "Predictor", "UnknownOperatorError", "Vocabulary"]
