"""From what the grammar's rules take to nodes of the tree.

Promises: one function a rule, by the rule's name in the grammar; each makes its node and decides nothing,
except for the values of literals (E0105, E0106). Leaves the order of calls to the parser.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from specc.report import Fix, Report
from specc.source import Source, Span
from specc.syntax import tree
from specc.syntax.token import Token

Kids = list[Any]
_GREATEST = 2**63 - 1
_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\"}


class Builder:
    """`rules[name](children, span)` is the node of a rule; the last argument of a statement is its doc."""

    def __init__(self, source: Source, report: Report) -> None:
        self.source = source
        self.report = report
        self.rules: dict[str, Callable[[Kids, Span], Any]] = {
            name[1:]: getattr(self, name) for name in dir(self) if name[:1] == "_" and name[1:2].isalpha()
        }

    def ident(self, token: Token) -> tree.Ident:
        return tree.Ident(token.text, span=Span(self.source, token.start, token.stop))

    def span(self, token: Token) -> Span:
        return Span(self.source, token.start, token.stop)

    def text(self, token: Token) -> tree.Text:
        span = self.span(token)

        def unescape(found: re.Match[str]) -> str:
            if found[1] not in _ESCAPES:
                place = Span(self.source, token.start + 1 + found.start(), token.start + 1 + found.end())
                self.report.error(
                    "E0106",
                    f"`{found[0]}` stands for no character",
                    place,
                    help='a text knows `\\"`, `\\\\`, `\\n` and `\\t`; write a backslash as `\\\\`',
                )
            return _ESCAPES.get(found[1], found[1])

        return tree.Text(_ESCAPE.sub(unescape, token.text[1:-1]), span=span)

    # ------------------------------------------------------------- literals

    def _number(self, kids: Kids, span: Span) -> tree.Number:
        written = kids[0].text
        digits = written.replace("_", "")
        value: int | float
        if digits.isdecimal():
            value = int(digits) if len(digits) < 20 else _GREATEST + 1
        else:
            value = float(digits)
        if value > _GREATEST if isinstance(value, int) else math.isinf(value):
            self.report.error(
                "E0105",
                "this number is too large",
                span,
                label="more than 64 bits hold",
                help=f"whole numbers go up to {_GREATEST}, others up to 1.8e308",
            )
            value = 1
        return tree.Number(value, written, span=span)

    def _text(self, kids: Kids, span: Span) -> tree.Text:
        return self.text(kids[0])

    def _truth(self, kids: Kids, span: Span) -> tree.Bool:
        return tree.Bool(kids[0].text == "true", span=span)

    # ---------------------------------------------------------- expressions

    def _group(self, kids: Kids, span: Span) -> Any:
        return kids[0]

    def _list(self, kids: Kids, span: Span) -> tree.List:
        return tree.List(tuple(k for k in kids if k is not None), span=span)

    def _index(self, kids: Kids, span: Span) -> tree.Index:
        return tree.Index(kids[0], kids[1], span=span)

    def _quantity(self, kids: Kids, span: Span) -> tree.Quantity:
        return tree.Quantity(kids[0], kids[1].text.removesuffix("s"), span=span)

    def _reference(self, kids: Kids, span: Span) -> tree.Ref:
        return tree.Ref(kids[0].text, span=span)

    def _attribute(self, kids: Kids, span: Span) -> tree.Attribute:
        base = tree.Ref(kids[0].text, span=self.span(kids[0]))
        return tree.Attribute(base, self.ident(kids[1]), span=span)

    def _call(self, kids: Kids, span: Span) -> tree.Call:
        callee, arguments, into = kids
        if into is None:
            return tree.Call(callee, arguments, span=span)
        mark, behind = into
        if callee != tree.Ref("cross"):
            self.report.error(
                "E0103",
                "unexpected `;`",
                self.span(mark),
                label="does not fit here",
                why="`;` parts inputs from statics where a block is declared, not where it is called",
                help="write `,`",
                fix=Fix(self.span(mark), ",", "write `,`"),
            )
            return tree.Call(callee, (*arguments, *behind), span=span)
        table, *more = behind
        if more or not isinstance(table, tree.Positional):
            self.report.error(
                "E0103",
                "behind `;` stands the one table that a cross goes into",
                behind[-1].span,
                label="does not fit here",
                expected="cross(a, b; hash(100_000, 8))",
            )
        if isinstance(table, tree.Positional):
            place = Span(self.source, mark.start, table.span.stop)
            arguments = (*arguments, tree.Into(table.value, span=place))
        return tree.Call(callee, arguments, span=span)

    def _arguments(self, kids: Kids, span: Span) -> tuple[Any, ...]:
        return tuple(k for k in kids if k is not None)

    def _pipe(self, kids: Kids, span: Span) -> tree.Pipe:
        return tree.Pipe(kids[0], kids[1], span=span)

    def _if(self, kids: Kids, span: Span) -> tree.If:
        return tree.If(*kids, span=span)

    def _binary(self, kids: Kids, span: Span) -> tree.Binary:
        return tree.Binary(kids[1].text, kids[0], kids[2], span=span)

    def _unary(self, kids: Kids, span: Span) -> tree.Unary:
        return tree.Unary(kids[0].text, kids[1], span=span)

    # ------------------------------------------------------------ arguments

    def _positional(self, kids: Kids, span: Span) -> tree.Positional:
        return tree.Positional(kids[0], span=span)

    def _keyword(self, kids: Kids, span: Span) -> tree.Keyword:
        return tree.Keyword(self.ident(kids[0]), kids[1], span=span)

    def _over(self, kids: Kids, span: Span) -> tree.Over:
        return tree.Over(self.ident(kids[0]), self._name(kids[1]), kids[2], span=span)

    def _at(self, kids: Kids, span: Span) -> tree.Over:
        return tree.Over(self.ident(kids[0]), at=kids[1], span=span)

    def _as(self, kids: Kids, span: Span) -> tree.As:
        return tree.As(self.ident(kids[0]), span=span)

    def _by(self, kids: Kids, span: Span) -> tree.By:
        return tree.By(kids[0], span=span)

    def _to(self, kids: Kids, span: Span) -> tree.To:
        return tree.To(self.ident(kids[0]), self.ident(kids[1]), span=span)

    def _into(self, kids: Kids, span: Span) -> tuple[Token, tuple[Any, ...]]:
        return kids[0], tuple(k for k in kids if isinstance(k, tree.Node))

    def _from(self, kids: Kids, span: Span) -> tree.From:
        return tree.From(self.text(kids[0]), span=span)

    # --------------------------------------------------------- declarations

    def _name(self, token: Token | None) -> tree.Ident | None:
        return None if token is None else self.ident(token)

    def _column(self, token: Token | None) -> tree.Text | None:
        return None if token is None else self.text(token)

    def _edition(self, kids: Kids, span: Span) -> Token:
        token: Token = kids[0]
        if token.text != "1":
            self.report.error(
                "E0114",
                f"there is no edition {token.text} of the language",
                self.span(token),
                label="unknown to this compiler",
                help="write `edition 1`, or update the compiler",
            )
        return token

    def _header(self, kids: Kids, span: Span) -> tuple[str, tree.Ident]:
        return kids[0].text, self.ident(kids[1])

    def _use(self, kids: Kids, span: Span, doc: str | None) -> tree.Use:
        return tree.Use(self.ident(kids[0]), self._name(kids[1]), self._name(kids[2]), span=span, doc=doc)

    def _extends(self, kids: Kids, span: Span, doc: str | None) -> tree.Extends:
        return tree.Extends(self.ident(kids[0]), _kept(kids[1:]), span=span, doc=doc)

    def _drop(self, kids: Kids, span: Span, doc: str | None) -> tree.Drop:
        return tree.Drop(tuple(self.ident(k) for k in kids), span=span, doc=doc)

    def _param(self, kids: Kids, span: Span, doc: str | None) -> tree.Param:
        return tree.Param(self.ident(kids[0]), *kids[1:], span=span, doc=doc)

    def _choices(self, kids: Kids, span: Span) -> tree.Choices:
        return tree.Choices(tuple(kids), span=span)

    def _range(self, kids: Kids, span: Span) -> tree.Range:
        return tree.Range(kids[0], kids[1], span=span)

    def _require(self, kids: Kids, span: Span, doc: str | None) -> tree.Require:
        return tree.Require(kids[0], self._column(kids[1]), span=span, doc=doc)

    def _table(self, kids: Kids, span: Span, doc: str | None) -> tree.Table:
        return tree.Table(self.ident(kids[0]), kids[1], span=span, doc=doc)

    def _space(self, kids: Kids, span: Span, doc: str | None) -> tree.Space:
        axes = kids[1] or ()
        return tree.Space(self.ident(kids[0]), axes, self.ident(kids[2]), kids[3], span=span, doc=doc)

    def _space_axes(self, kids: Kids, span: Span) -> tuple[tree.AxisDecl, ...]:
        return tuple(kids)

    def _bounded_axis(self, kids: Kids, span: Span) -> tree.AxisDecl:
        return tree.AxisDecl(self.ident(kids[0]), bound=kids[1], span=span)

    def _like_axis(self, kids: Kids, span: Span) -> tree.AxisDecl:
        return tree.AxisDecl(self.ident(kids[0]), like=True, span=span)

    def _fields(self, kids: Kids, span: Span) -> tuple[tree.Field, ...]:
        return _kept(kids)

    def _field(self, kids: Kids, span: Span) -> tree.Field:
        return tree.Field(self.ident(kids[0]), kids[1], self._column(kids[2]), span=span)

    def _learned(self, kids: Kids, span: Span, doc: str | None) -> tree.Learned:
        ident, *axes, width, init = kids
        return tree.Learned(self.ident(ident), tuple(axes), width, init, span=span, doc=doc)

    def _fixed(self, kids: Kids, span: Span, doc: str | None) -> tree.Learned:
        ident, *axes, width, init = kids
        return tree.Learned(self.ident(ident), tuple(axes), width, init, True, span=span, doc=doc)

    def _learned_axis(self, kids: Kids, span: Span) -> tree.LearnedAxis:
        return tree.LearnedAxis(self.ident(kids[0]), kids[1], span=span)

    def _layer(self, kids: Kids, span: Span, doc: str | None) -> tree.Layer:
        return tree.Layer(self.ident(kids[0]), kids[1], span=span, doc=doc)

    def _binding(self, kids: Kids, span: Span, doc: str | None) -> tree.Binding:
        return tree.Binding(self.ident(kids[0]), kids[1], span=span, doc=doc)

    def _unpack(self, kids: Kids, span: Span, doc: str | None) -> tree.Unpack:
        *names, value = kids
        return tree.Unpack(tuple(self.ident(k) for k in names), value, span=span, doc=doc)

    def _predict(self, kids: Kids, span: Span, doc: str | None) -> tree.Predict:
        ident, kind, column, condition, value = kids
        return tree.Predict(
            self.ident(ident), kind, value, self._column(column), condition, span=span, doc=doc
        )

    def _condition(self, kids: Kids, span: Span) -> tree.Condition:
        return tree.Condition(kids[0].text, kids[1], span=span)

    def _output(self, kids: Kids, span: Span, doc: str | None) -> tree.Output:
        return tree.Output(self.ident(kids[0]), kids[1], span=span, doc=doc)

    def _loss(self, kids: Kids, span: Span, doc: str | None) -> tree.Loss:
        return tree.Loss(self.ident(kids[0]), kids[1], span=span, doc=doc)

    def _device(self, kids: Kids, span: Span, doc: str | None) -> tree.Device:
        return tree.Device(self.ident(kids[0]), self.text(kids[1]), span=span, doc=doc)

    def _place(self, kids: Kids, span: Span, doc: str | None) -> tree.Place:
        *names, device = kids
        return tree.Place(tuple(names), self.ident(device), span=span, doc=doc)

    def _placed(self, kids: Kids, span: Span) -> tree.Ident:
        name = kids[0].text if kids[1] is None else f"{kids[0].text}.{kids[1].text}"
        return tree.Ident(name, span=span)

    def _train(self, kids: Kids, span: Span, doc: str | None) -> tree.Train:
        return tree.Train(_kept(kids), span=span, doc=doc)

    def _entry(self, kids: Kids, span: Span) -> tree.Entry:
        return tree.Entry(self.ident(kids[0]), kids[1], span=span)

    # --------------------------------------------------------------- blocks

    def _block(self, kids: Kids, span: Span, doc: str | None) -> tree.Block:
        kind, ident, inputs, statics, results, body = kids
        return tree.Block(
            kind.text, self.ident(ident), inputs or (), statics or (), results, body, span=span, doc=doc
        )

    def _inputs(self, kids: Kids, span: Span) -> tuple[tree.Input, ...]:
        return tuple(kids)

    def _input(self, kids: Kids, span: Span) -> tree.Input:
        return tree.Input(self.ident(kids[0]), kids[1], span=span)

    def _statics(self, kids: Kids, span: Span) -> tuple[tree.Static, ...]:
        return tuple(kids)

    def _static(self, kids: Kids, span: Span) -> tree.Static:
        return tree.Static(self.ident(kids[0]), *kids[1:], span=span)

    def _type(self, kids: Kids, span: Span) -> tree.TypeExpr:
        *axes, width = kids
        return tree.TypeExpr(tuple(self.ident(a) for a in axes), width, span=span)

    def _types(self, kids: Kids, span: Span) -> tuple[tree.TypeExpr, ...]:
        return tuple(kids)

    def _block_body(self, kids: Kids, span: Span) -> tuple[tree.BodyStatement, ...]:
        return _kept(kids)

    def _return(self, kids: Kids, span: Span, doc: str | None) -> tree.Return:
        return tree.Return(tuple(kids), span=span, doc=doc)

    def _scan(self, kids: Kids, span: Span, doc: str | None) -> tree.Scan:
        states, axis, backward, body = kids
        return tree.Scan(states, self.ident(axis), backward is not None, body, span=span, doc=doc)

    def _states(self, kids: Kids, span: Span) -> tuple[tree.State, ...]:
        return tuple(kids)

    def _state(self, kids: Kids, span: Span) -> tree.State:
        return tree.State(self.ident(kids[0]), kids[1], kids[2], span=span)

    def _backward(self, kids: Kids, span: Span) -> bool:
        return True

    def _scan_body(self, kids: Kids, span: Span) -> tuple[Any, ...]:
        return _kept(kids)

    def _next(self, kids: Kids, span: Span, doc: str | None) -> tree.Next:
        return tree.Next(self.ident(kids[0]), kids[1], span=span, doc=doc)


def _kept(kids: Kids) -> tuple[Any, ...]:
    """Return the children that could be read."""
    return tuple(kid for kid in kids if kid is not None)
