"""AnalogNAS (Benmeziane et al. 2023): networks for analog crossbars, found by evolution on a surrogate.

The surrogate learns from networks that were trained and evaluated under noise and drift; it says how accurate a network
is a day after programming, how much that differs between programmings, and how much is lost within a month.
:mod:`~codesign.nas.analognas.module` builds the networks in PyTorch, the space is
:mod:`codesign.nas.spaces.analog_resnet`.
"""

from codesign.nas.analognas.search import Evolution, Found, Limits, evolve, search_at_random, shipped_search
from codesign.nas.analognas.surrogate import Labels, Surrogate

__all__ = ["Evolution", "Found", "Labels", "Limits", "Surrogate", "evolve", "search_at_random", "shipped_search"]
