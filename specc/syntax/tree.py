"""The syntax tree: frozen nodes, one to one with the grammar.

Promises: a node says what was written, nothing of what it means; every node has the span it
was read from, and spans do not take part in equality (so print-then-parse is the identity).
"""

from __future__ import annotations

from dataclasses import field
from functools import cached_property
from typing import Any

from specc.frozen import dataclass
from specc.source import NOWHERE, Span


@dataclass(frozen=True, kw_only=True)
class Node:
    span: Span = field(default=NOWHERE, compare=False, repr=False)

    @cached_property
    def memo(self) -> dict[Any, Any]:
        """What later stages have found out from this text alone, so that it is found out once."""
        return {}


@dataclass(frozen=True)
class Ident(Node):
    """A name as written, wherever a name stands."""

    name: str


# ---------------------------------------------------------------- expressions


@dataclass(frozen=True)
class Number(Node):
    """`64`, `63_001`, `0.5`, `1e-3`; an int unless written with a point or an exponent."""

    value: int | float
    text: str = field(compare=False)


@dataclass(frozen=True)
class Text(Node):
    value: str


@dataclass(frozen=True)
class Bool(Node):
    value: bool


@dataclass(frozen=True)
class Ref(Node):
    """A bare name."""

    name: str

    @cached_property
    def called(self) -> Call:
        """The name as a layer: a call that lacks its input."""
        return Call(self, (), span=self.span)


@dataclass(frozen=True)
class Attribute(Node):
    """`space.field`, `library.block`."""

    base: Ref
    ident: Ident


@dataclass(frozen=True)
class List(Node):
    items: tuple[Expr, ...]


@dataclass(frozen=True)
class Index(Node):
    """`sizes[0]`: an item of a list, counted from 0."""

    value: Ref | Index
    index: Expr


@dataclass(frozen=True)
class Quantity(Node):
    """`2 epochs`, `1000 steps`: a number, or a list of them, of a unit. An argument as a whole."""

    value: Expr
    unit: str  # "epoch" | "step"


@dataclass(frozen=True)
class Unary(Node):
    op: str  # "-" | "not"
    operand: Expr


@dataclass(frozen=True)
class Binary(Node):
    op: str  # + - * / % ^ == != < <= > >= and or
    left: Expr
    right: Expr


@dataclass(frozen=True)
class If(Node):
    """`if a then b else c`; the condition is static."""

    condition: Expr
    then: Expr
    other: Expr


@dataclass(frozen=True)
class Call(Node):
    callee: Ref | Attribute
    args: tuple[Argument, ...]


@dataclass(frozen=True)
class Pipe(Node):
    """`left |> right`; `right` is a `Call`, or a bare name (`x |> relu`)."""

    left: Expr
    right: Call | Ref | Attribute

    @cached_property
    def target(self) -> Call:
        """`right` as a call: `x |> relu` is `x |> relu()`."""
        return self.right if isinstance(self.right, Call) else Call(self.right, (), span=self.right.span)


Expr = Number | Text | Bool | Ref | Attribute | List | Index | Quantity | Unary | Binary | If | Call | Pipe


# ------------------------------------------------------------------ arguments


@dataclass(frozen=True)
class Positional(Node):
    value: Expr


@dataclass(frozen=True)
class Keyword(Node):
    ident: Ident
    value: Expr


@dataclass(frozen=True)
class Over(Node):
    """`over t`, `over t as u`, `over s where s <= t`, `over k = index(t)`."""

    axis: Ident
    new: Ident | None = None
    where: Expr | None = None
    at: Expr | None = None


@dataclass(frozen=True)
class As(Node):
    """`as head`."""

    axis: Ident


@dataclass(frozen=True)
class By(Node):
    """`by score`."""

    value: Expr


@dataclass(frozen=True)
class To(Node):
    """`t to s`."""

    old: Ident
    new: Ident


@dataclass(frozen=True)
class From(Node):
    """`from "column"` among an encoding's options."""

    column: Text


@dataclass(frozen=True)
class Into(Node):
    """`; hash(100, 8)` behind what is crossed: the table it goes into."""

    value: Expr


Argument = Positional | Keyword | Over | As | By | To | From | Into


# ---------------------------------------------------------------- declarations


@dataclass(frozen=True)
class Choices(Node):
    """`{4, 8, 16}`; items are numbers, texts, bools, lists, or bare names (symbols)."""

    items: tuple[Expr, ...]


@dataclass(frozen=True)
class Range(Node):
    """`lo .. hi`, both ends included."""

    low: Expr
    high: Expr


Domain = Choices | Range


@dataclass(frozen=True, kw_only=True)
class Statement(Node):
    """`doc` is the comment block directly above, without `#` and one leading space."""

    doc: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Use(Statement):
    """`use lib`, `use lib.block as b`."""

    library: Ident
    member: Ident | None = None
    alias: Ident | None = None


@dataclass(frozen=True)
class Extends(Statement):
    """`extends NAME { … }`."""

    base: Ident
    body: tuple[Declaration, ...]


@dataclass(frozen=True)
class Drop(Statement):
    """`drop A, B` inside `extends`: declarations of the base that do not stay."""

    names: tuple[Ident, ...]


@dataclass(frozen=True)
class Param(Statement):
    ident: Ident
    default: Expr
    domain: Domain | None = None


@dataclass(frozen=True)
class Require(Statement):
    condition: Expr
    message: Text | None = None


@dataclass(frozen=True)
class Table(Statement):
    ident: Ident
    encoding: Expr


@dataclass(frozen=True)
class AxisDecl(Node):
    """`t <= 100` (`bound`) or `like t` (`like`, then `ident` is the axis shared)."""

    ident: Ident
    bound: Expr | None = None
    like: bool = False


@dataclass(frozen=True)
class Field(Node):
    """`item: items`, `age: bucket([18, 25], 8)`, `price: number(log1p) from "cost"`."""

    ident: Ident
    encoding: Expr  # Call, or Ref to a table
    column: Text | None = None


@dataclass(frozen=True)
class Space(Statement):
    ident: Ident
    axes: tuple[AxisDecl, ...]
    role: Ident
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class LearnedAxis(Node):
    """`session` (an axis of a space) or `slot = 4` (a new static axis)."""

    ident: Ident
    size: Expr | None = None


@dataclass(frozen=True)
class Learned(Statement):
    """`learned w_step[step, 1]`, `learned bias[1] = zeros`; `fixed powers[4] = [1, 2, 4, 8]`, which stays."""

    ident: Ident
    axes: tuple[LearnedAxis, ...]
    width: Expr
    init: Expr | None = None
    fixed: bool = False


@dataclass(frozen=True)
class Layer(Statement):
    ident: Ident
    value: Expr


@dataclass(frozen=True)
class TypeExpr(Node):
    """`[t, d]`: axis variables, then a width (a variable, a number or static arithmetic)."""

    axes: tuple[Ident, ...]
    width: Expr


@dataclass(frozen=True)
class Input(Node):
    ident: Ident
    type: TypeExpr


@dataclass(frozen=True)
class Static(Node):
    ident: Ident
    default: Expr | None = None
    domain: Domain | None = None


@dataclass(frozen=True)
class Block(Statement):
    kind: str  # "block" | "encoder" | "attention"
    ident: Ident
    inputs: tuple[Input, ...]
    statics: tuple[Static, ...]
    results: tuple[TypeExpr, ...]
    body: tuple[BodyStatement, ...]

    @property
    def result(self) -> TypeExpr:
        """The type of its result, or of the first."""
        return self.results[0]


@dataclass(frozen=True)
class Binding(Statement):
    ident: Ident
    value: Expr


@dataclass(frozen=True)
class Unpack(Statement):
    """`x, y = block(…)`: the results of a block that has several."""

    idents: tuple[Ident, ...]
    value: Expr


@dataclass(frozen=True)
class Return(Statement):
    """`return a`, `return a, b`."""

    values: tuple[Expr, ...]

    @property
    def value(self) -> Expr:
        """The result, or the first."""
        return self.values[0]


@dataclass(frozen=True)
class State(Node):
    """`h[n]` or `h[n] = start`."""

    ident: Ident
    width: Expr
    init: Expr | None = None


@dataclass(frozen=True)
class Next(Statement):
    ident: Ident
    value: Expr


@dataclass(frozen=True)
class Scan(Statement):
    """`scan h[n], c[n] = start over t backward { … }`."""

    states: tuple[State, ...]
    axis: Ident
    backward: bool
    body: tuple[Binding | Unpack | Next | Layer, ...]


@dataclass(frozen=True)
class Condition(Node):
    """`>= 4` behind a label's column."""

    op: str  # == != < <= > >=
    value: Expr


@dataclass(frozen=True)
class Predict(Statement):
    """`predict click: binary [from "label" [>= 4]] = …`."""

    ident: Ident
    kind: Expr  # Ref("binary"), Ref("real"), Call("class", n)
    value: Expr
    column: Text | None = None
    condition: Condition | None = None


@dataclass(frozen=True)
class Output(Statement):
    """`output NAME = EXPRESSION`: a result that has no label."""

    ident: Ident
    value: Expr


@dataclass(frozen=True)
class Loss(Statement):
    ident: Ident
    value: Expr


@dataclass(frozen=True)
class Device(Statement):
    ident: Ident
    target: Text


@dataclass(frozen=True)
class Place(Statement):
    """`place A, B on NAME`; `names` is empty for `place rest on NAME`."""

    names: tuple[Ident, ...]
    device: Ident


@dataclass(frozen=True)
class Entry(Node):
    ident: Ident
    value: Expr


@dataclass(frozen=True)
class Train(Statement):
    entries: tuple[Entry, ...]


BodyStatement = Binding | Unpack | Return | Scan | Layer | Learned | Require
Declaration = (
    Use | Extends | Drop | Param | Require | Table | Space | Learned | Layer | Block
    | Binding | Unpack | Predict | Output | Loss | Device | Place | Train
)  # fmt: skip


@dataclass(frozen=True)
class Comment(Node):
    """A comment as written, `#` included; `trailing` if code stands before it on its line."""

    text: str
    trailing: bool


@dataclass(frozen=True)
class File(Node):
    """A whole file; `body` starts with `Extends` where the model extends another."""

    edition: int | None
    kind: str  # "model" | "library"
    ident: Ident
    body: tuple[Declaration, ...]
    doc: str | None = field(default=None, compare=False)
    comments: tuple[Comment, ...] = field(default=(), compare=False, repr=False)
