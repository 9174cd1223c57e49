"""What an operation is: one frozen object that answers whatever a part of the compiler asks about it.

Promises: every trait has a default that promises nothing, so an operation that says nothing of itself is
compiled as it stands and optimised by no pass. Leaves the operations themselves to the files of their groups,
and their values to `specc.interpret`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from enum import Enum
from typing import TYPE_CHECKING, Any

from specc.frozen import dataclass
from specc.types.axis import Type

if TYPE_CHECKING:
    from specc.ir.graph import Node
    from specc.ops.checker import Checker

Attrs = Mapping[str, Any]
Rule = Callable[["Checker", "Node", tuple[Type, ...]], Type]
"""The type that follows from a node's inputs, attributes and weights; the checker refuses what is wrong."""


class Effect(Enum):
    """What a value depends on, beside the node's inputs, attributes and weights."""

    PURE = "nothing else: computed once or twice, here or there, it is the same value"
    RANDOM = "a draw, anew for each example, position and node"
    STATISTICS = "all examples of the batch, and it may change what is remembered of them"
    UNKNOWN = "nobody has said"


class Positions(Enum):
    """Which positions of the inputs the value at one position is made of."""

    SAME = "those at that position, along every axis"
    ALONG = "those at that position, along every axis but those that its attributes name"
    ANY = "nobody has said"


class Origin(Enum):
    """Where a value without inputs comes from."""

    LITERAL = "the spec: a number"
    AXIS = "an axis: positions, lengths"
    PARAMETER = "a weight that no data chooses from"
    DATA = "a field of the example"


@dataclass(frozen=True)
class Traits:
    """What passes, planner, generator and pictures may rely on.

    pointwise: each channel at each position is made of that channel at that position of the inputs, which
        broadcast; no weights.
    commutative: the order of its inputs does not matter.
    terms: the value is the sum of the inputs times these numbers.
    moves_rows: each position has an input's vector from some position, unchanged.
    view: the value is in the first input's memory.
    keeps_axis: works along an axis that its value has, too.
    condition: 1 or 0 everywhere.
    passes_gradient: False where none flows to the inputs.
    activation: what stands between two layers (for pictures).
    bounds: a smallest and a largest number that every value lies between.
    portable: computed by what torch.export and ONNX know, whatever the sizes (specc_runtime.portable).
    """

    effect: Effect | Callable[[Attrs], Effect] = Effect.UNKNOWN
    positions: Positions = Positions.ANY
    source: Origin | None = None
    pointwise: bool = False
    commutative: bool = False
    terms: tuple[float, ...] | None = None
    moves_rows: bool = False
    view: bool = False
    keeps_axis: bool = False
    condition: bool = False
    passes_gradient: bool = True
    activation: bool = False
    bounds: tuple[float, float] | None = None
    portable: bool = False


NOTHING_KNOWN = Traits()


@dataclass(frozen=True)
class Slot:
    """An input or a weight of a node; `many` stands for any number of them."""

    name: str
    optional: bool = False
    many: bool = False


REQUIRED = object()


@dataclass(frozen=True)
class Option:
    """A static of a call. kind: "count" (integer >= 1), "copies" (of a layer), "int", "number", "rate"
    (0 <= p < 1), "bool", "sizes" (list of counts), "layer", "layer?" (or `none`), "init", "axis",
    "prediction" or "table" (a name), "text?" (in quotes, or `none`), "choice" (one of `choices`)."""

    name: str
    kind: str
    default: Any = REQUIRED
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Call:
    """How a spec writes it: `name(inputs, options, clauses)`.

    inputs: a name with `*` takes any number. clauses: for each clause that it takes (over, where, new, =, as,
    by, to) whether it must be there.
    """

    inputs: tuple[str, ...]
    options: tuple[Option, ...] = ()
    clauses: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Derivative:
    """inputs, output: whether it reads the values of the inputs, or the operation's own.

    python: of a pointwise operation, the derivative of each input as a text: `d` stands for the upstream
        gradient, `y` for the value, the inputs go by their names, attributes by theirs.
    c: the same for single numbers. out: the same written into `{out}`, which may be `{d}`; empty where there
        is no such form.
    """

    inputs: bool = False
    output: bool = False
    python: tuple[str, ...] = ()
    c: tuple[str, ...] = ()
    out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pointwise:
    """How it is computed channel by channel. In texts inputs and attributes go by their names in braces.

    infix, prefix: Python's operator. python: else, an expression of tensors that broadcast. over: the same
    written over the (first) input. out: the same written into `{out}`. c: an expression of single numbers, in
    terms of `real` and math.h.
    """

    infix: str = ""
    prefix: str = ""
    python: str = ""
    over: str = ""
    out: str = ""
    c: str = ""


@dataclass(frozen=True)
class Along:
    """How an operation along an axis is computed. In the texts {x} is the first input; attributes go by
    their names.

    channels: over channels. dense: over dimension {dim}. dense_where: over the positions at which {mask} is
    true. ragged: over packed rows, of which {x} has {rows}; {axis} is the axis, {where} is ", mask" or
    empty. An empty text says that there is no such form.
    """

    channels: str = ""
    dense: str = ""
    dense_where: str = ""
    ragged: str = ""


@dataclass(frozen=True)
class Called:
    """A call of a function with the inputs, aligned: `{function}(a, b)`."""

    function: str


Lowering = Pointwise | Along | Called


@dataclass(frozen=True)
class OpDef:
    """All that is known of an operation.

    group: of the language's reference, or `sources`, `recurrence`, `fused` for what no spec calls.
    doc: one sentence, or two.
    inputs, attrs, weights: those of its nodes; attrs with the type that each value has.
    rule: the type of a node.
    call: how a spec writes it; None for what only the compiler makes.
    derivative: what its derivative reads; None where nobody has said.
    lowering: how it is printed; None for what `emit` has a function of its own for.
    imports: the modules, beside torch and specc_runtime, that the texts name.
    meaning: the module that enters what `interpret` computes for it.
    fold: what it makes of numbers that are known while compiling.
    neutral: the second input that changes nothing.
    examples: what the generator of random programs writes, with `{x}` for a value (and `{y}` for another);
        without any it writes a call with nothing but the inputs.
    symbol: in pictures. drawn: whether they show it.
    noun: what a value that has no name in the spec is called in the emitted source.
    unportable: why no model that has it can be exported, of an operation that is not portable.
    """

    name: str
    group: str
    doc: str
    inputs: tuple[Slot, ...]
    rule: Rule
    attrs: Mapping[str, Any] = field(default_factory=dict)
    weights: tuple[Slot, ...] = ()
    traits: Traits = NOTHING_KNOWN
    call: Call | None = None
    derivative: Derivative | None = None
    lowering: Lowering | None = None
    imports: tuple[str, ...] = ()
    meaning: str = ""
    fold: Callable[..., float] | None = None
    neutral: float | None = None
    examples: tuple[str, ...] = ()
    symbol: str = ""
    drawn: bool = True
    noun: str = ""
    unportable: str = "its definition does not say that it is portable"

    def effect(self, attrs: Attrs) -> Effect:
        """Return what a node with these attributes depends on beside its inputs, attributes and weights."""
        known = self.traits.effect
        return known if isinstance(known, Effect) else known(attrs)


def fits(slots: tuple[Slot, ...], count: int) -> bool:
    """Return whether this number of values fills the slots."""
    least = sum(not (s.optional or s.many) for s in slots)
    return least <= count and (count <= len(slots) or any(s.many for s in slots))


def slots(text: str) -> tuple[Slot, ...]:
    """Return the slots of "a b", "x where?" or "a*": a `?` after what may be left out, a `*` after any
    number."""
    return tuple(Slot(n.rstrip("?*"), n.endswith("?"), n.endswith("*")) for n in text.split())
