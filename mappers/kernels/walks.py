"""Many random walks over mappings at once: which steps they take."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from accelerators.jit import kernel


@kernel
def accept(walks, values, candidates, candidate_values, threshold):
    """Walk ``i`` moves to candidate ``i`` unless that is worse by more than the (relative) threshold."""
    factors, order, keep = walks.factors, walks.order, walks.keep
    new_factors, new_order, new_keep = candidates.factors, candidates.order, candidates.keep
    for i in range(values.shape[0]):
        if candidate_values[i] <= values[i] * (1.0 + threshold):
            factors[i] = new_factors[i]
            order[i] = new_order[i]
            keep[i] = new_keep[i]
            values[i] = candidate_values[i]


@kernel
def reseed(walks, values, ranking):
    """The worst quarter of the walks continues from the best quarter."""
    factors, order, keep = walks.factors, walks.order, walks.keep
    count = values.shape[0]
    for k in range(count // 4):
        good, bad = ranking[k], ranking[count - 1 - k]
        factors[bad] = factors[good]
        order[bad] = order[good]
        keep[bad] = keep[good]
        values[bad] = values[good]
