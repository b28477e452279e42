"""What an experiment's YAML may say: its keys, their kinds and units. What they mean is in :mod:`.experiment`."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    model_validator,
)

from accelerators.documents import StrictModel, json_schema
from accelerators.fields import AreaLimit, Capacity, Power, Rate, measured
from accelerators.units import split_unit
from codesign.experiments.candidates import OBJECTIVES
from codesign.nas.strategies import STRATEGIES
from codesign.search import OPTIMISERS
from codesign.search.space import searches
from mappers import DEFAULT_EVALUATIONS, DEFAULT_NODE_LIMIT, MAPPERS

_ADDRESS = re.compile(r"((tcp|tls|ws|wss)://)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):[0-9]{1,5}")
#: Points of a sweep.
MOST_POINTS = 10_000
#: A time between a second and a century.
Duration = Annotated[float, measured("time since programming in seconds", 1.0, 3.2e9)]


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str | dict) else value


def _one_line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must be printable text in one line")
    return value


def _numbers(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return [value]
    if not isinstance(value, list):
        raise ValueError("must be a number or a list of numbers")
    return value


def _quantity(value: Any) -> Any:
    split_unit(value)
    return value


def _limits(value: object) -> object:
    return value if isinstance(value, list) else [value]


#: A number, or text with a unit.
Bound = Annotated[Any, AfterValidator(_quantity), WithJsonSchema({"type": ["number", "string"]})]
#: A cost of a network; its unit is that of the objective.
Limit = Bound


#: The name of something, or of its file.
Name = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_one_line)]


class NetworkSheet(StrictModel):
    """A network of the zoo or an ONNX file, and its options."""

    network: Annotated[Name, Field(description="name from `codesign list networks`, or an .onnx file")]
    options: Annotated[dict[str, Any], Field(max_length=100, description="such as batch: 4 or sequence: 384")] = Field(
        default_factory=dict
    )


def _network(value: object) -> object:
    return {"network": value} if isinstance(value, str) else value


class EstimatorSheet(StrictModel):
    """How accurate networks of a space are taken to be."""

    name: Annotated[Name, Field(description="such as ofa, nas_bench_201, or a zero-shot score")]
    options: Annotated[dict[str, Any], Field(max_length=100)] = Field(default_factory=dict)


def _named(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


class StrategySheet(StrictModel):
    """How a space of networks is searched."""

    name: Annotated[str, Field(description=", ".join(STRATEGIES))]
    options: Annotated[dict[str, Any], Field(max_length=100, description="such as acquisition of surrogate")] = Field(
        default_factory=dict
    )


#: What rewards are made of: what is required, and what is not.
_REWARDS = {"mnasnet": (("target",), ("within", "beyond")), "weighted": (("points", "per"), ())}


class RewardSheet(StrictModel):
    """Accuracy and cost in one number.

    ``mnasnet`` is accuracy times (cost / target)^exponent, ``weighted`` accuracy less so many points per so much cost.
    """

    kind: Literal["mnasnet", "weighted"]
    target: Annotated[Limit | None, Field(description="mnasnet: cost, such as 20 ms")] = None
    within: Annotated[float, Field(ge=-10, le=0, description="mnasnet: exponent up to the target")] = -0.07
    beyond: Annotated[float, Field(ge=-10, le=0, description="mnasnet: exponent beyond it")] = -0.07
    points: Annotated[float | None, Field(gt=0, le=1e9, description="weighted: of accuracy")] = None
    per: Annotated[Limit | None, Field(description="weighted: cost, such as 1 ms")] = None

    @model_validator(mode="after")
    def _complete(self) -> RewardSheet:
        required, optional = _REWARDS[self.kind]
        given = self.model_fields_set - {"kind"}
        if not set(required) <= given or not given <= {*required, *optional}:
            known = " and ".join(required) + (f", and may have {' and '.join(optional)}" if optional else "")
            raise ValueError(f"{self.kind} needs {known} (got {', '.join(sorted(given)) or 'none'})")
        return self


class NasBaselineSheet(StrictModel):
    """A network that the baseline runs, instead of one that is searched for it."""

    network: Annotated[Name, Field(description="a network of the zoo, or one of the space as JSON")]
    accuracy: Annotated[float | None, Field(ge=0, le=100, description="of a network of the zoo, in per cent")] = None


class NasSheet(StrictModel):
    """Networks that are searched, together with the hardware or for given hardware."""

    space: Annotated[Name, Field(description="name from `codesign list spaces`, or a .yaml file")]
    options: Annotated[dict[str, Any], Field(max_length=100, description="of the space")] = Field(default_factory=dict)
    accuracy: Annotated[EstimatorSheet, BeforeValidator(_named, json_schema_input_type=EstimatorSheet | str)]
    at_least: Annotated[
        list[Annotated[float, Field(allow_inf_nan=False)]],
        BeforeValidator(_numbers, json_schema_input_type=list[float] | float),
        Field(max_length=20, description="accuracy that networks must have; of several levels each gets its network"),
    ] = Field(default_factory=list)
    at_most: Annotated[
        list[Limit],
        BeforeValidator(_limits, json_schema_input_type=list[Limit] | Limit),
        Field(max_length=20, description="cost, such as 20 ms: each limit gets the most accurate network within it"),
    ] = Field(default_factory=list)
    reward: Annotated[
        RewardSheet | None, Field(description="the network with the greatest is wanted, and no level or limit is kept")
    ] = None
    mode: Annotated[
        Literal["nested", "joint"],
        Field(description="a search of networks for every design, or one search over designs and networks"),
    ] = "nested"
    strategy: Annotated[
        StrategySheet | None, BeforeValidator(_named, json_schema_input_type=StrategySheet | str | None)
    ] = None
    population: Annotated[int, Field(ge=2, le=10_000, description="networks per generation of a nested search")] = 50
    queries: Annotated[int, Field(ge=1, le=10**6, description="networks judged on every design")] = 500
    batch: Annotated[int, Field(ge=1, le=2**20)] = 1
    baseline: Annotated[NasBaselineSheet | None, Field(description="what the baseline runs")] = None


class AccuracySheet(StrictModel):
    """Accuracy of trained networks on the crossbars that are tried."""

    after: Annotated[Duration, Field(description="since programming, such as 1 month")]
    programmings: Annotated[int, Field(ge=1, le=1000, description="over which the accuracy is averaged")] = 5
    images: Annotated[int | None, Field(ge=1, description="of the test images; all if absent")] = None


class BudgetSheet(StrictModel):
    """What a design may use at most; given figures go before those of the accelerator that it is like."""

    like: Annotated[Name | None, Field(description="an accelerator of the catalog, or a .yaml file")] = None
    macs: Annotated[int | None, Field(ge=1)] = None
    on_chip: Annotated[Capacity | None, Field(description="bytes of all on-chip memories")] = None
    noc_bandwidth: Annotated[Rate | None, Field(description="from the buffers to the array")] = None
    dram_bandwidth: Annotated[Rate | None, Field(description="of the outermost level")] = None
    area: AreaLimit | None = None
    power: Annotated[Power | None, Field(description="of every network")] = None


class HardwareSheet(StrictModel):
    """What hardware is tried: given designs, a ready-made space, or a datasheet with values to search."""

    accelerators: Annotated[
        list[Name] | None, Field(min_length=1, max_length=1000, description="fixed designs: names or files")
    ] = None
    space: Annotated[Literal["naas", "crossbar"] | None, Field(description="a ready-made space")] = None
    design: Annotated[
        dict[str, Any] | None, Field(description="a datasheet; values may be ranges and choices to search")
    ] = None
    budget: BudgetSheet = BudgetSheet()
    pin: Annotated[
        dict[str, Any], Field(max_length=1000, description="values of parameters that are not to be searched")
    ] = Field(default_factory=dict)
    encoding: Literal["importance", "index"] = "importance"

    @property
    def given(self) -> bool:
        """Whether designs are given, so that there is nothing to search."""
        return self.accelerators is not None or (self.design is not None and not searches(self.design))


class SearchSheet(StrictModel):
    """How the space is searched."""

    optimiser: Annotated[str, Field(description=", ".join(OPTIMISERS))] = "cma_es"
    population: Annotated[int, Field(ge=2, le=10_000, description="candidates per generation")] = 16
    generations: Annotated[int, Field(ge=1, le=1_000_000)] = 20
    refine: Annotated[
        float | None,
        Field(ge=0, le=0.9, description="part of a generation that varies the best designs so far (0.5; random: 0)"),
    ] = None


class MapperSheet(StrictModel):
    """How every layer is mapped."""

    name: Annotated[str | None, Field(description=f"{', '.join(MAPPERS)}; the default one if absent")] = None
    evaluations: Annotated[int, Field(ge=1, le=10**8, description="mappings that a mapper without proof tries")] = (
        DEFAULT_EVALUATIONS
    )
    node_limit: Annotated[int, Field(ge=1, le=10**9, description="tiles that the optimal mapper looks at")] = (
        DEFAULT_NODE_LIMIT
    )
    pad: bool = False
    bypass: bool = False


def is_address(text: str) -> bool:
    """Whether a text is the address of a Dask scheduler: host and port."""
    return bool(_ADDRESS.fullmatch(text)) and int(text.rpartition(":")[2]) < 2**16


def _scheduler(value: str) -> str:
    if not (value.endswith(".json") or is_address(value)):
        raise ValueError("must be a scheduler's address such as tcp://10.0.0.1:8786, or its .json file")
    return value


class WorkersSheet(StrictModel):
    """Who evaluates candidates; has no influence on the result."""

    processes: Annotated[int, Field(ge=1, le=1024)] = 1
    dask: Annotated[
        Annotated[Name, AfterValidator(_scheduler)] | None,
        Field(description="address of a Dask scheduler, or its .json file"),
    ] = None


class RangeSheet(StrictModel):
    """Values between two bounds, either a number of them or in steps; with units if the value has one."""

    from_: Annotated[Bound, Field(alias="from")]
    to: Bound
    points: Annotated[int | None, Field(ge=1, le=MOST_POINTS)] = None
    step: Bound | None = None
    scale: Literal["linear", "log"] = "linear"


def _entry(value: Any) -> str:
    # Errors of a union begin with the tag of the member that is meant; what is in brackets is left out of messages.
    return "[list]" if isinstance(value, list) else "[key]"


class SweepSheet(StrictModel):
    """Values of the file that vary from point to point."""

    over: Annotated[
        dict[
            str,
            Annotated[Annotated[list[Any], Tag("[list]")] | Annotated[RangeSheet, Tag("[key]")], Discriminator(_entry)],
        ],
        Field(min_length=1, max_length=100, description="by path in the file, such as hardware.budget.macs or seed"),
    ]
    method: Annotated[Literal["grid", "latin_hypercube"], Field(description="all combinations, or a sample")] = "grid"
    samples: Annotated[int | None, Field(ge=1, le=MOST_POINTS, description="points of a sample")] = None


class ExperimentSheet(StrictModel):
    """An experiment."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["networks"]}, {"required": ["nas"]}]})

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=80)]
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    networks: Annotated[
        list[Annotated[NetworkSheet, BeforeValidator(_network, json_schema_input_type=NetworkSheet | str)]],
        BeforeValidator(_one_or_more, json_schema_input_type=list[NetworkSheet | str] | NetworkSheet | str),
        Field(min_length=1, max_length=100, description="given networks; or else nas"),
    ] = Field(default_factory=list)
    nas: NasSheet | None = None
    accuracy: AccuracySheet | None = None
    hardware: HardwareSheet
    objective: Annotated[
        list[str],
        BeforeValidator(_one_or_more, json_schema_input_type=list[str] | str),
        Field(min_length=1, max_length=len(OBJECTIVES), description=f"of {', '.join(OBJECTIVES)}"),
    ] = Field(default_factory=lambda: ["edp"])
    search: SearchSheet = SearchSheet()
    mapper: MapperSheet = MapperSheet()
    fuse: Annotated[bool, Field(description="elementwise layers run with their producer")] = False
    baseline: Annotated[
        Name | None, Field(description="an accelerator to compare with; that of the budget if absent")
    ] = None
    workers: WorkersSheet = WorkersSheet()
    sweep: SweepSheet | None = None

    @property
    def run_names(self) -> tuple[str, ...]:
        """The networks that are given, or the space in which they are searched."""
        return tuple(entry.network for entry in self.networks) + (() if self.nas is None else (self.nas.space,))

    @property
    def compared_with(self) -> str | None:
        """The baseline: the accelerator that is named, or that of the budget where designs are searched."""
        return self.baseline or (None if self.hardware.given else self.hardware.budget.like)


def schema() -> dict[str, Any]:
    """JSON schema of an experiment, for editors."""
    return json_schema(ExperimentSheet)
