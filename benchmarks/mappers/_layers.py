"""Operators from files: the reference cases' JSON form, or one written operator per line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from accelerators.operators import Operator, Role, Tensor, parse_operator
from benchmarks._common import BadInputError, fields, parse_json, read_text

_ROLE_BY_LETTER: dict[str, Role] = {"w": "weights", "i": "inputs", "o": "outputs"}


def operator_of(where: str, case: dict[str, Any]) -> Operator:
    """The operator of a case with ``dims`` and ``tensors``; raises BadInputError with the place."""
    fields(where, case, {"dims": list, "tensors": list})
    bounds = []
    for i, pair in enumerate(case["dims"]):
        if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str) and isinstance(pair[1], int)):
            raise BadInputError(f"{where}: dims[{i}] must be [name, bound] (got {json.dumps(pair)})")
        bounds.append((pair[0], pair[1]))
    tensors = []
    for i, entry in enumerate(case["tensors"]):
        place = f"{where}: tensors[{i}]"
        if not (isinstance(entry, list) and len(entry) == 3 and isinstance(entry[0], str)):
            raise BadInputError(f"{place} must be [name, role, ranks] (got {json.dumps(entry)})")
        name, role, ranks = entry
        if role not in ("input", "output"):
            raise BadInputError(f"{place}: role must be input or output (got {json.dumps(role)})")
        try:
            projection = tuple(tuple((str(dim), step) for dim, step in rank) for rank in ranks)
        except (TypeError, ValueError):
            raise BadInputError(f"{place}: ranks must be lists of [dimension, coefficient]") from None
        # Operands are told apart by their names; without such names the first one takes the weights' place.
        known: Role = _ROLE_BY_LETTER.get(name[:1].lower(), "inputs" if i else "weights")
        if role == "output" or known == "outputs":
            known = "outputs" if role == "output" else "inputs"
        tensors.append(Tensor(name, known, projection))
    tensors.sort(key=lambda tensor: tensor.role == "outputs")
    try:
        return Operator(str(case.get("layer", "operator")), tuple(bounds), tuple(tensors))
    except ValueError as error:
        raise BadInputError(f"{where}: {error}") from None


def read_layers(path: Path) -> dict[str, Operator]:
    """The distinct operators of a file, by name: JSON with ``cases`` or a list of cases, or one operator per line."""
    text = read_text(path)
    found: dict[str, Operator] = {}
    if text.lstrip()[:1] in ("{", "["):
        content = parse_json(path, text)
        cases = fields(path, content, {"cases": list})["cases"] if isinstance(content, dict) else content
        for i, case in enumerate(cases):
            where = f"{path}: cases[{i}]"
            if not isinstance(case, dict):
                raise BadInputError(f"{where}: must be an object (got {type(case).__name__})")
            found.setdefault(str(case.get("layer", f"layer {i}")), operator_of(where, case))
    else:
        for number, line in enumerate(text.splitlines(), 1):
            words = line.partition("#")[0].strip()
            if not words:
                continue
            try:
                operator = parse_operator(words)
            except ValueError as error:
                raise BadInputError(f"{path}:{number}: {error}") from None
            if operator is None:
                raise BadInputError(f"{path}:{number}: expected an operator like matmul(P=1,K=8,C=8) (got {words!r})")
            found[words] = operator
    if not found:
        raise BadInputError(f"{path}: no layers")
    return found
