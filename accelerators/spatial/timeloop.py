"""Export to Timeloop: an accelerator, an operator and a mapping as input files of Timeloop, version 0.4.

``export`` gives what its Python front end reads (``architecture.yaml``, ``problem.yaml``, ``mapping.yaml``), the
energies per access (``ERT.yaml``), ``run.py``, which runs these, architecture and mapping once more in the folder
``timeloop_model`` for the program ``timeloop-model`` alone, and ``README.txt`` (how to run them, what to expect, what
is left out). Problem and energies are the same files for both.

**Two forms.** Users write architectures of version 0.4 as a tree of ``!Component`` and ``!Container`` nodes, which the
programs refuse. The front end (``pytimeloop.timeloopfe.v4``, once ``timeloopfe.v4``) turns it into storage levels in
``subtree``/``local`` with cumulative meshes. That is the form in ``timeloop_model``: it needs a plain build of Timeloop
and serves ``timeloop-mapper`` too. What the front end does is read from Accelergy-Project/timeloop-python, folder
``pytimeloop/timeloopfe``:

* A ``!Container`` with ``spatial`` stands above what it holds and becomes a level ``inter_NAME_spatial`` that keeps
  nothing; spatial directives have it as target (``common/version_transpilers/v4_to_v3.py``). Such a level right below
  its parent changes no count: so say ``MaskTiles`` in ``src/loop-analysis/tiling.cpp`` of NVlabs/timeloop and the
  figures printed for exercise 04 in Accelergy-Project/timeloop-accelergy-exercises, which our tests repeat.
* Keeps and bypasses are of type ``dataspace``, not ``bypass``; factors and permutations are lists
  (``v4/constraints.py``). Permutations are innermost first all the same, and all dimensions are listed: missing ones
  would be put innermost and shift ``split`` (``v4/processors/permutation_optimizer.py``).
* A program that finds an energy reference table asks neither Accelergy nor its own tables (``src/applications/model/
  model.cpp`` of NVlabs/timeloop). The front end drops the table unless areas come too, so ``run.py`` hands it to the
  program as a further input, and does not let the front end read the results: it would want a file of areas
  (``common/backend_calls.py``, ``v4/output_parsing.py``).

**What agrees.** Tiles, used instances, reads, fills, updates, multicast, cycles and the energy of storage levels and
MACs, provided that Timeloop walks all loops and moves nothing between neighbours (two environment variables, see the
README). Dimensions have names of one letter there; others are renamed.

**What Timeloop has no place for**; notes in the files say which of it the export at hand leaves out:

* Energy of networks and of adders in the array (its built-in tables have 0 for both), leakage, ramps, areas.
* Words of different widths in one level. A level gets the narrowest word that it keeps, so that every mapping that fits
  here fits there; accesses and bandwidth of wider words are then counted too low. Likewise partial sums that a level
  holds wider than the finished outputs it writes.
* Access widths that are no multiple of the word: an access moves as many whole words as fit. A word wider than an
  access takes several, which the energy per access accounts for.
* A fanout of three axes, or a dimension unrolled over two axes of one fanout. All children then stand in one line and
  the factors of a dimension are multiplied. Counts depend on the set of children only, not on how they stand, so they
  agree. (A storage level between the axes that keeps nothing would not: it hides which children share their data.)
* What the axes may unroll and the native dataflow: they restrict mappings, and the mapping is given.
* A capacity of 2^32 words or more is unbounded.
"""

from __future__ import annotations

import io
import math
import re
import string
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.tag import Tag

from accelerators.costs import Infeasible, InfeasibleError
from accelerators.operators import Operator
from accelerators.spatial.architecture import Level, SpatialAccelerator
from accelerators.spatial.mapping import Block, Loops, Mapping
from accelerators.spatial.model import Analysis, evaluate_packed
from accelerators.spatial.problem import Problem

_VERSION = 0.4
_SYSTEM = "system"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
#: The table of energies knows this name as the wires of all networks.
_RESERVED = ("wire", "Wire")
_MOST_WORDS = 2**32 - 1
#: Folder of the form that the programs read.
_FLAT = "timeloop_model"
_ENVIRONMENT = ("TIMELOOP_DISABLE_TEMPORAL_EXTRAPOLATION", "TIMELOOP_DISABLE_LINK_TRANSFERS")


def export(
    accelerator: SpatialAccelerator, operator: Operator, mapping: Mapping, bounds: dict[str, int] | None = None
) -> dict[str, str]:
    """Text of the files by name, some in a folder; ``bounds`` are the padded bounds that the mapping runs.

    Raises :class:`~accelerators.spatial.mapping.MappingError` for a mapping of another operator or accelerator,
    :class:`~accelerators.costs.InfeasibleError` for one that the accelerator cannot run, and ValueError for names that
    Timeloop does not read and for a tensor without ranks.
    """
    return _Export(accelerator, operator, mapping, bounds).files()


def write(
    folder: Path | str,
    accelerator: SpatialAccelerator,
    operator: Operator,
    mapping: Mapping,
    bounds: dict[str, int] | None = None,
) -> tuple[Path, ...]:
    """Write the files of :func:`export` into a folder; missing folders are made. Returns the paths of the files.

    Raises OSError if that fails, and what :func:`export` raises.
    """
    texts = export(accelerator, operator, mapping, bounds)
    paths = tuple(Path(folder) / name for name in texts)
    for path, text in zip(paths, texts.values(), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return paths


@dataclass(frozen=True)
class _Storage:
    """One storage level as Timeloop sees it: one word width, and a fanout of at most two axes.

    ``bits`` is the width of a word, ``accesses`` how many accesses move one, ``block`` how many words one access moves.
    ``fanout`` and ``loops`` are those of the axes X and Y; ``container`` names the children in the tree.
    """

    level: Level
    block: Block
    bits: int
    accesses: int
    block_size: int
    entries: int | None
    fanout: tuple[int, int]
    loops: tuple[Loops, Loops]
    container: str

    @property
    def children(self) -> int:
        """How many children there are."""
        return math.prod(self.fanout)

    @property
    def kind(self) -> str:
        """The class of component; only a DRAM may be unbounded."""
        return "DRAM" if self.entries is None else "SRAM"

    @property
    def attributes(self) -> dict[str, Any]:
        """What both forms say of it."""
        attributes: dict[str, Any] = {
            "datawidth": self.bits,
            "block_size": self.block_size,
            "cluster_size": 1,
            "width": self.bits * self.block_size,
        }
        if self.entries is not None:
            attributes["entries"] = self.entries
        if self.level.multiple_buffering != 1:
            attributes["multiple_buffering"] = self.level.multiple_buffering
        for which in ("read", "write", "shared"):
            rate = getattr(self.level, f"{which}_bandwidth_bytes_per_cycle")
            if rate is not None:
                # Words per cycle and instance.
                attributes[f"{which}_bandwidth"] = _number(8 * rate / self.bits)
        return attributes


class _Export:
    """Collects what the files say; ``notes`` holds by file what cannot be said in it."""

    def __init__(
        self, accelerator: SpatialAccelerator, operator: Operator, mapping: Mapping, bounds: dict[str, int] | None
    ):
        self.problem = Problem(accelerator, operator, bounds)
        packed = self.problem.pack([mapping])
        counts, energy = self.problem.scratch()
        result = self.problem.evaluate_batch(packed, (counts, energy))
        cost = evaluate_packed(self.problem, packed)
        if isinstance(cost, Infeasible):
            raise InfeasibleError(cost)
        #: Whether outputs are finished sums, by level; and how many are written finished.
        self.complete = [bool(done) for done in counts.complete[: len(accelerator.levels), 1]]
        self.final_updates = counts.final_updates.tolist()
        self.cycles, self.energy_pj = int(result.latency_cycles[0]), cost.energy_breakdown_pj
        self.analysis: Analysis = cost.details
        self.notes: dict[str, list[str]] = {name: [] for name in ("architecture", "problem", "mapping", "ERT")}
        self.accelerator = accelerator
        self.operator = self.problem.padded
        self._check_names()
        self.names = {level.name for level in accelerator.levels}
        self.mac = self._new_name("MAC")
        self.letters = _letters(self.operator.dims)
        self.storages = [
            self._storage(i, level, block)
            for i, (level, block) in enumerate(zip(accelerator.levels, mapping.blocks, strict=True))
        ]
        self._note_omissions(operator)

    def _check_names(self) -> None:
        problems = [
            f"level names must be letters, digits and _ and none of {', '.join(_RESERVED)} (got {level.name!r})"
            for level in self.accelerator.levels
            if not _NAME.fullmatch(level.name) or level.name in _RESERVED
        ]
        problems += [
            f"tensor names must be letters, digits and _ (got {tensor.name!r})"
            for tensor in self.operator.tensors
            if not _NAME.fullmatch(tensor.name)
        ]
        problems += [
            f"every tensor must have a rank with a dimension (got none for {tensor.name})"
            for tensor in self.operator.tensors
            if not tensor.dims
        ]
        if problems:
            raise ValueError("not for Timeloop: " + "; ".join(problems))

    def _new_name(self, name: str) -> str:
        """The name, with ``_`` at its end until neither it nor the level that a container becomes is taken."""
        while not self.names.isdisjoint((name, _stand_in(name))):
            name += "_"
        self.names.add(name)
        return name

    # ------------------------------------------------------------------------------------------------ what is meant

    def _storage(self, index: int, level: Level, block: Block) -> _Storage:
        widths = self._widths(index, level, block)
        bits = min(widths.values(), default=level.width_bits)
        if len(set(widths.values())) > 1:
            listed = ", ".join(f"{name} {width}" for name, width in widths.items())
            self.notes["architecture"].append(
                f"{level.name} keeps words of different widths ({listed} bit). Here all have {bits} bit: the capacity "
                "is generous, and accesses and bandwidth of the wider ones are counted too low."
            )
        elif self.operator.output.name in block.keep and not self.complete[index] and self.final_updates[index]:
            finished = self.problem.bits(self.operator.output)
            if finished != bits:
                self.notes["architecture"].append(
                    f"{level.name} holds partial sums of {bits} bit and gets finished outputs of {finished} bit. Here "
                    f"all have {bits} bit, so the finished ones cost more."
                )
        entries = None if level.capacity_bytes is None else int(8 * level.capacity_bytes) // bits
        if entries is not None and entries > _MOST_WORDS:
            self.notes["architecture"].append(f"{level.name} has {entries} words, too many to say: unbounded here.")
            entries = None
        fanout, loops = self._fanout(level, block)
        return _Storage(
            level,
            block,
            bits,
            accesses=-(-bits // level.width_bits),
            block_size=max(1, level.width_bits // bits),
            entries=entries,
            fanout=fanout,
            loops=loops,
            container=self._new_name(f"{level.name}_children"),
        )

    def _widths(self, index: int, level: Level, block: Block) -> dict[str, int]:
        """Width in bits of the words of every tensor that the level keeps; of those it may keep if it keeps none."""
        *widths, partial = self.problem.operator_arrays.bits.tolist()
        if not self.complete[index]:
            widths[-1] = partial
        tensors = self.operator.tensors
        named = dict(zip((tensor.name for tensor in tensors), widths, strict=True))
        kept = block.keep or tuple(tensor.name for tensor in tensors if tensor.role in level.keeps)
        return {name: width for name, width in named.items() if name in kept}

    def _fanout(self, level: Level, block: Block) -> tuple[tuple[int, int], tuple[Loops, Loops]]:
        """Children and loops along X and Y; the first axis of a fanout is X, the inner one."""
        loops = dict(block.spatial)
        along = [loops.get(axis.name, ()) for axis in level.fanout]
        dims = [dim for axis_loops in along for dim, _ in axis_loops]
        if len(along) <= 2 and len(set(dims)) == len(dims):
            sizes = [*(axis.size for axis in level.fanout), 1, 1]
            along += [(), ()]
            return (sizes[0], sizes[1]), (along[0], along[1])
        product: dict[str, int] = {}
        for axis_loops in reversed(along):
            for dim, factor in axis_loops:
                product[dim] = product.get(dim, 1) * factor
        axes = ", ".join(
            f"{axis.name} of {axis.size} with {' '.join(f'{dim}={factor}' for dim, factor in axis_loops) or 'no loops'}"
            for axis, axis_loops in zip(level.fanout, along, strict=True)
        )
        self.notes["mapping"].append(
            f"{level.name} unrolls along {axes}. In Timeloop a level has two axes and one spatial loop per dimension: "
            "all children stand in one line here. The counts are the same."
        )
        return (level.children, 1), (tuple(product.items()), ())

    def _note_omissions(self, operator: Operator) -> None:
        accelerator, notes = self.accelerator, self.notes
        networks, adders, leakage = (self.energy_pj[key] for key in ("network", "adders", "leakage"))
        if networks:
            notes["ERT"].append(f"Networks cost {networks:.6g} pJ in codesign and nothing here.")
        if adders:
            notes["ERT"].append(f"Adders in the array cost {adders:.6g} pJ in codesign and nothing here.")
        if leakage:
            notes["ERT"].append(
                f"Leakage of {accelerator.leakage_mw:.6g} mW costs {leakage:.6g} pJ in codesign and nothing here."
            )
        ramp = self.cycles - self.expected_cycles
        if ramp:
            notes["architecture"].append(f"Fill and drain of tiles take {ramp} cycles in codesign and none here.")
        padded = {dim: bound for dim, bound in self.operator.bounds if bound != operator.bound(dim)}
        if padded:
            listed = ", ".join(f"{dim} from {operator.bound(dim)} to {bound}" for dim, bound in padded.items())
            notes["problem"].append(f"Bounds are padded as the mapping runs them: {listed}.")
        renamed = ", ".join(f"{letter} is {dim}" for dim, letter in self.letters.items() if letter != dim)
        if renamed:
            notes["problem"].append(f"Dimensions have names of one letter in Timeloop: {renamed}.")

    @property
    def expected_cycles(self) -> int:
        """Cycles without ramps."""
        return max(self.analysis.compute_cycles, *(level.latency_cycles for level in self.analysis.levels))

    # ----------------------------------------------------------------------------------------------------- the files

    def files(self) -> dict[str, str]:
        """All files."""
        what = f"{self.operator} on {self.accelerator.name}"
        architecture = f"Architecture: {self.accelerator.name}, as the mapping of {self.operator} uses it."
        mapping = (f"Mapping: {what}.", "Permutations are innermost loop first.")

        def document(note: str, data: dict[str, Any], *title: str) -> str:
            return _document((*title, *self.notes[note]), data)

        return {
            "architecture.yaml": document(
                "architecture", self.tree(), architecture, "Words and bandwidths are per instance, meshes per parent."
            ),
            "problem.yaml": document("problem", self.problem_shape(), f"Problem: {self.operator}."),
            "mapping.yaml": document(
                "mapping", self.mapping(tree=True), *mapping, "Spatial loops target the container that they fill."
            ),
            "ERT.yaml": document(
                "ERT",
                self.energies(),
                f"Energy per access of a block of words in pJ: {self.accelerator.name}.",
                "The front end makes levels inter_..._spatial of containers; they keep nothing and cost nothing.",
            ),
            "run.py": _RUN.format(environment=", ".join(f'"{name}": 1' for name in _ENVIRONMENT)),
            f"{_FLAT}/architecture.yaml": document(
                "architecture",
                self.architecture(),
                architecture,
                "Words and bandwidths are per instance; meshes count all instances. The first key tells Timeloop's "
                "Python front end that there is nothing to translate.",
            ),
            f"{_FLAT}/mapping.yaml": document("mapping", self.mapping(tree=False), *mapping),
            "README.txt": self.readme(what),
        }

    def tree(self) -> dict[str, Any]:
        """Nodes from the outermost storage level to the MACs; a container holds the nodes after it."""
        nodes = []
        for storage in self.storages:
            component = {"name": storage.level.name, "class": storage.kind, "attributes": _flow(storage.attributes)}
            nodes.append(_tagged("!Component", component))
            if storage.children > 1:
                mesh = dict(zip(("meshX", "meshY"), storage.fanout, strict=True))
                nodes.append(_tagged("!Container", {"name": storage.container, "spatial": _flow(mesh)}))
        macs = {"name": self.mac, "class": "intmac", "attributes": _flow({"datawidth": self.mac_bits})}
        nodes.append(_tagged("!Component", macs))
        return {"architecture": {"version": _VERSION, "nodes": nodes}}

    def architecture(self) -> dict[str, Any]:
        """Storage levels, outermost first, and the MACs; meshes count all instances, not those per parent."""
        local = []
        mesh = [1, 1]

        def place(name: str, kind: str, attributes: dict[str, Any]) -> None:
            attributes = _flow({**attributes, "meshX": mesh[0], "meshY": mesh[1]})
            local.append({"name": f"{name}[1..{math.prod(mesh)}]", "class": kind, "attributes": attributes})

        for storage in self.storages:
            place(storage.level.name, storage.kind, storage.attributes)
            mesh = [size * fanout for size, fanout in zip(mesh, storage.fanout, strict=True)]
        place(self.mac, "intmac", {"datawidth": self.mac_bits})
        return {
            "dumped_by_timeloop_front_end": True,
            "architecture": {"version": _VERSION, "subtree": [{"name": _SYSTEM, "local": local}]},
        }

    @property
    def mac_bits(self) -> int:
        """Width of the wider operand."""
        return max(self.accelerator.compute.weight_bits, self.accelerator.compute.input_bits)

    def problem_shape(self) -> dict[str, Any]:
        """Dimensions, tensors with their projections, bounds."""
        operator, letters = self.operator, self.letters
        steps = sorted({c for tensor in operator.tensors for rank in tensor.ranks for _, c in rank if c > 1})
        spaces = []
        for tensor in operator.tensors:
            projection = [
                [[letters[dim]] if c == 1 else [letters[dim], f"times{c}"] for dim, c in rank]
                for rank in tensor.ranks
                if rank
            ]
            space = {"name": tensor.name, "projection": _flow(projection)}
            spaces.append({**space, "read_write": True} if tensor.role == "outputs" else space)
        coefficients = [_flow({"name": f"times{c}", "default": c}) for c in steps]
        shape: dict[str, Any] = {
            "name": operator.kind,
            "dimensions": _flow([letters[dim] for dim in operator.dims]),
            **({"coefficients": coefficients} if coefficients else {}),
            "data_spaces": spaces,
        }
        instance = {letters[dim]: bound for dim, bound in operator.bounds}
        return {"problem": {"version": _VERSION, "shape": shape, "instance": _flow(instance)}}

    def mapping(self, tree: bool) -> dict[str, Any]:
        """Directives for all levels."""
        return {"mapping": [line for storage in self.storages for line in self._directives(storage, tree)]}

    def _directives(self, storage: _Storage, tree: bool) -> list[dict[str, Any]]:
        """What the mapping says of one level: its loops in time, its loops in space, its tensors."""
        target, block = storage.level.name, storage.block
        found: list[dict[str, Any]] = [{"target": target, "type": "temporal", **self._loops(block.temporal, tree)}]
        if storage.children > 1:
            along_x, along_y = storage.loops
            # The first ``split`` loops of the permutation, the inner ones, run along X.
            spatial = self._loops((*along_y, *along_x), tree)
            filled = storage.container if tree else target
            found.append({"target": filled, "type": "spatial", **spatial, "split": len(along_x)})
        names = [tensor.name for tensor in self.operator.tensors]
        kept = [name for name in names if name in block.keep]
        bypassed = [name for name in names if name not in block.keep]
        lists = {key: _flow(listed) for key, listed in (("keep", kept), ("bypass", bypassed)) if listed}
        return [*found, {"target": target, "type": "dataspace" if tree else "bypass", **lists}]

    def _loops(self, loops: Sequence[tuple[str, int]], tree: bool) -> dict[str, Any]:
        """Factors of all dimensions, and the permutation: innermost loop first, factors of 1 at the end."""
        given = dict(loops)
        order = [dim for dim, _ in reversed(loops)]
        order += [dim for dim in self.operator.dims if dim not in given]
        factors = [f"{self.letters[dim]}={given.get(dim, 1)}" for dim in self.operator.dims]
        permutation = [self.letters[dim] for dim in order]
        if tree:
            return {"factors": _flow(factors), "permutation": _flow(permutation)}
        return {"factors": " ".join(factors), "permutation": "".join(permutation)}

    def energies(self) -> dict[str, Any]:
        """The energy reference table."""
        tables = []
        for storage in self.storages:
            level = storage.level
            actions = {"read": level.read_energy_pj, "write": level.fill_energy_pj, "update": level.update_energy_pj}
            tables.append((level.name, {name: storage.accesses * pj for name, pj in actions.items()}))
            if storage.children > 1:
                tables.append((_stand_in(storage.container), dict.fromkeys(actions, 0.0)))
        tables.append((self.mac, {"compute": self.problem.mac_energy_pj}))
        return {
            "ERT": {
                "version": _VERSION,
                "tables": [
                    {
                        "name": f"{_SYSTEM}.{name}",
                        "actions": [_flow({"name": action, "energy": float(pj)}) for action, pj in actions.items()],
                    }
                    for name, actions in tables
                ],
            }
        }

    def readme(self, what: str) -> str:
        """How to run the files, what to expect, what is left out."""
        energies = {level.name: self.energy_pj[level.name] for level in self.accelerator.levels}
        energies[self.mac] = self.energy_pj["MAC"]
        width = max(map(len, energies))
        left_out = [note for notes in self.notes.values() for note in notes]
        return "\n".join(
            [
                f"{what}: input files of Timeloop, version 0.4.",
                "",
                *_wrapped(
                    "With Timeloop's Python front end (its Docker image has it), which reads architecture.yaml, "
                    "problem.yaml and mapping.yaml:"
                ),
                "",
                "    python3 run.py",
                "",
                f"Or with the program alone, whose form of architecture and mapping is in {_FLAT}:",
                "",
                "    mkdir -p out",
                f"    {' '.join(f'{name}=1' for name in _ENVIRONMENT)} \\",
                f"        timeloop-model {_FLAT}/architecture.yaml problem.yaml {_FLAT}/mapping.yaml ERT.yaml -o out",
                "",
                *_wrapped(
                    "Results are in out/timeloop-model.stats.txt. The energies are those of ERT.yaml: Accelergy is not "
                    "asked. The two variables, which run.py sets too, make Timeloop walk every loop and fetch all data "
                    "from the parent, which is what codesign counts. Without them sliding windows may be counted "
                    "differently."
                ),
                "",
                f"codesign expects {self.expected_cycles} cycles (1 more or less where a bandwidth limits) and:",
                "",
                *(f"    {name:{width}} {pj:.6g} pJ" for name, pj in energies.items()),
                f"    {'total':{width}} {sum(energies.values()):.6g} pJ",
                "",
                "Not carried over:" if left_out else "Nothing was left out.",
                *(
                    line
                    for note in left_out
                    for line in textwrap.wrap(note, 100, initial_indent="  - ", subsequent_indent="    ")
                ),
                "",
            ]
        )


#: Runs the tree form. Both special arguments are explained at the top of this module.
_RUN = '''"""Run timeloop-model through Timeloop's Python front end on the files in this folder; results go to out."""

import sys
from pathlib import Path

try:
    import pytimeloop.timeloopfe.v4 as timeloop
except ImportError:  # the front end before it moved into pytimeloop
    import timeloopfe.v4 as timeloop

here = Path(__file__).resolve().parent
inputs = [str(here / name) for name in ("architecture.yaml", "problem.yaml", "mapping.yaml")]
process = timeloop.call_model(
    timeloop.Specification.from_yaml_files(*inputs),
    output_dir=str(here / "out"),
    environment={{{environment}}},
    # Read by the program itself, which then asks Accelergy for nothing.
    extra_input_files=[str(here / "ERT.yaml")],
    # Otherwise the front end looks for the areas that only Accelergy writes.
    return_proc=True,
)
if process.wait():
    sys.exit("timeloop-model failed; its messages are above")
print((here / "out" / "timeloop-model.stats.txt").read_text().partition("Summary Stats")[2])
'''


def _stand_in(container: str) -> str:
    """The level that the front end makes of a container."""
    return f"inter_{container}_spatial"


def _letters(dims: Iterable[str]) -> dict[str, str]:
    """A letter of its own for every dimension: its name if that is one, else one from its name, else a free one."""
    dims = tuple(dims)
    letters = {dim: dim for dim in dims if len(dim) == 1 and dim in string.ascii_letters}
    for dim in dims:
        if dim not in letters:
            wanted = [c for c in dim.upper() + dim.lower() if c in string.ascii_letters]
            free = [c for c in (*wanted, *string.ascii_uppercase, *string.ascii_lowercase) if c not in letters.values()]
            if not free:
                raise ValueError(f"not for Timeloop: at most 52 dimensions (got {len(dims)})")
            letters[dim] = free[0]
    return {dim: letters[dim] for dim in dims}


def _number(value: float) -> int | float:
    return int(value) if value == int(value) else value


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 100)


def _flow(value: Any) -> Any:
    """Lists and mappings as ruamel writes them on one line."""
    if isinstance(value, dict):
        result: Any = CommentedMap((key, _flow(entry)) for key, entry in value.items())
    elif isinstance(value, list):
        result = CommentedSeq(_flow(entry) for entry in value)
    else:
        return value
    result.fa.set_flow_style()
    return result


def _tagged(tag: str, value: dict[str, Any]) -> CommentedMap:
    node = CommentedMap(value)
    node.yaml_set_ctag(Tag(suffix=tag))
    return node


def _document(comments: Iterable[str], data: dict[str, Any]) -> str:
    """YAML text under comments."""
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 2**31
    text = io.StringIO()
    for comment in comments:
        text.writelines(f"# {line}\n" for line in _wrapped(comment))
    yaml.dump(data, text)
    return text.getvalue()
