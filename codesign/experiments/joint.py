"""One space of hardware and networks together: a point chooses a design and the network that runs on it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accelerators.costs import Infeasible
from codesign.experiments.network_search import NetworkSearch
from codesign.nas.spaces import Code
from codesign.search.space import Design, HardwareSpace, Values, digest

#: What the network goes by among the choices.
NETWORK = "network"
#: Variations that leave the hardware as it is; those that leave the network as it is.
_ONLY_NETWORK, _ONLY_HARDWARE = 0.45, 0.45


@dataclass(frozen=True)
class JointDesign(Design):
    """A design, and the network on it: its code and its encoding."""

    code: Code = ()
    encoding: str = ""

    @property
    def digest(self) -> str:
        """A short name that only this datasheet has with this network."""
        return digest({"datasheet": digest(self.datasheet), "code": list(self.code)})

    @property
    def choices(self) -> dict[str, Any]:
        """What was chosen, as plain data."""
        return {**self.values, NETWORK: self.encoding}


class JointSpace:
    """A hardware space and a space of networks; vectors in [0, 1]^``size`` stand for one of each.

    A network that is not accurate enough stands for the first one that is, on the way from it to the nearest network of
    those that the search begins with: one gene after the other.
    """

    def __init__(self, hardware: HardwareSpace, networks: NetworkSearch):
        """Raises :class:`~codesign.experiments.network_search.TooInaccurateError`."""
        self.hardware = hardware
        self.networks = networks
        self._start = networks.start
        self.size = hardware.size + len(networks.space.genes)

    @property
    def cardinality(self) -> int:
        """How many pairs there are."""
        return self.hardware.cardinality * self.networks.space.size

    def decode(self, vector: NDArray[np.float64]) -> Values:
        """What a vector (size,) of numbers in 0..1 chooses."""
        if vector.shape != (self.size,) or not ((vector >= 0).all() and (vector <= 1).all()):
            raise ValueError(f"a vector must be {self.size} numbers in 0..1 (got shape {vector.shape})")
        (code,) = self.networks.space.from_vectors(vector[None, self.hardware.size :])
        return {**self.hardware.decode(vector[: self.hardware.size]), NETWORK: code.tolist()}

    def encode(self, values: Values) -> NDArray[np.float64]:
        """A vector (size,) that stands for a choice; raises ValueError for values that a parameter cannot have."""
        network = self.networks.space.to_vectors(np.array([values[NETWORK]], np.int64))[0]
        return np.concatenate([self.hardware.encode(values), network])

    def neighbour(self, values: Values, random: np.random.Generator) -> Values:
        """Values of which the hardware, the network or both are a little different."""
        drawn = random.random()
        new = dict(values)
        if drawn >= _ONLY_NETWORK:
            new = {**self.hardware.neighbour(new, random), NETWORK: values[NETWORK]}
        if drawn < 1 - _ONLY_HARDWARE:
            code = self._accurate(values[NETWORK])
            new[NETWORK] = self.networks.space.mutate(np.array([code]), random)[0].tolist()
        return new

    def build(self, values: Values) -> JointDesign | Infeasible:
        """The design and its network, or why there is none."""
        built = self.hardware.build({name: value for name, value in values.items() if name != NETWORK})
        if isinstance(built, Infeasible):
            return built
        code = self._accurate(values[NETWORK])
        encoding = self.networks.space.text(code)
        found = JointDesign({**built.values, NETWORK: list(code)}, built.datasheet, built.hardware, code, encoding)
        if not built.datasheet["name"].endswith(digest(built.datasheet)):
            return found
        # Designs go by one name everywhere.
        name = f"{self.hardware.name}_{found.digest}"
        return replace(found, datasheet={**built.datasheet, "name": name}, hardware=replace(built.hardware, name=name))

    def _accurate(self, code: list[int]) -> Code:
        codes = np.array([code], np.int64)
        if not self.networks.admits(codes)[0]:
            end = self._start[(self._start != codes[0]).sum(axis=1).argmin()]
            differing = np.nonzero(end != codes[0])[0]
            steps = np.repeat(codes, len(differing), axis=0)
            for i, gene in enumerate(differing):
                steps[i:, gene] = end[gene]
            steps = self.networks.space.canonical(steps)
            # The last one is a network that the search begins with.
            codes = steps[[int(self.networks.admits(steps).argmax())]]
        return tuple(int(option) for option in codes[0])
