"""Estimators by the names and options that experiments have for them, from plain data alone.

========================  ==============================================================================================
``nas_bench_201``         measured; ``oracle``: val_12 (an honest search's), test_12 or test_200
``ofa``                   Once-for-all's predictor of the space; ``calibrated`` to fine-tuned top-1 (MobileNetV3)
``table``                 pairs of a CSV ``file`` (:mod:`codesign.nas.accuracy.pairs`); with ``learn``, a predictor
                          that learns from them, which may ``extrapolate``
``zen``, ``naswot``, ..   zero-shot scores (:mod:`codesign.nas.zero_shot`): ``batch``, ``repeats``, ``seed``,
                          ``batch_norm_eps``, ``shortcuts``
========================  ==============================================================================================

For a quantised space, all but scores estimate the networks of the inner space, and what few bits cost is taken off
(:mod:`codesign.nas.accuracy.quantised`); ``fine_tuned`` is an option of all then. With ``penalty: false`` nothing is: a
``table`` then is one of networks with their bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from codesign.nas import _options
from codesign.nas.accuracy import pairs
from codesign.nas.accuracy._base import Estimator
from codesign.nas.accuracy.learned import LearnedAccuracy
from codesign.nas.accuracy.ofa import OfaMobileNetV3Predictor, OfaResNet50Predictor
from codesign.nas.accuracy.quantised import QuantisedAccuracy
from codesign.nas.accuracy.scored import NoScoreError, Scored
from codesign.nas.accuracy.table import MeasuredTable, NasBench201Table
from codesign.nas.spaces import NasBench201, OfaMobileNetV3, OfaResNet50, Quantised, Space
from codesign.networks import Network, NetworkError

ScoreName = Literal[
    "zen", "zen_32", "zen_batch_variance", "gradsign", "gradsign_mean", "synflow", "synflow_log", "synflow_bn",
    "synflow_bn_log", "naswot", "naswot_every", "snip", "plain", "grad_norm", "grasp", "fisher", "jacob_cov", "params",
    "flops",
]  # fmt: skip
#: Zero-shot scores, which :mod:`codesign.nas.zero_shot` has; importing that takes torch.
SCORES: tuple[ScoreName, ...] = get_args(ScoreName)


class Named(NamedTuple):
    """What a name stands for: ``make(space, **options)``, and the spaces that it fits."""

    make: Callable[..., Estimator]
    spaces: tuple[type[Space], ...] = (Space,)


def _nas_bench_201(space: NasBench201, *, oracle: str = "val_12") -> Estimator:
    return NasBench201Table(space.data_set, oracle)  # type: ignore[arg-type]  # the table looks


def _ofa(space: OfaMobileNetV3 | OfaResNet50, *, calibrated: bool | None = None) -> Estimator:
    if calibrated is not None:
        _options.flag("ofa: calibrated", calibrated)
    if isinstance(space, OfaMobileNetV3):
        return OfaMobileNetV3Predictor(space, calibrated=calibrated is not False)
    if calibrated:
        raise NetworkError(f"ofa: calibrated must be false for {space.name}: nothing is published to calibrate it with")
    return OfaResNet50Predictor(space)


def _table(
    space: Space, *, file: str | Path, learn: bool = False, extrapolate: bool = False, seed: int = 0
) -> Estimator:
    if not isinstance(file, str | Path) or not str(file) or "\0" in str(file):
        raise NetworkError(f"table: file must be the path of a .csv file (got {file!r})")
    codes, accuracies = pairs.read(file, space)
    _options.whole("table: seed", seed, 0)
    if _options.flag("table: learn", learn):
        learned = LearnedAccuracy(space, extrapolate=_options.flag("table: extrapolate", extrapolate), seed=seed)
        try:
            learned.fit(codes, accuracies)
        except ValueError as error:
            raise NetworkError(f"{file}: nothing can be learnt from it: {error}") from None
        learned.name = f"learned from {Path(file).name}"
        return learned
    if extrapolate:
        raise NetworkError("table: extrapolate belongs to learn")
    return MeasuredTable(space, codes, accuracies, name=f"table {Path(file).name}")


@dataclass(frozen=True)
class _ZeroShot:
    """The mean of a zero-shot score over its drawings."""

    name: ScoreName
    batch: int
    repeats: int
    seed: int
    batch_norm_eps: float
    shortcuts: bool

    def __call__(self, network: Network) -> float:
        from codesign.nas.zero_shot import score

        found = score(
            network, [self.name], batch=self.batch, repeats=self.repeats, seed=self.seed,
            batch_norm_eps=self.batch_norm_eps, shortcuts=self.shortcuts,
        )[self.name]  # fmt: skip
        if found.mean is None:
            raise NoScoreError(str(found.reason))
        return found.mean


def _zero_shot(name: ScoreName) -> Callable[..., Estimator]:
    def make(
        space: Space,
        *,
        batch: int = 16,
        repeats: int = 1,
        seed: int = 0,
        batch_norm_eps: float = 1e-5,
        shortcuts: bool = True,
    ) -> Estimator:
        for option, value, least in (("batch", batch, 1), ("repeats", repeats, 1), ("seed", seed, 0)):
            _options.whole(f"{name}: {option}", value, least)
        eps = _options.number(f"{name}: batch_norm_eps", batch_norm_eps)
        _options.flag(f"{name}: shortcuts", shortcuts)
        # Says what to install, before a search has begun.
        import codesign.networks.torch_module  # noqa: F401

        return Scored(space, _ZeroShot(name, batch, repeats, seed, eps, shortcuts), name=name)

    return make


#: What there is, by name.
ESTIMATORS: dict[str, Named] = {
    "nas_bench_201": Named(_nas_bench_201, (NasBench201,)),
    "ofa": Named(_ofa, (OfaMobileNetV3, OfaResNet50)),
    "table": Named(_table),
    **{name: Named(_zero_shot(name)) for name in SCORES},
}


def fitting(space: Space) -> tuple[str, ...]:
    """Names of the estimators for networks of a space."""
    if isinstance(space, Quantised):
        return tuple(name for name in fitting(space.space) if name not in SCORES)
    return tuple(name for name, named in ESTIMATORS.items() if isinstance(space, named.spaces))


def load(name: str, space: Space, /, **options: Any) -> Estimator:
    """The estimator with this name for a space; ``options`` as in the module.

    Raises NetworkError, naming the estimator and the option: for an unknown name, an estimator that does not fit the
    space (with those that do), an unknown, missing or wrong option, and what is wrong in a file.
    """
    named = ESTIMATORS[_options.known("accuracy", "estimator", name, ESTIMATORS)]
    if isinstance(space, Quantised):
        given = {key: options.pop(key) for key in ("penalty", "fine_tuned") if key in options}
        fine_tuned = _options.flag(f"{name}: fine_tuned", given.get("fine_tuned", False))
        if _options.flag(f"{name}: penalty", given.get("penalty", True)):
            if name in SCORES:
                raise NetworkError(
                    f"{name}: must estimate an accuracy in per cent, from which few bits take points, for "
                    f"{space.name}; there are {', '.join(k for k in fitting(space.space) if k not in SCORES)}"
                )
            return QuantisedAccuracy(space, load(name, space.space, **options), fine_tuned=fine_tuned)
        if name != "table":
            raise NetworkError(f"{name}: penalty must be true, only a table can have networks with their bits")
        if fine_tuned:
            raise NetworkError(f"{name}: fine_tuned belongs to the penalty")
    if not isinstance(space, named.spaces):
        theirs = " and ".join(kind.name for kind in named.spaces)
        raise NetworkError(
            f"{name}: estimates networks of {theirs} only (got {space.name}, for which there are "
            f"{', '.join(fitting(space))})"
        )
    _options.belong(name, named.make, options, but=("space",))
    return named.make(space, **options)
