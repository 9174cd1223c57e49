"""From declarations and the statements in them to documents.

Promises: `cells` gives what stands on a statement's line, parted where neighbours are aligned; `head` and
`body` the same for those that hold others in `{ }`. Leaves space, order and alignment to `print`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from specc.frozen import dataclass
from specc.syntax import tree
from specc.syntax.documents import Documents, text
from specc.syntax.pretty import SPACE, Doc, Indent, group, lines

Item = tree.Statement | tree.Field | tree.Entry
Holder = tree.Block | tree.Scan | tree.Extends | tree.Space | tree.Train


@dataclass(frozen=True)
class Body:
    """What stands between the braces, and where the text of it starts and stops."""

    items: Sequence[Item]
    start: int
    stop: int


class Statements(Documents):
    def cells(self, item: Item) -> tuple[Doc, ...]:
        """Return a statement without a body, in the cells that neighbours of its kind share columns of."""
        match item:
            case tree.Use(library=library, member=member, alias=alias):
                named = f".{member.name}" if member else ""
                return (f"use {library.name}{named}" + (f" as {alias.name}" if alias else ""),)
            case tree.Drop(names=names):
                return (("drop ", self.names(names)),)
            case tree.Param(ident=ident, default=default, domain=domain):
                cells = (f"param {ident.name}", ("= ", self.value(default)))
                return (*cells, ("in ", self.domain(domain))) if domain else cells
            case tree.Require(condition=condition, message=message):
                told = f" {text(message.value)}" if message else ""
                needed = ("require ", self.value(condition))
                # Breaking the condition makes no room for the message.
                alone = lines(needed)
                return ((alone[0].code if len(alone) == 1 else needed, told),)
            case tree.Table(ident=ident, encoding=encoding):
                return (f"table {ident.name}", ("= ", self.value(encoding)))
            case tree.Learned():
                return self.learned(item)
            case tree.Layer(ident=ident, value=value):
                return (f"layer {ident.name}", ("= ", self.value(value)))
            case tree.Binding(ident=ident, value=value) | tree.Entry(ident=ident, value=value):
                return (ident.name, ("= ", self.value(value)))
            case tree.Next(ident=ident, value=value):
                return (f"next {ident.name}", ("= ", self.value(value)))
            case tree.Unpack(idents=idents, value=value):
                return (self.names(idents), ("= ", self.value(value)))
            case tree.Return(values=(value,)):
                return (("return ", self.value(value)),)
            case tree.Return(values=values):
                return (("return ", self.separated([(self.value(v), v) for v in values])),)
            case tree.Predict(ident=ident, kind=kind, value=value, column=column):
                source: Doc = f" from {text(column.value)}" if column else ""
                if item.condition is not None:
                    source = (source, f" {item.condition.op} ", self.operand(item.condition.value))
                return ((f"predict {ident.name}: ", self.expr(kind), source), ("= ", self.value(value)))
            case tree.Output(ident=ident, value=value):
                return (f"output {ident.name}", ("= ", self.value(value)))
            case tree.Loss(ident=ident, value=value):
                return (f"loss {ident.name}", ("= ", self.value(value)))
            case tree.Device(ident=ident, target=target):
                return (f"device {ident.name}", f"= {text(target.value)}")
            case tree.Place(names=names, device=device):
                return (("place ", self.names(names) if names else "rest", f" on {device.name}"),)
            case tree.Field(ident=ident, encoding=encoding, column=column):
                source = f" from {text(column.value)}" if column else ""
                return ((f"{ident.name}: ", self.value(encoding), source),)
        raise TypeError(type(item).__name__)

    def names(self, names: Sequence[tree.Ident]) -> Doc:
        """Return `a, b`: a line may end after a comma."""
        return self.separated([(ident.name, ident) for ident in names])

    def learned(self, item: tree.Learned) -> tuple[Doc, ...]:
        axes = tuple((self.learned_axis(axis), ", ") for axis in item.axes)
        name = (
            f"{'fixed' if item.fixed else 'learned'} {item.ident.name}[",
            axes,
            self.expr(item.width),
            "]",
        )
        return (name, ("= ", self.value(item.init))) if item.init else (name,)

    # --------------------------------------------------------------- bodies

    def head(self, item: Holder) -> tuple[Doc, ...]:
        """Return what stands before the opening brace, in cells."""
        match item:
            case tree.Block(kind=kind, ident=ident):
                return ((f"{kind} {ident.name}", self.signature(item)),)
            case tree.Extends(base=base):
                return (f"extends {base.name}",)
            case tree.Train():
                return ("train",)
            case tree.Scan(states=states, axis=axis, backward=backward):
                parts: list[Doc] = [self.state(states[0])]
                for before, state in pairwise(states):
                    behind, over = self.comments.between(before.span.stop, state.span.start)
                    parts += [",", behind, SPACE, over, self.state(state)]
                way = " backward" if backward else ""
                return (("scan ", group(Indent(tuple(parts))), f" over {axis.name}{way}"),)
            case tree.Space(ident=ident, axes=axes, role=role):
                makers = [(lambda a=a: self.axis(a), a) for a in axes]
                along = self.bracketed("[", makers, "]", ident.span.stop, role.span.start) if axes else ""
                return ((f"space {ident.name}", along), f"from {role.name}")

    def body(self, item: Holder) -> Body:
        stop = item.span.stop - 1
        match item:
            case tree.Block(body=body, result=result):
                return Body(body, result.span.stop, stop)
            case tree.Extends(body=body, base=base):
                return Body(body, base.span.stop, stop)
            case tree.Scan(body=body, axis=axis):
                return Body(body, axis.span.stop, stop)
            case tree.Space(fields=fields, role=role):
                return Body(fields, role.span.stop, stop)
            case tree.Train(entries=entries):
                return Body(entries, item.span.start, stop)
