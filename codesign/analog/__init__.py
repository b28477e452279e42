"""Networks in PyTorch on analog crossbars: conversion, noise-aware training, and accuracy as devices drift.

::

    network = to_analog(model, PhaseChange(), Converters(8, 8))
    train(network, images, labels, Recipe(weight_noise=0.06))
    found = evaluate(network, test_images, test_labels, programmings=10)
    print(found.mean(), found.avm)

This package needs PyTorch (``pip install 'codesign[torch]'``); nothing else imports it.
"""

try:
    import torch as _torch  # noqa: F401
except ImportError:
    raise ImportError("analog networks need PyTorch: pip install 'codesign[torch]'") from None

from codesign.analog.accuracy import Accuracy, accuracies_after, accuracy_after
from codesign.analog.conversion import to_analog
from codesign.analog.evaluation import TIMES_S, DriftAccuracy, evaluate
from codesign.analog.hardware import CrossbarConv2d, CrossbarLayer, CrossbarLinear, on_crossbar
from codesign.analog.layers import AnalogConv2d, AnalogLayer, AnalogLinear, calibrate
from codesign.analog.trained import TrainedNetwork
from codesign.analog.training import Recipe, train

__all__ = [
    "TIMES_S",
    "Accuracy",
    "AnalogConv2d",
    "AnalogLayer",
    "AnalogLinear",
    "CrossbarConv2d",
    "CrossbarLayer",
    "CrossbarLinear",
    "DriftAccuracy",
    "Recipe",
    "TrainedNetwork",
    "accuracies_after",
    "accuracy_after",
    "calibrate",
    "evaluate",
    "on_crossbar",
    "to_analog",
    "train",
]
