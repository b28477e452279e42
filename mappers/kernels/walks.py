"""Steps of many random walks over mappings at once."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from accelerators.jit import kernel
from mappers.kernels.moves import copy, step


@kernel
def propose(space, walks, candidates, state):
    """Candidate ``i`` becomes a random neighbour of walk ``i``."""
    for i in range(walks.temporal.shape[0]):
        copy(walks, i, candidates, i)
        step(space, candidates, i, state)


@kernel
def accept(walks, values, candidates, candidate_values, threshold):
    """Walk ``i`` moves to candidate ``i`` unless that is worse by more than the (relative) threshold."""
    for i in range(values.shape[0]):
        if candidate_values[i] <= values[i] * (1.0 + threshold):
            copy(candidates, i, walks, i)
            values[i] = candidate_values[i]


@kernel
def reseed(walks, values, ranking):
    """The worst quarter of the walks continues from the best quarter."""
    count = values.shape[0] // 4
    for k in range(count):
        good, bad = ranking[k], ranking[ranking.shape[0] - 1 - k]
        copy(walks, good, walks, bad)
        values[bad] = values[good]
