"""Operators bound by data movement whose tensors differ in size: broadcasting, reductions, resizing."""

from __future__ import annotations

import math
from collections.abc import Sequence

from accelerators.operators import PASSES, Operator, Rank, Tensor, elementwise

_LETTERS = "NKPQRS"


def pointwise(
    kind: str,
    shape: Sequence[int],
    activations: Sequence[Sequence[int]],
    weights: Sequence[Sequence[int]] = (),
) -> Operator:
    """An elementwise operation with an output of ``shape``, whose operands may be broadcast (numpy's rules).

    Each operand is read as often as it has words, not as often as the output has: the scale of a squeeze-excite block
    is C words, not C x H x W. The activations are named ``inputs``, ``inputs1``, ..; trained operands ``weights``,
    ``weights1``, ...
    """
    operands = [(1,) * (len(shape) - len(s)) + tuple(s) for s in (*activations, *weights)]
    # Axes along which the same operands vary are one loop, so that equal work gives equal operators.
    groups: list[tuple[tuple[bool, ...], int]] = []
    for axis, extent in enumerate(shape):
        if extent == 1:
            continue
        pattern = tuple(operand[axis] == extent for operand in operands)
        if groups and groups[-1][0] == pattern:
            groups[-1] = (pattern, groups[-1][1] * extent)
        else:
            groups.append((pattern, extent))
    if not weights and all(all(pattern) for pattern, _ in groups):
        return elementwise(math.prod(shape), operands=len(activations), kind=kind)
    dims = [_LETTERS[i] if i < len(_LETTERS) else f"D{i}" for i in range(len(groups))]

    def ranks(operand: int) -> tuple[Rank, ...]:
        return tuple(((dim, 1),) for dim, (pattern, _) in zip(dims, groups, strict=True) if pattern[operand])

    tensors = [Tensor(_numbered("inputs", i), "inputs", ranks(i)) for i in range(len(activations))]
    tensors += [Tensor(_numbered("weights", i), "weights", ranks(len(activations) + i)) for i in range(len(weights))]
    output = Tensor("outputs", "outputs", tuple(((dim, 1),) for dim in dims))
    bounds = tuple((dim, extent) for dim, (_, extent) in zip(dims, groups, strict=True))
    return Operator(kind, bounds, (*tensors, output), passes=PASSES["elementwise"])


def movement(kind: str, read: int, written: int) -> Operator:
    """One pass that reads and writes the given words: reductions, resizing, padding, permutation.

    Exact where one count divides the other; otherwise both are taken as the larger one.
    """
    large, small = max(read, written), min(read, written)
    if large % small or large == small:
        return elementwise(large, kind=kind)
    all_words: tuple[Rank, ...] = ((("N", 1),), (("K", 1),))
    few_words: tuple[Rank, ...] = ((("N", 1),),)
    return Operator(
        kind,
        (("N", small), ("K", large // small)),
        (
            Tensor("inputs", "inputs", all_words if read == large else few_words),
            Tensor("outputs", "outputs", all_words if written == large else few_words),
        ),
        passes=PASSES["elementwise"],
    )


def _numbered(name: str, index: int) -> str:
    return f"{name}{index}" if index else name
