"""Neural-accelerator co-design: which accelerator, running which network, mapped how, at the lowest EDP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codesign.evaluation import Evaluation, evaluate

__all__ = ["Evaluation", "evaluate"]


def __getattr__(name: str) -> Any:
    # Compiled kernels are loaded when they are needed, not by `codesign list`.
    if name in __all__:
        from codesign import evaluation

        return getattr(evaluation, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
