"""Noise and drift of devices, and the error of a layer of phase-change devices, against IBM's aihwkit.

    python -m benchmarks.validation.devices [FILE ...]

Two kinds of files, told apart by what they have. ``rows``: statistics of programmed conductances, drift exponents and
conductances at several times per target. Means and standard deviations must agree within five standard errors, which
count both samples and our sample's kurtosis; of the quantiles, the part of our draws below them must, likewise.
``results``: the relative error of a layer's outputs for each setting of the converters. Without device noise it must
agree to 1e-6, with noise its mean over programmings within 3 %, and so must the gain.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accelerators.crossbar.devices import (
    AnalogMatrix,
    Converters,
    Device,
    Gaussian,
    Moments,
    PhaseChange,
    ReRam,
    Tile,
    draws,
    hermes,
)
from benchmarks._common import BadInputError, fields, read_json, report

_DATA = Path(__file__).parent / "data" / "devices"
DEFAULTS = tuple(
    _DATA / f"{name}.json"
    for name in (
        "pcm_conductances",
        "pcm_layer",
        "hermes_1_conductances",
        "hermes_2_conductances",
        "reram_conductances",
    )
)

#: By the names of aihwkit's classes. Its ReRamWan2022NoiseModel does not scale noise with g_max: ours agrees at 40 uS.
_MODELS: dict[str, Callable[[], PhaseChange | ReRam]] = {
    "PCMLikeNoiseModel": PhaseChange,
    "HermesNoiseModel": hermes,
    "ReRamWan2022NoiseModel": ReRam,
}
_SIGMAS = 5.0
_EXACT = 1e-6
_CLOSE = 0.03
#: Of numbers in a file: sums of products of such have room.
_LARGEST = 1e30
_QUANTILES = (0.05, 0.5, 0.95)
#: The references were computed in single precision.
_ROUNDING = 2e-6

Floats = NDArray[np.float64]
Row = tuple[object, ...]


def main(arguments: list[str] | None = None) -> int:
    """Run the comparisons; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.validation.devices", description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, default=DEFAULTS, metavar="FILE", help="references (JSON)")
    parser.add_argument("--draws", type=int, default=400_000, help="devices per target")
    parser.add_argument("--programmings", type=int, default=200, help="of the layer, per setting")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.draws < 1000 or options.programmings < 10 or options.seed < 0:
        raise BadInputError("--draws must be at least 1000, --programmings at least 10 and --seed at least 0")
    code = 0
    for path in options.files:
        document = fields(path, read_json(path), {})
        if "rows" in document:
            code |= _conductances(path, document, options.draws, options.seed)
        elif "results" in document:
            code |= _layer(path, document, options.programmings, options.seed)
        else:
            raise BadInputError(f"{path}: must have rows (conductances) or results (a layer)")
    return code


def _conductances(path: Path, document: dict[str, Any], count: int, seed: int) -> int:
    wanted = {"model": str, "n_samples_per_g": int, "times_s": dict, "rows": list}
    fields(path, document, wanted)
    device = _device(path, document)
    theirs = document["n_samples_per_g"]
    if theirs < 2:
        raise BadInputError(f"{path}: n_samples_per_g must be >= 2 (got {theirs})")
    times = {name: _number(f"{path}: times_s", document["times_s"], name) for name in document["times_s"]}
    table: list[Row] = []
    failures: list[str] = []
    total = 0
    for number, row in enumerate(document["rows"]):
        where = f"{path}: rows[{number}]"
        fields(where, row, {"t": dict})
        target = _number(where, row, "g_target_uS")
        try:
            random = np.random.default_rng([seed, number])
            drawn = draws(device, target, tuple(times.values()), count, random)
        except ValueError as error:
            raise BadInputError(f"{where}: {error}") from None
        samples: list[tuple[str, Floats, Any]] = []
        for name, values in (("prog", drawn.programmed_usiemens), ("nu", drawn.drift_exponent)):
            # What aihwkit calls the drift coefficient of resistive RAM is its target.
            if name in row and not (name == "nu" and isinstance(device, ReRam)):
                samples.append((name, values, row[name]))
        for name, reference in row["t"].items():
            if name not in times:
                raise BadInputError(f"{where}: t: {name!r} must be one of times_s, {', '.join(times)}")
            samples.append((name, drawn.read_usiemens[times[name]], reference))
            if isinstance(reference, dict) and "mean_drift_only" in reference:
                alone = {"mean": reference["mean_drift_only"], "std": reference.get("std_drift_only")}
                samples.append((f"{name} drift", drawn.drifted_usiemens[times[name]], alone))
        worst = [0.0, 0.0, 0.0]
        for name, values, reference in samples:
            checks = _deviations(f"{where}: {name}", values, reference, theirs)
            total += len(checks)
            for kind, (what, sigmas, ours, given) in checks:
                worst[kind] = max(worst[kind], abs(sigmas))
                if not abs(sigmas) <= _SIGMAS:
                    off = f"{sigmas:+.1f} standard errors"
                    failures.append(f"{target:g} uS, {name}: {what} {ours:.5g} ({given:.5g}), {off}")
        table.append((f"{target:g}", *(f"{value:.1f}" for value in worst)))
    figures = f"devices: {path.name}: {total - len(failures)} of {total} statistics within {_SIGMAS:g} standard errors"
    header = ("target uS", "means: worst in standard errors", "standard deviations", "quantiles")
    return report(header, table, failures, figures, passed=not failures and total > 0)


def _device(path: Path, document: dict[str, Any]) -> PhaseChange | ReRam:
    """The device of a reference by the name of its model, with the g_max that it states."""
    model = document.get("model", "PCMLikeNoiseModel")
    names = [name for name in _MODELS if str(model).startswith(name)]
    if not names:
        raise BadInputError(f"{path}: model must be one of {', '.join(_MODELS)} (got {model!r})")
    single = names[0] == "HermesNoiseModel" and "num_devices=1" in model.replace(" ", "")
    device = hermes(1) if single else _MODELS[names[0]]()
    g_max = _number(str(path), document, "g_max_uS") if "g_max_uS" in document else device.g_max_usiemens
    try:
        return replace(device, g_max_usiemens=g_max)
    except ValueError as error:
        raise BadInputError(f"{path}: {error}") from None


def _deviations(
    where: str, values: Floats, reference: Any, theirs: int
) -> list[tuple[int, tuple[str, float, float, float]]]:
    """Differences to a reference in standard errors: (kind, (what, how many, ours, theirs))."""
    moments = Moments.of(values)
    mean, std = _number(where, reference, "mean"), _number(where, reference, "std")
    found = [
        (0, ("mean", _in_errors(moments.mean - mean, moments.mean_error(theirs), mean), moments.mean, mean)),
        (1, ("standard deviation", _in_errors(moments.std - std, moments.std_error(theirs), std), moments.std, std)),
    ]
    given = reference.get("q05_50_95", [])
    numbers = isinstance(given, list) and all(isinstance(value, int | float) for value in given)
    if not numbers or len(given) not in (0, len(_QUANTILES)):
        raise BadInputError(f"{where}: q05_50_95 must be three numbers (got {given!r})")
    for part, quantile in zip(_QUANTILES, given, strict=False):
        # A quantile that is a value which many draws have, such as 0, has a whole range of parts.
        slack = abs(quantile) * _ROUNDING
        low, high = float((values < quantile - slack).mean()), float((values <= quantile + slack).mean())
        off = max(low - part, part - high, 0.0)
        error = math.sqrt(part * (1 - part) * (1 / moments.size + 1 / theirs))
        found.append((2, (f"part below {quantile:.5g}", off / error, high if part > high else low, part)))
    return found


def _in_errors(difference: float, error: float, value: float) -> float:
    """A difference in standard errors, without what single precision explains."""
    beyond = max(0.0, abs(difference) - _ROUNDING * abs(value))
    return math.copysign(beyond / error if error > 0 else math.inf if beyond else 0.0, difference)


def _layer(path: Path, document: dict[str, Any], programmings: int, seed: int) -> int:
    fields(path, document, {"settings": dict, "recipe": str, "times_s": dict, "W": list, "results": list})
    weights, inputs = _operands(path, document)
    outputs = inputs @ weights.T
    times = {name: _number(f"{path}: times_s", document["times_s"], name) for name in document["times_s"]}
    settings = _settings(path, document)
    table: list[Row] = []
    failures: list[str] = []
    total = 0
    for number, result in enumerate(document["results"]):
        where = f"{path}: results[{number}]"
        fields(where, result, {"pcm_noise": bool, "drift_comp": bool})
        bits = [_bits(where, result, key) for key in ("dac_bits", "adc_bits")]
        try:
            converters = replace(settings, dac_bits=bits[0], adc_bits=bits[1])
        except ValueError as error:
            raise BadInputError(f"{where}: {error}") from None
        noisy, compensated = result["pcm_noise"], result["drift_comp"]
        tile = Tile(weights.shape[1], weights.shape[0], compensated=compensated)
        device: Device = _device(path, document) if noisy else Gaussian()
        matrix = AnalogMatrix(weights, device, converters, tile)
        label = f"{'/'.join('ideal' if b is None else str(b) for b in bits)}{', compensated' if compensated else ''}"
        if not noisy:
            reference = _number(where, result, "rel_fro_err")
            random = np.random.default_rng([seed, number])
            reading = matrix.program(random).at(0.0, random)
            ours = _error(matrix.multiply(inputs[:, None], reading, random)[:, 0], outputs)
            total += 1
            if abs(ours - reference) > _EXACT:
                failures.append(f"{label}: error {ours:.7f} ({reference:.7f})")
            table.append((label, "no noise", f"{ours:.7f}", f"{reference:.7f}", f"{ours - reference:+.1e}", ""))
            continue
        fields(where, result, {"t": dict})
        unknown = [name for name in result["t"] if name not in times]
        if unknown:
            raise BadInputError(f"{where}: t: {unknown[0]!r} must be one of times_s, {', '.join(times)}")
        asked = {name: times[name] for name in result["t"]}
        errors, gains = _noisy(matrix, inputs, outputs, asked, programmings, np.random.default_rng([seed, number]))
        for name, reference in result["t"].items():
            mean = _number(f"{where}: {name}", reference, "rel_fro_err_mean")
            if mean <= 0:
                raise BadInputError(f"{where}: {name}: rel_fro_err_mean must be > 0 with noise (got {mean:g})")
            off = errors[name].mean() / mean - 1
            checks = [("error", float(errors[name].mean()), mean)]
            if "gain_mean" in reference:
                checks.append(("gain", float(gains[name].mean()), _number(f"{where}: {name}", reference, "gain_mean")))
            total += len(checks)
            for what, ours, given in checks:
                if not abs(ours - given) <= _CLOSE * abs(given):
                    failures.append(f"{label}, {name}: {what} {ours:.4f} ({given:.4f})")
            gain = f"{checks[1][1]:.4f} ({checks[1][2]:.4f})" if len(checks) > 1 else ""
            table.append((label, name, f"{errors[name].mean():.4f}", f"{mean:.4f}", f"{off:+.1%}", gain))
    figures = (
        f"devices: {path.name}: {total - len(failures)} of {total} within {_CLOSE:.0%} with noise, {_EXACT:g} without"
    )
    header = ("DAC/ADC bits", "time", "error of outputs", "reference", "off", "gain (reference)")
    return report(header, table, failures, figures, passed=not failures and total > 0)


def _noisy(
    matrix: AnalogMatrix,
    inputs: Floats,
    outputs: Floats,
    times: dict[str, float],
    programmings: int,
    random: np.random.Generator,
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Relative errors and gains by time, (programmings,) each."""
    errors: dict[str, list[float]] = {name: [] for name in times}
    gains: dict[str, list[float]] = {name: [] for name in times}
    for _ in range(programmings):
        programmed = matrix.program(random)
        for name, time in times.items():
            found = matrix.multiply(inputs[:, None], programmed.at(time, random), random)[:, 0]
            errors[name].append(_error(found, outputs))
            gains[name].append(float((found * outputs).sum() / (outputs**2).sum()))
    return ({name: np.array(v) for name, v in errors.items()}, {name: np.array(v) for name, v in gains.items()})


def _error(found: Floats, outputs: Floats) -> float:
    """Frobenius norm of the difference over that of the outputs."""
    return float(np.linalg.norm(found - outputs) / np.linalg.norm(outputs))


_RECIPE = re.compile(
    r"default_rng\((?P<seed>\d+)\).*?(?P<std>[\d.]+)\*rng\.standard_normal\(\((?P<outputs>\d+), *(?P<inputs>\d+)\)\).*?"
    r"X=rng\.uniform\((?P<low>-?[\d.]+), *(?P<high>-?[\d.]+), *\((?P<samples>\d+), *\d+\)\)"
)


def _operands(path: Path, document: dict[str, Any]) -> tuple[Floats, Floats]:
    """The weights of the file, and the inputs that its recipe draws after them."""
    weights = _matrix(path, document, "W")
    if "X" in document:
        inputs = _matrix(path, document, "X")
    else:
        recipe = _RECIPE.search(document["recipe"])
        if recipe is None:
            raise BadInputError(f"{path}: recipe must say how W and X are drawn (got {document['recipe']!r})")
        shape = int(recipe["outputs"]), int(recipe["inputs"])
        if shape != weights.shape:
            raise BadInputError(f"{path}: recipe draws W as {list(shape)}, but W is {list(weights.shape)}")
        rng = np.random.default_rng(int(recipe["seed"]))
        rng.standard_normal(shape)
        size = int(recipe["samples"]), shape[1]
        inputs = rng.uniform(float(recipe["low"]), float(recipe["high"]), size).astype(np.float32).astype(np.float64)
        first = _matrix(path, document, "X_first_2_rows") if "X_first_2_rows" in document else inputs[:0]
        if first.shape[1] != shape[1] or not np.allclose(first, inputs[: len(first)], rtol=0, atol=1e-6):
            raise BadInputError(f"{path}: X_first_2_rows is not what the recipe draws")
    if weights.shape[1] != inputs.shape[1] or not np.any(inputs @ weights.T):
        raise BadInputError(f"{path}: W and X must have as many columns, and a product that is not 0")
    return weights, inputs


def _matrix(path: Path, document: dict[str, Any], key: str) -> Floats:
    try:
        found = np.array(document.get(key), np.float64)
    except (TypeError, ValueError):
        found = np.zeros(0)
    if found.ndim != 2 or not found.size or not np.isfinite(found).all():
        raise BadInputError(f"{path}: {key} must be a list of rows of numbers")
    if np.abs(found).max() > _LARGEST:
        raise BadInputError(f"{path}: {key}: numbers must be at most {_LARGEST:g} (got {np.abs(found).max():g})")
    return found


def _settings(path: Path, document: dict[str, Any]) -> Converters:
    settings = document["settings"]
    where = f"{path}: settings"
    for key, only in (("bound_management", "none"), ("noise_management", "none"), ("inp_noise", 0.0)):
        if settings.get(key, only) != only:
            raise BadInputError(f"{where}: {key} must be {only!r} (got {settings[key]!r})")
    try:
        return Converters(
            None,
            None,
            _number(where, settings, "inp_bound"),
            _number(where, settings, "out_bound"),
            _number(where, settings, "out_noise") if "out_noise" in settings else 0.0,
        )
    except ValueError as error:
        raise BadInputError(f"{where}: {error}") from None


def _bits(where: str, result: dict[str, Any], key: str) -> int | None:
    if key not in result:
        raise BadInputError(f"{where}: {key} is missing")
    value = result[key]
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise BadInputError(f"{where}: {key} must be an integer or null (got {value!r})")
    return value


def _number(where: str, value: Any, key: str) -> float:
    fields(where, value, {key: object})
    found = value[key]
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        raise BadInputError(f"{where}: {key} must be a number (got {found!r})")
    if abs(found) > _LARGEST:
        raise BadInputError(f"{where}: {key} must be at most {_LARGEST:g} (got {found:g})")
    return float(found)


if __name__ == "__main__":
    sys.exit(BadInputError.guard(main))
