"""From expressions and the parts of declarations to documents.

Promises: read again, a document gives the tree it was made from, with only those brackets that it needs or
that help a reader (`(2 * dim) % heads`); comments inside brackets and between the stages of a pipe stay
beside what they stood beside. Leaves statements and the space between them to `print`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from specc.syntax import tree
from specc.syntax.comments import Comments, above, below
from specc.syntax.pretty import HARD, SOFT, SPACE, WIDTH, Doc, Either, Indent, Remark, group

# A pipe of several stages is broken earlier than anything else: it costs the reader nothing.
_PIPE_WIDTH = 85

_PIPE, _IF, _OR, _AND, _NOT, _COMPARE, _SUM, _PRODUCT, _SIGNED, _POWER, _ATOM = range(11)
_LEVELS = {
    "or": _OR,
    "and": _AND,
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">="), _COMPARE),
    **dict.fromkeys("+-", _SUM),
    **dict.fromkeys("*/%", _PRODUCT),
    "^": _POWER,
}
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t"})
Maker = Callable[[], Doc]


def _level(expr: tree.Expr) -> int:
    match expr:
        case tree.Pipe():
            return _PIPE
        case tree.If():
            return _IF
        case tree.Unary(op="not"):
            return _NOT
        case tree.Unary():
            return _SIGNED
        case tree.Binary(op=op):
            return _LEVELS[op]
        case _:
            return _ATOM


def text(value: str) -> str:
    return f'"{value.translate(_ESCAPES)}"'


class Documents:
    """Documents of one file's tree; takes from `comments` those that stand inside expressions."""

    def __init__(self, comments: Comments) -> None:
        self.comments = comments

    # ---------------------------------------------------------- expressions

    def value(self, expr: tree.Expr) -> Doc:
        """Return an expression that a statement ends in: where it must be broken, it gets brackets to stand
        in."""
        if isinstance(expr, tree.Binary | tree.If) or (isinstance(expr, tree.Unary) and expr.op == "not"):
            return group(Either("", "("), Indent((SOFT, self.open(expr))), SOFT, Either("", ")"))
        if isinstance(expr, tree.Pipe):
            return self.pipe(expr, _PIPE_WIDTH)
        return self.expr(expr)

    def expr(self, expr: tree.Expr) -> Doc:
        """Return an expression that stands inside brackets, or needs none."""
        if isinstance(expr, tree.Binary | tree.If):
            return group(self.open(expr))
        return self.open(expr)

    def open(self, expr: tree.Expr) -> Doc:
        """Return an expression whose own breaks belong to the group around it."""
        match expr:
            case tree.Number(value=value, text=written):
                return written or repr(value)
            case tree.Text(value=value):
                return text(value)
            case tree.Bool(value=value):
                return "true" if value else "false"
            case tree.Ref(name=name):
                return name
            case tree.Attribute(base=base, ident=ident):
                return f"{base.name}.{ident.name}"
            case tree.List(items=items):
                return self.list("[", items, "]", expr.span.start + 1, expr.span.stop - 1)
            case tree.Index(value=value, index=index):
                return (self.open(value), "[", self.expr(index), "]")
            case tree.Quantity(value=value, unit=unit):
                one = isinstance(value, tree.Number) and value.value == 1
                return (self.expr(value), f" {unit}" + "s" * (not one))
            case tree.Unary(op=op, operand=operand):
                # `--` looks like another language's comment.
                twice = op == "-" and isinstance(operand, tree.Unary)
                return (op + " " * (op == "not"), self.at(operand, _level(expr) + twice))
            case tree.Binary():
                return self.chain(expr)
            case tree.If():
                return self.choice(expr)
            case tree.Pipe():
                return self.pipe(expr)
            case tree.Call(callee=callee, args=args):
                makers = [(lambda a=a: self.argument(a), a) for a in args]
                start, stop = callee.span.stop, expr.span.stop - 1
                into = len(args) - 1 if args and isinstance(args[-1], tree.Into) else None
                return (self.open(callee), self.bracketed("(", makers, ")", start, stop, statics=into))

    def at(self, expr: tree.Expr, level: int) -> Doc:
        """Return an operand: in brackets if it binds more loosely than its place asks for."""
        if _level(expr) >= level:
            return self.expr(expr)
        return group("(", Indent((SOFT, self.open(expr))), SOFT, ")")

    def chain(self, expr: tree.Binary) -> Doc:
        """Return `a + b - c`: operators of one level from the left, a line each if they do not
        fit on one."""
        level = _LEVELS[expr.op]
        if expr.op == "^":
            return (self.at(expr.left, _ATOM), " ^ ", self.at(expr.right, _SIGNED))
        links: list[tree.Binary] = [expr]
        while isinstance(left := links[-1].left, tree.Binary) and _joins(left, links[-1]):
            links.append(left)
        links.reverse()
        first = links[0].left
        # Comparisons do not chain, and `%` among other products says by brackets what it applies to.
        apart = level == _COMPARE or (isinstance(first, tree.Binary) and _LEVELS[first.op] == level)
        parts: list[Doc] = [self.at(first, level + apart)]
        end = first.span.stop
        for link in links:
            behind, over = self.comments.between(end, link.right.span.start)
            operand = self.at(link.right, level + 1)
            parts += [behind, SPACE, over, f"{link.op} ", operand]
            end = link.right.span.stop
        return tuple(parts)

    def choice(self, expr: tree.If) -> Doc:
        parts: list[Doc] = []
        other: tree.Expr = expr
        while isinstance(other, tree.If):
            condition = self.at(other.condition, _OR)
            behind, over = self.comments.between(other.condition.span.stop, other.then.span.start)
            then = self.at(other.then, _OR)
            parts += ["if ", condition, behind, SPACE if behind or over else " ", over, "then ", then]
            end, other = other.then.span.stop, other.other
            behind, over = self.comments.between(end, other.span.start)
            parts += [behind, SPACE, over, "else "]
        parts.append(self.at(other, _IF))
        return tuple(parts)

    def pipe(self, expr: tree.Pipe, width: int = WIDTH) -> Doc:
        """Return `x |> f |> g`, broken beyond `width` if it has several stages."""
        stages: list[tree.Pipe] = [expr]
        while isinstance(left := stages[-1].left, tree.Pipe):
            stages.append(left)
        stages.reverse()
        first = stages[0].left
        start = self.at(first, _ATOM)
        parts: list[Doc] = []
        end = first.span.stop
        for stage in stages:
            behind, over = self.comments.between(end, stage.right.span.start)
            called = self.open(stage.right)
            parts += [behind, Indent((SPACE, over, "|> ", called))]
            end = stage.right.span.stop
        if len(stages) > 1:
            return group(start, *parts, width=width)
        if isinstance(first, tree.Ref | tree.Attribute) and behind == over == ():
            # A name by itself is no line: the call is broken instead.
            return (start, " |> ", called)
        return group(start, *parts)

    def argument(self, argument: tree.Argument) -> Doc:
        match argument:
            case tree.Positional(value=value):
                return self.expr(value)
            case tree.Keyword(ident=ident, value=value):
                return (f"{ident.name} = ", self.expr(value))
            case tree.Over(axis=axis, at=at) if at is not None:
                return (f"over {axis.name} = ", self.expr(at))
            case tree.Over(axis=axis, new=new, where=where):
                renamed = f" as {new.name}" if new else ""
                return (f"over {axis.name}{renamed}", (" where ", self.expr(where)) if where else "")
            case tree.As(axis=axis):
                return f"as {axis.name}"
            case tree.By(value=value):
                return ("by ", self.expr(value))
            case tree.To(old=old, new=new):
                return f"{old.name} to {new.name}"
            case tree.From(column=column):
                return f"from {text(column.value)}"
            case tree.Into(value=value):
                return self.expr(value)

    # ------------------------------------------------------------- brackets

    def list(self, opening: str, items: Sequence[tree.Expr], closing: str, start: int, stop: int) -> Doc:
        """Return expressions between brackets; numbers and names fill their lines."""
        fill = not any(isinstance(i, tree.Call | tree.List | tree.Pipe | tree.If) for i in items)
        # A line end between braces ends an item: what must be broken there needs brackets.
        of = self.value if opening == "{" else self.expr
        makers = [(lambda i=i: of(i), i) for i in items]
        return self.bracketed(opening, makers, closing, start, stop, fill=fill)

    def bracketed(
        self,
        opening: str,
        items: Sequence[tuple[Maker, tree.Node]],
        closing: str,
        start: int,
        stop: int,
        *,
        fill: bool = False,
        statics: int | None = None,
    ) -> Doc:
        """Items between brackets, with the comments of that text.

        fill: as many a line as fit. statics: the index of the first item behind a `;`.
        """
        if not items:
            return opening + closing
        inner: list[Doc] = []
        end = start
        if statics == 0:
            opening += "; "
        for index, (make, node) in enumerate(items):
            behind, over = self.comments.between(end, node.span.start, first=index == 0)
            doc = make()
            # Comments inside that found no place of their own stand above.
            over = (*over, *above(self.comments.take(node.span.start, node.span.stop)))
            if index:
                inner += [";" if index == statics else ",", behind]
            if fill and index not in (0, statics) and behind == over == ():
                inner.append(group(SPACE, doc))
            else:
                inner += [SPACE if index else "", over, doc]
            end = node.span.stop
        behind, under = self.after(end, stop)
        inner += [Either("", ","), behind, under]
        # Unless they fill their lines, all stand on the next line, or else one a line.
        within = tuple(inner) if fill else group(*inner)
        return group(opening, Indent((SOFT, within)), SOFT, closing)

    def after(self, end: int, stop: int) -> tuple[Doc, Doc]:
        """Return what stands behind the last item, and below it, before the closing bracket."""
        taken = self.comments.take(end, stop)
        behind: Doc = ()
        if taken and taken[0].trailing:
            behind = Remark(taken.pop(0).text)
        return behind, below(taken)

    # ------------------------------------------------- parts of declarations

    def domain(self, domain: tree.Domain) -> Doc:
        match domain:
            case tree.Choices(items=items):
                return self.list("{", items, "}", domain.span.start + 1, domain.span.stop - 1)
            case tree.Range(low=low, high=high):
                return (self.end(low), " .. ", self.end(high))

    def end(self, expr: tree.Expr) -> Doc:
        """Return an end of a range: where it must be broken, it gets brackets to stand in."""
        if isinstance(expr, tree.Binary) and expr.op in ("+", "-", "*", "/", "%", "^"):
            return self.value(expr)
        return self.at(expr, _SUM)

    def type(self, type: tree.TypeExpr) -> Doc:
        return ("[", "".join(f"{axis.name}, " for axis in type.axes), self.expr(type.width), "]")

    def operand(self, expr: tree.Expr) -> Doc:
        """Return what stands beside a comparison."""
        return self.at(expr, _SUM)

    def axis(self, axis: tree.AxisDecl) -> Doc:
        if axis.bound is None:
            return f"like {axis.ident.name}"
        return (f"{axis.ident.name} <= ", self.at(axis.bound, _SUM))

    def learned_axis(self, axis: tree.LearnedAxis) -> Doc:
        return axis.ident.name if axis.size is None else (f"{axis.ident.name} = ", self.expr(axis.size))

    def static(self, static: tree.Static) -> Doc:
        default: Doc = (" = ", self.expr(static.default)) if static.default else ""
        domain: Doc = (" in ", self.domain(static.domain)) if static.domain else ""
        return (static.ident.name, default, domain)

    def state(self, state: tree.State) -> Doc:
        start: Doc = (" = ", self.value(state.init)) if state.init else ""
        return (state.ident.name, "[", self.expr(state.width), "]", start)

    def signature(self, block: tree.Block) -> Doc:
        """Return `(x[t, d]; n = d) -> [t, n]`: inputs, then statics, each filling their lines."""
        makers: list[tuple[Maker, tree.Node]] = [
            *(((lambda i=i: (i.ident.name, self.type(i.type))), i) for i in block.inputs),
            *(((lambda s=s: self.static(s)), s) for s in block.statics),
        ]
        start, stop = block.ident.span.stop, block.result.span.start
        statics = len(block.inputs) if block.statics else None
        given = self.bracketed("(", makers, ")", start, stop, fill=True, statics=statics)
        return (given, " -> ", self.separated([(self.type(t), t) for t in block.results]))

    def separated(self, parts: Sequence[tuple[Doc, tree.Node]]) -> Doc:
        """Return `a, b`: a line may end after a comma."""
        found: list[Doc] = [parts[0][0]]
        for (_, before), (doc, node) in pairwise(parts):
            behind, over = self.comments.between(before.span.stop, node.span.start)
            found += [",", behind, HARD if behind or over else group(SPACE), over, doc]
        return Indent(tuple(found))


def _joins(left: tree.Binary, right: tree.Binary) -> bool:
    """Return whether `left` goes on as `left op b` without brackets."""
    level = _LEVELS[left.op]
    if level != _LEVELS[right.op] or level == _COMPARE:
        return False
    return level != _PRODUCT or ("%" not in (left.op, right.op))
