"""A lowered program: functions of kernels over values that lie in buffers.

A value is a tensor [rows, *static axes, width]: its shape says which rows it has, and `base` in whose buffer
it lies if it has none of its own. A kernel is one call: of torch or of specc_runtime.ops. Its arguments are
values, rows, axes, weights, fields of the batch, other functions, numbers and texts, in lists and tuples too.

Promises: every decision that makes a model fast is in it; `emit` prints it. `verify` checks its invariants.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from typing import Any, Literal

from specc import frozen
from specc.frozen import dataclass
from specc.ir.graph import Graph
from specc.lower.choices import Choice
from specc.lower.shape import Domain, Shape
from specc.ops.products import Product, Slab
from specc.source import Span
from specc.types.axis import Axis

# Numbers; conditions; or one number that is known before anything runs.
Dtype = Literal["real", "mask", "number"]


@dataclass(eq=False)
class Value:
    """A tensor, or a number that is known while compiling.

    names: names for its local, the best first. given: whether the spec gave the name. after: a value whose
        local's name is added to it.
    base: the value in whose buffer it lies: it is a view of it, or `written` over it in place.
    held: whether a local holds it until its function ends; else it is freed when its only reader has read it.
    kept: whether something besides kernels reads it by its name.
    """

    id: int
    shape: Shape
    width: int
    device: str | None = None
    dtype: Dtype = "real"
    number: float = 0.0
    span: Span | None = None
    names: tuple[str, ...] = ()
    given: bool = False
    after: Value | None = None
    base: Value | None = None
    written: bool = False
    held: bool = False
    kept: bool = False

    @property
    def buffer(self) -> Value:
        """The value whose buffer this one lies in."""
        return self if self.base is None else self.base.buffer


@frozen.dataclass(frozen=True)
class Ranking:
    """Which positions of an axis were chosen: the value that says it, at which rows, and the axis that they
    are along."""

    value: Value
    rows: Rows
    axis: Axis


@frozen.dataclass(frozen=True)
class Rows:
    """The rows of a domain in the batch's layout on a device. ranked: the choices that its lengths depend on,
    in the order in which they are made."""

    domain: Domain
    device: str | None = None
    ranked: tuple[Ranking, ...] = ()


@frozen.dataclass(frozen=True)
class Position:
    """The position of each row along an axis; or, with `length`, how many there are."""

    rows: Rows
    axis: Axis
    length: bool = False


@frozen.dataclass(frozen=True)
class Field:
    """What a batch holds of a field: a column of ids or numbers, or bags of ids. values: of a bag, all its
    ids. label: the labels of a prediction."""

    path: str
    kind: Literal["column", "bag", "values", "label"]
    device: str | None = None


@frozen.dataclass(frozen=True)
class Parameter:
    """A weight by its path; `layer`: the layer that holds the weights below a path."""

    path: str
    layer: bool = False


@frozen.dataclass(frozen=True)
class Matrix:
    """The stacked matrices of some products of one input of `width` channels; with `bias`, their biases."""

    products: tuple[Product, ...]
    width: int
    bias: bool = False


@frozen.dataclass(frozen=True)
class Heads:
    """The matrices of heads, each for an input on its left: [heads, in, out]; [in, out] if not `apart`."""

    slabs: tuple[Slab, ...]
    transposed: bool
    apart: bool


@frozen.dataclass(frozen=True)
class LookedUp:
    """What a value was looked up from, for a kernel that knows better than to read all of it: for each part a
    table, its ids, and how a bag becomes one. The value itself is another operand."""

    parts: tuple[tuple[Any, ...], ...]


@frozen.dataclass(frozen=True)
class Device:
    """A device of the spec, by name."""

    name: str


@frozen.dataclass(frozen=True)
class Symbol:
    """A name of specc_runtime.ops."""

    name: str


@dataclass(frozen=True, eq=False)
class Derived:
    """The derivative of an operation with regard to one of its inputs, by index. args: what each operand that
    follows is: `d` (the upstream gradient), `y` (the operation's result), or an input, by name."""

    op: str
    input: int
    args: tuple[str, ...]
    attrs: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Record:
    """Arguments that belong together, as a class or a function of specc_runtime.ops takes them."""

    name: str
    args: tuple[Any, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(eq=False)
class Kernel:
    """One call. results: None for one that nothing reads. over: the operand in whose place the result is
    written. within: whether that is of a product, which does this, too, while it is in the cache. why: why
    a loop has no faster kernel."""

    name: str
    args: tuple[Any, ...]
    results: tuple[Value | None, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    span: Span | None = None
    over: Value | None = None
    within: bool = False
    why: str = ""

    @property
    def result(self) -> Value:
        (one,) = self.results
        assert one is not None
        return one

    def parts(self) -> Iterator[Any]:
        """All arguments, those within others too."""
        return iter(_flat(self.options.values(), _flat(self.args, [])))

    def operands(self) -> Iterator[Value]:
        """The values it reads; functions that it calls read theirs besides."""
        return (x for x in self.parts() if isinstance(x, Value))

    def functions(self) -> Iterator[Function]:
        return (x for x in self.parts() if isinstance(x, Function))


# What arguments are most often, and is one part.
_PLAIN = (str, int, float, bool, type(None), Value)


def _flat(args: Iterable[Any], found: list[Any]) -> list[Any]:
    for arg in args:
        kind = type(arg)
        if kind in _PLAIN:
            found.append(arg)
        elif isinstance(arg, (list, tuple)):
            _flat(arg, found)
        elif kind is Record:
            _flat(arg.args, found)
            _flat(arg.options.values(), found)
        else:
            found.append(arg)
            rows = arg.rows if kind is Position else arg
            if type(rows) is Rows:
                found += [ranking.value for ranking in rows.ranked]
    return found


@dataclass(frozen=True, eq=False)
class Block:
    """Kernels of scoring in C. rows: of a chain, `most` of these rows at a time go through all of its
    kernels; None for one kernel by itself. results: of a chain, the values by row that others read."""

    kernels: list[Kernel]
    rows: Domain | None = None
    results: list[Value] = field(default_factory=list)
    most: int = 0


@dataclass(eq=False)
class Function:
    """names: names for it, the best first. groups: parameters that are tuples of values, by name. results:
    with `keys` they are a dictionary; returned: the same as nested tuples, if they are not flat. closed:
    whether it reads nothing of the function around it. blocks: of a part of predictions, its kernels as
    scoring in C computes them."""

    names: tuple[str, ...]
    kernels: list[Kernel] = field(default_factory=list)
    parameters: list[Value] = field(default_factory=list)
    results: list[Value] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    span: Span | None = None
    closed: bool = False
    groups: dict[str, list[Value]] = field(default_factory=dict)
    returned: tuple[Any, ...] | None = None
    blocks: list[Block] = field(default_factory=list)


@dataclass(eq=False)
class Parts:
    """Predictions in two steps. request: gives the values that `candidate` reads besides the batch, the
    state, which are its parameters. pieces: from which size on the candidates are computed in pieces; None
    where they have to be computed together."""

    request: Function
    candidate: Function
    widths: Mapping[Domain, int] = field(default_factory=dict)
    """By rows, how many numbers a row of the candidates' values has at most."""
    pieces: Choice | None = None

    @property
    def how(self) -> str:
        """How many candidates are computed at once."""
        return "all at once" if self.pieces is None else str(self.pieces)


@dataclass(eq=False)
class Program:
    """shared: the function `values`, whose results all others read; None without one. outputs: functions for
    single results that are of the request alone, or of the candidate alone."""

    graph: Graph
    shared: Function | None
    forward: Function
    losses: Function
    attention: Function | None
    outputs: list[Function]
    parts: Parts | None = None
    """Of kernels that stand in `shared` and `forward`: there once buffers are settled."""

    @property
    def functions(self) -> list[Function]:
        every = (self.shared, self.forward, self.losses, self.attention, *self.outputs)
        return [f for f in every if f is not None]


def walk(function: Function) -> Iterator[Kernel]:
    """Every kernel, those of functions that a kernel calls before it."""
    for kernel in function.kernels:
        for inner in kernel.functions():
            yield from walk(inner)
        yield kernel
