"""Designs of a run as files: what they are, how they run every layer, and the networks that were searched for them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from accelerators.spatial.mapping_file import LayerMapping, MappingDocument
from codesign import mappings
from codesign.experiments.export import datasheet_yaml
from codesign.experiments.ledger import Ledger, LedgerError
from codesign.experiments.specifications import space_of
from codesign.files import write_whole
from codesign.networks import NetworkError
from codesign.reports._run import Design, designs
from codesign.reports.network_drawing import draw_network

_ACCELERATOR = "accelerator.yaml"
#: A mapping file may have 1 MB.
_MOST_MAPPING_BYTES = 1_000_000
#: In the folder of a run: folders of candidates that were exported.
DESIGNS = "designs"


def export_design(run: Path, digest: str, folder: Path | None = None) -> tuple[list[Path], list[str]]:
    """Write a candidate's files into ``folder`` (that of its digest in the run's); part of the digest is enough.

    A design that was tried at several points of a sweep has a folder per point, since networks and mappings may
    differ. Returns the folders, and what could not be written. Raises
    :class:`~codesign.experiments.ledger.LedgerError`, also for a digest of no candidate or of several, and OSError.
    """
    with Ledger(run, write=False) as ledger, ledger.snapshot():
        found = designs(ledger, digest)
    names = sorted({design.candidate.digest for design in found})
    if len(names) != 1:
        listed = f" ({', '.join(names[:5])})" if names else ""
        raise LedgerError(f"{run}: {len(names) or 'no'} candidates are called {digest!r}{listed}")
    parent = folder or run / DESIGNS / names[0]
    problems: list[str] = []
    folders = []
    for design in found:
        own = parent if len(found) == 1 else parent / f"point_{design.candidate.point}"
        write_design(design, own)
        folders.append(own)
        problems += design.problems
    return folders, problems


def write_design(design: Design, folder: Path) -> list[dict[str, str]]:
    """Write the files into a folder, which is made; returns what a page shows of the networks that were searched.

    What cannot be written for lack of a library is noted among the design's problems. Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in _best_files(design).items():
        write_whole(folder / name, text)
    return _write_networks(design, folder)


def _best_files(design: Design) -> dict[str, str]:
    """Datasheet and mappings: name and text."""
    found = {_ACCELERATOR: datasheet_yaml(design.datasheet)}
    document = _mapping_document(design)
    if document is not None:
        try:
            found["mappings.yaml"] = mappings.dump(document)
        except ValueError as error:
            design.problems.append(f"no mappings.yaml: {error}")
    return found


def _write_networks(design: Design, folder: Path) -> list[dict[str, str]]:
    """Write the networks that were searched, their encodings, and ONNX where that can be had."""
    found = []
    entries = {entry["network"]: entry["specification"] for entry in design.totals}
    several = len(design.graphs) > 1
    for i, graph in enumerate(design.graphs):
        specification = entries.get(graph.name)
        if specification is None or "space" not in specification:
            continue
        stem = f"network_{i + 1}" if several else "network"
        space = space_of(specification["space"], specification["options"])
        write_whole(folder / f"{stem}.txt", space.text(specification["code"]) + "\n")
        onnx = ""
        try:
            from codesign.networks.onnx_export import export_onnx

            export_onnx(graph, folder / f"{stem}.onnx")
            onnx = f"{folder.name}/{stem}.onnx"
        except (ImportError, NetworkError) as error:
            design.problems.append(f"no {stem}.onnx: {error}")
        found.append(
            {
                "name": graph.name,
                "text": f"{folder.name}/{stem}.txt",
                "onnx": onnx,
                "described": space.describe(specification["code"]),
                "svg": draw_network(graph),
            }
        )
    return found


def _mapping_document(design: Design) -> MappingDocument | None:
    """The mappings of all networks; only one per shape if that would be too much for a file."""
    layers: list[LayerMapping] = []
    for name, cost in design.costs.items():
        document = mappings.of_network(cost)
        prefix = f"{name}:" if len(design.costs) > 1 else ""
        layers += [replace(layer, name=prefix + layer.name) for layer in document.layers] if document else []
    if not layers:
        return None
    found = MappingDocument(design.hardware.name, tuple(layers), datasheet=_ACCELERATOR)
    if len(mappings.dump(found).encode()) > _MOST_MAPPING_BYTES:
        shapes = {layer.operator: layer for layer in reversed(layers)}
        found = replace(found, layers=tuple(reversed(shapes.values())))
    return found
