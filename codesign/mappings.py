"""Saved mappings: what a mapper found, as a YAML file, and what such a file costs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from accelerators import catalog
from accelerators.costs import Cost, Infeasible, InfeasibleError
from accelerators.documents import DocumentError
from accelerators.operators import Operator
from accelerators.spatial.architecture import SpatialAccelerator
from accelerators.spatial.constraints import violations
from accelerators.spatial.mapping import MappingError
from accelerators.spatial.mapping_file import Costs, LayerMapping, MappingDocument, dump, read
from accelerators.spatial.model import Analysis, evaluate
from codesign.costs import NetworkCost
from mappers import MapResult


def of_layer(accelerator: SpatialAccelerator, name: str, operator: Operator, found: MapResult) -> MappingDocument:
    """The mapping that a mapper found for one layer."""
    costs = Costs(
        found.cost.energy_pj,
        found.cost.latency_cycles,
        found.objective,
        None if found.certificate is None else found.certificate.summary,
    )
    return MappingDocument(accelerator.name, (LayerMapping(name, operator, found.mapping, dict(found.bounds), costs),))


def of_network(cost: NetworkCost) -> MappingDocument | None:
    """The mappings of a network's layers; those that stream or cannot run have none, nor have those on hardware of
    other kinds.

    None if there is no other layer.
    """
    layers = []
    for layer in cost.layers:
        if isinstance(layer.cost, Cost) and isinstance(layer.cost.details, Analysis):
            details = layer.cost.details
            bounds = {dim: n for dim, n in details.operator.bounds if n != layer.operator.bound(dim)}
            costs = Costs(layer.cost.energy_pj, layer.cost.latency_cycles)
            layers.append(LayerMapping(layer.name, layer.operator, details.mapping, bounds, costs))
    return MappingDocument(cost.hardware, tuple(layers)) if layers else None


@dataclass(frozen=True)
class Costed:
    """What a saved mapping costs, and in what it differs from the accelerator's native dataflow."""

    cost: Cost
    violations: tuple[str, ...]


def costs(
    path: Path | str, accelerators: Sequence[SpatialAccelerator] | None = None, layers: Iterable[str] = ()
) -> Iterator[tuple[str, Costed | Infeasible]]:
    """(title, cost or why there is none) of every mapping in a file, on each of the accelerators.

    Without ``accelerators``, on the one that the file names. ``layers`` picks some of the file.

    Raises :class:`~accelerators.documents.DocumentError` for what is wrong with the file, for layers that it does not
    have, and for an accelerator that is not in the catalog.
    """
    document = read(path)
    wanted = list(layers)
    known = [layer.name for layer in document.layers]
    missing = [name for name in wanted if name not in known]
    if missing:
        raise DocumentError([f"{path}: no layer {name!r} (layers: {', '.join(known)})" for name in missing])
    if accelerators is None:
        if document.datasheet is not None:
            accelerators = [catalog.load_spatial(Path(path).parent / document.datasheet)]
        elif document.accelerator in catalog.names():
            accelerators = [catalog.load_spatial(document.accelerator)]
        else:
            text = f"accelerator {document.accelerator!r} is not in the catalog: give its datasheet with --on"
            raise DocumentError([f"{path}: {text}"])
    for accelerator in accelerators:
        for layer in document.layers:
            if not wanted or layer.name in wanted:
                yield f"{layer.name} on {accelerator.name}", _cost(accelerator, layer)


def _cost(accelerator: SpatialAccelerator, layer: LayerMapping) -> Costed | Infeasible:
    roles = {tensor.name: tensor.role for tensor in layer.operator.tensors}
    try:
        cost = evaluate(accelerator, layer.operator, [layer.mapping], dict(layer.bounds))[0]
        if isinstance(cost, Infeasible):
            return cost
        return Costed(cost, tuple(violations(accelerator.dataflow, layer.mapping, roles)))
    except InfeasibleError as error:
        return error.reason
    except MappingError as error:
        return Infeasible("mapping", str(error))


__all__ = ["costs", "dump", "of_layer", "of_network"]
