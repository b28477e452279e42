"""Parameters of a hardware space: what a design may choose, and how numbers in 0..1 stand for a choice.

Two encodings, after NAAS (Lin, Yang, Han, DAC 2021, section 3.2). Numbers on a grid are read the same way in both. What
is not a number differs: *importance* gives every option a number of its own, and the largest wins; *index* numbers all
options and searches that number.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

EncodingName = Literal["importance", "index"]
ENCODINGS: tuple[EncodingName, ...] = ("importance", "index")


def _bin(number: float, count: int) -> int:
    """Which of ``count`` equal parts of 0..1 a number lies in."""
    return min(count - 1, int(number * count))


def _middle(index: int, count: int) -> float:
    return (index + 0.5) / count


class Parameter(ABC):
    """One choice of a design. ``name`` is its place in the design, such as ``global_buffer.capacity``."""

    name: str

    @property
    @abstractmethod
    def cardinality(self) -> int:
        """How many values it has."""

    @abstractmethod
    def width(self, encoding: EncodingName) -> int:
        """How many numbers stand for it."""

    @abstractmethod
    def decode(self, numbers: Sequence[float], encoding: EncodingName) -> Any:
        """The value that numbers in 0..1 stand for."""

    @abstractmethod
    def encode(self, value: Any, encoding: EncodingName) -> list[float]:
        """Numbers that stand for a value, far from where they would mean another one.

        Raises ValueError for a value that the parameter cannot have.
        """

    def problem(self, value: Any) -> str | None:
        """Why a value that numbers stand for cannot be, if it cannot."""
        return None

    @abstractmethod
    def values(self) -> Iterator[Any]:
        """All values."""

    @abstractmethod
    def neighbour(self, value: Any, random: np.random.Generator) -> Any:
        """A value near this one, maybe one that it cannot have, or the same if there is no other."""


#: By which numbers differ that are neighbours, besides those a few steps away.
_FACTORS = (0.5, 2 / 3, 0.8, 1.25, 1.5, 2.0)
#: Numbers of more digits would not be exact.
_MOST_STEPS = 1e12
#: Of a choice: the importance encoding has a number for each.
_MOST_OPTIONS = 1000


@dataclass(frozen=True)
class Range(Parameter):
    """Numbers from ``low`` to at most ``high`` in steps; on a logarithmic scale small ones get as much room as large.

    ``unit`` is written behind the number ("" for none).
    """

    name: str
    low: float
    high: float
    step: float
    log: bool = False
    unit: str = ""

    def __post_init__(self) -> None:
        if not self.step > 0:
            raise ValueError(f"step must be > 0 (got {self.step:g})")
        if self.high < self.low:
            raise ValueError(f"to must be >= from, {self.low:g} (got {self.high:g})")
        if self.log and self.low <= 0:
            raise ValueError(f"from must be > 0 on a logarithmic scale (got {self.low:g})")
        if not (self.high - self.low) / self.step < _MOST_STEPS:
            raise ValueError(f"must have at most {_MOST_STEPS:g} steps between from and to")

    @property
    def cardinality(self) -> int:
        """How many values it has."""
        return math.floor((self.high - self.low) / self.step * (1 + 1e-12)) + 1

    def width(self, encoding: EncodingName) -> int:
        """One number."""
        return 1

    def number(self, index: int) -> float:
        """The value at a place of the grid, without unit."""
        value = self.low + index * self.step
        return int(value) if value == int(value) else value

    def _value(self, index: int) -> Any:
        number = self.number(index)
        return f"{number!r} {self.unit}" if self.unit else number

    def neighbour(self, value: Any, random: np.random.Generator) -> Any:
        """A step or a few away, or by up to a factor of two."""
        index = self.index(value)
        if random.random() < 0.5:
            new = index + int(random.choice((-3, -2, -1, 1, 2, 3)))
        else:
            new = round((self.number(index) * float(random.choice(_FACTORS)) - self.low) / self.step)
        return self._value(min(self.cardinality - 1, max(0, new)))

    def index(self, value: Any) -> int:
        """The place of a value on the grid; raises ValueError for one that is not on it."""
        text = str(value).removesuffix(f" {self.unit}") if self.unit else value
        try:
            index = (float(text) - self.low) / self.step
        except (TypeError, ValueError):
            index = math.nan
        if not (-0.5 < index < self.cardinality - 0.5 and abs(index - round(index)) < 1e-3):
            unit = f" {self.unit}" if self.unit else ""
            rule = f"from {self.low:g}{unit} to {self.high:g}{unit} in steps of {self.step:g}{unit}"
            raise ValueError(f"{self.name} must be {rule} (got {value!r})")
        return round(index)

    def decode(self, numbers: Sequence[float], encoding: EncodingName) -> Any:
        """See :class:`Parameter`."""
        if not self.log:
            return self._value(_bin(numbers[0], self.cardinality))
        # Places of the grid get the room between the geometric means with their neighbours.
        edges = self._log_edges()
        at = math.exp(edges[0] + numbers[0] * (edges[1] - edges[0]))
        guess = round((at - self.low) / self.step)
        best = min(
            (i for i in (guess - 1, guess, guess + 1) if 0 <= i < self.cardinality),
            key=lambda i: abs(math.log(self.number(i)) - math.log(at)),
            default=0 if guess < 0 else self.cardinality - 1,
        )
        return self._value(best)

    def _log_edges(self) -> tuple[float, float]:
        """The first and last value get as much room outside as inside."""
        if self.cardinality == 1:
            return math.log(self.low), math.log(self.low)
        first, second = math.log(self.number(0)), math.log(self.number(1))
        last, before = math.log(self.number(self.cardinality - 1)), math.log(self.number(self.cardinality - 2))
        return first - (second - first) / 2, last + (last - before) / 2

    def encode(self, value: Any, encoding: EncodingName) -> list[float]:
        """See :class:`Parameter`."""
        index = self.index(value)
        if not self.log:
            return [_middle(index, self.cardinality)]
        low, high = self._log_edges()
        return [(math.log(self.number(index)) - low) / (high - low) if high > low else 0.5]

    def values(self) -> Iterator[Any]:
        """See :class:`Parameter`."""
        return (self._value(i) for i in range(self.cardinality))


@dataclass(frozen=True)
class Choice(Parameter):
    """One of several options, which are plain data."""

    name: str
    options: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not self.options:
            raise ValueError("must have at least one option")
        if len(self.options) > _MOST_OPTIONS:
            raise ValueError(f"must have at most {_MOST_OPTIONS} options (got {len(self.options)})")
        for i, option in enumerate(self.options):
            if option in self.options[:i]:
                raise ValueError(f"options must differ (got {option!r} twice)")

    @property
    def cardinality(self) -> int:
        """How many values it has."""
        return len(self.options)

    def width(self, encoding: EncodingName) -> int:
        """A number per option by importance; two options need one."""
        return len(self.options) if encoding == "importance" and len(self.options) > 2 else 1

    def decode(self, numbers: Sequence[float], encoding: EncodingName) -> Any:
        """See :class:`Parameter`."""
        if len(numbers) == 1:
            return self.options[_bin(numbers[0], len(self.options))]
        return self.options[int(np.argmax(numbers))]

    def encode(self, value: Any, encoding: EncodingName) -> list[float]:
        """See :class:`Parameter`."""
        if value not in self.options:
            listed = ", ".join(str(option) for option in self.options)
            raise ValueError(f"{self.name} must be one of {listed} (got {value!r})")
        index = self.options.index(value)
        if self.width(encoding) == 1:
            return [_middle(index, len(self.options))]
        return [0.75 if i == index else 0.25 for i in range(len(self.options))]

    def neighbour(self, value: Any, random: np.random.Generator) -> Any:
        """The option before or after, or any other one: they may have an order or none."""
        index = self.options.index(value)
        if random.random() < 0.5:
            return self.options[min(len(self.options) - 1, max(0, index + int(random.choice((-1, 1)))))]
        return self.options[(index + int(random.integers(1, max(2, len(self.options))))) % len(self.options)]

    def values(self) -> Iterator[Any]:
        """See :class:`Parameter`."""
        return iter(self.options)


#: What one array axis unrolls (usually one dimension), and how many children it has.
Wire = tuple[tuple[str, ...], int]
#: The axes of an array, x first.
Wiring = tuple[Wire, ...]


@dataclass(frozen=True)
class Connectivity(Parameter):
    """An array of 1 to 3 axes: its number of PEs, the size of every axis, and what each unrolls.

    ``pes`` is the grid of the number of PEs aimed at, ``axes`` the allowed numbers of axes, ``size_step`` the step of
    a size, ``unroll`` the groups of dimensions of which every axis gets one. The sizes multiply to at most the
    number aimed at, and to no less than the least of the grid. By importance the k most important groups are unrolled,
    the first along x; by index one number says which of the ordered selections it is. Shares of the PEs' logarithm
    give the sizes in both.
    """

    name: str
    pes: Range
    axes: tuple[int, ...]
    size_step: int
    unroll: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        if not self.axes or any(n not in (1, 2, 3) for n in self.axes) or len(set(self.axes)) < len(self.axes):
            raise ValueError(f"axes must be different numbers from 1 to 3 (got {list(self.axes)})")
        if self.size_step < 1:
            raise ValueError(f"size_step must be >= 1 (got {self.size_step})")
        if len(self.unroll) < max(self.axes):
            raise ValueError(
                f"unroll must have at least {max(self.axes)} entries, one per axis (got {len(self.unroll)})"
            )
        if len(set(self.unroll)) < len(self.unroll) or not all(self.unroll):
            raise ValueError("entries of unroll must differ and name dimensions")
        if self.pes.low < self.size_step ** max(self.axes):
            least = self.size_step ** max(self.axes)
            raise ValueError(
                f"pes must be from at least {least}, {max(self.axes)} axes of {self.size_step} (got {self.pes.low:g})"
            )

    def problem(self, value: Wiring) -> str | None:
        """Sizes that do not divide the number of PEs leave some out, maybe too many."""
        pes = math.prod(size for _, size in value)
        return f"{pes} PEs, at least {self.pes.low:g}" if pes < self.pes.low else None

    @property
    def _most(self) -> int:
        return max(self.axes)

    def width(self, encoding: EncodingName) -> int:
        """Numbers for how many axes, PEs, a share per axis, and what is unrolled."""
        return 2 + self._most + (len(self.unroll) if encoding == "importance" else 1)

    def decode(self, numbers: Sequence[float], encoding: EncodingName) -> Wiring:
        """See :class:`Parameter`."""
        count = self.axes[_bin(numbers[0], len(self.axes))]
        pes = int(self.pes.number(self.pes.index(self.pes.decode(numbers[1:2], encoding))))
        sizes = self._sizes(pes, list(numbers[2 : 2 + count]))
        rest = numbers[2 + self._most :]
        if encoding == "importance":
            order = np.argsort(-np.asarray(rest, np.float64), kind="stable")[:count]
        else:
            order = np.array(self._selection(_bin(rest[0], math.perm(len(self.unroll), count)), count))
        return tuple((self.unroll[d], size) for d, size in zip(order.tolist(), sizes, strict=True))

    def _sizes(self, pes: int, shares: list[float]) -> list[int]:
        """Multiples of the step whose product is at most the number of PEs: the last axis takes what is left."""
        step, total = self.size_step, sum(shares)
        sizes: list[int] = []
        left = pes
        for i, share in enumerate(shares[:-1]):
            wanted = pes ** (share / total if total > 0 else 1 / len(shares))
            # The axes to come need at least a step each.
            most = left // step ** (len(shares) - 1 - i)
            size = min(max(step, step * round(wanted / step)), most // step * step)
            sizes.append(size)
            left //= size
        return [*sizes, left // step * step]

    def _selection(self, index: int, count: int) -> list[int]:
        """Number ``index`` of the ordered selections of ``count`` groups, in lexicographic order."""
        rest = list(range(len(self.unroll)))
        found = []
        for k in range(count):
            each = math.perm(len(rest) - 1, count - 1 - k)
            found.append(rest.pop(index // each))
            index %= each
        return found

    def encode(self, value: Wiring, encoding: EncodingName) -> list[float]:
        """See :class:`Parameter`."""
        count = len(value)
        product = math.prod(size for _, size in value)
        try:
            order = [self.unroll.index(tuple(dims)) for dims, _ in value]
            if count not in self.axes or len(set(order)) < count or self.problem(value):
                raise ValueError
            steps = math.ceil((product - self.pes.low) / self.pes.step - 1e-9)
            pes = int(self.pes.number(steps))
            logs = [math.log(size) for _, size in value[:-1]]
            logs.append(math.log(pes) - sum(logs))
            shares = [log / math.log(pes) if pes > 1 else 1.0 for log in logs]
            if self._sizes(pes, shares) != [size for _, size in value] or pes > self.pes.high:
                raise ValueError
        except ValueError:
            text = " x ".join(f"{'+'.join(dims)}:{size}" for dims, size in value)
            raise ValueError(f"{self.name} cannot be {text}") from None
        numbers = [_middle(self.axes.index(count), len(self.axes))]
        numbers += self.pes.encode(self.pes.number(steps), encoding)
        numbers += [*shares, *[0.5] * (self._most - count)]
        if encoding == "importance":
            ranks = {d: k for k, d in enumerate(order)}
            numbers += [1.0 - _middle(ranks.get(d, count), count + 1) for d in range(len(self.unroll))]
        else:
            rest, index = list(range(len(self.unroll))), 0
            for k, d in enumerate(order):
                index += rest.index(d) * math.perm(len(rest) - 1, count - 1 - k)
                rest.remove(d)
            numbers.append(_middle(index, math.perm(len(self.unroll), count)))
        return numbers

    def neighbour(self, value: Wiring, random: np.random.Generator) -> Wiring:
        """One axis of another size (the others then use what is left of the PEs), another group on an axis, two axes
        exchanged, or an axis more or less.

        Sizes that layers divide lie far apart, and all of them at the edge of the budget: no small change of numbers
        leads from one to the next. So new sizes are often powers of two, and the last axis is as long as it can be.
        """
        dims, sizes = [group for group, _ in value], [size for _, size in value]
        move, i = float(random.random()), int(random.integers(len(value)))
        unused = [group for group in self.unroll if group not in dims]
        if move < 0.2 and unused:
            dims[i] = unused[int(random.integers(len(unused)))]
        elif move < 0.3 and len(value) > 1:
            j = (i + 1 + int(random.integers(len(value) - 1))) % len(value)
            dims[i], dims[j] = dims[j], dims[i]
        elif move < 0.4 and unused and len(value) + 1 in self.axes:
            half = int(random.choice((2, 4, 8)))
            dims.insert(i, unused[int(random.integers(len(unused)))])
            sizes.insert(i, half)
            sizes[i + 1] //= half
        elif move < 0.5 and len(value) - 1 in self.axes:
            j = (i + 1) % len(value)
            sizes[j] *= sizes[i]
            del dims[i], sizes[i]
        else:
            how = float(random.random())
            if how < 0.35:
                sizes[i] += self.size_step * int(random.choice((-2, -1, 1, 2)))
            elif how < 0.7:
                sizes[i] = 2 ** max(0, round(math.log2(sizes[i])) + int(random.integers(-1, 2)))
            else:
                sizes[i] = round(sizes[i] * float(random.choice(_FACTORS)))
        if random.random() < 0.7:
            # Another axis takes what is left.
            j = (i + 1) % len(sizes)
            others = math.prod(size for k, size in enumerate(sizes) if k != j)
            sizes[j] = int(self.pes.number(self.pes.cardinality - 1)) // max(1, others)
        step = self.size_step
        return tuple((group, max(step, size // step * step)) for group, size in zip(dims, sizes, strict=True))

    @property
    def cardinality(self) -> int:
        """How many values it has."""
        return sum(len(shapes) * math.perm(len(self.unroll), count) for count, shapes in self._shapes().items())

    def _shapes(self) -> dict[int, list[tuple[int, ...]]]:
        """By number of axes, the sizes that some numbers stand for."""
        step = self.size_step
        found: dict[int, list[tuple[int, ...]]] = {}
        for count in self.axes:
            shapes: list[tuple[int, ...]] = []

            def extend(sizes: tuple[int, ...], count: int = count, shapes: list[tuple[int, ...]] = shapes) -> None:
                product = math.prod(sizes)
                if len(sizes) == count:
                    if self._reached(sizes):
                        shapes.append(sizes)
                    return
                room = int(self.pes.number(self.pes.cardinality - 1)) // (product * step ** (count - 1 - len(sizes)))
                for size in range(step, room + 1, step):
                    extend((*sizes, size))

            extend(())
            found[count] = shapes
        return found

    def _reached(self, sizes: tuple[int, ...]) -> bool:
        try:
            self.encode(tuple((self.unroll[i], size) for i, size in enumerate(sizes)), "index")
        except ValueError:
            return False
        return True

    def values(self) -> Iterator[Wiring]:
        """See :class:`Parameter`."""
        for count, shapes in self._shapes().items():
            for order in itertools.permutations(self.unroll, count):
                for shape in shapes:
                    yield tuple(zip(order, shape, strict=True))
