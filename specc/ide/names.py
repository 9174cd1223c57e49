"""Every name in the text of a spec, and what it names.

Promises: names are followed by scope, not by their text: a block's `x` is not another's; an axis's name is
not a value's. What a name of another file means is found there. Leaves names that mean nothing out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import field

from specc.elaborate.builtins.registry import BUILTINS
from specc.elaborate.written import children
from specc.frozen import dataclass
from specc.names.program import KIND_WORDS, Module, Program, kind_of
from specc.source import Span
from specc.syntax import tree

# Calls whose first argument is an axis, written as a bare name.
_OF_AXES = frozenset(["index", "length", "bound"])


@dataclass(frozen=True)
class Declared:
    """A thing with a name. kind: "param", "field", "axis", … `span`: its name where it is declared.

    node: the statement or part that declares it. body: the range of text within which it is known, None for
    the whole file.
    """

    name: str
    kind: str
    span: Span
    node: tree.Node | None = field(default=None, compare=False)
    doc: str | None = field(default=None, compare=False)
    body: Span | None = field(default=None, compare=False)

    @property
    def key(self) -> tuple[str, int]:
        """What tells it from all others: the file, and where in it."""
        return self.span.source.name, self.span.start


@dataclass(frozen=True)
class Occurrence:
    """A name in the text, and what it names."""

    span: Span
    of: Declared


@dataclass
class Names:
    """The names of one file, in the order of its text."""

    occurrences: list[Occurrence] = field(default_factory=list)
    declared: list[Declared] = field(default_factory=list)

    def at(self, offset: int) -> Occurrence | None:
        """The name at an offset, or that ends there."""
        found = [o for o in self.occurrences if o.span.start <= offset <= o.span.stop]
        return min(found, key=lambda o: o.span.stop - o.span.start, default=None)

    def of(self, declared: Declared) -> list[Span]:
        """Where one thing is named."""
        return [o.span for o in self.occurrences if o.of.key == declared.key]

    def known_at(self, offset: int) -> Iterator[Declared]:
        """What can be named at an offset, innermost first."""
        within = [d for d in self.declared if d.body is None or d.body.start <= offset <= d.body.stop]
        return iter(sorted(within, key=lambda d: d.body is None))


def names_of(file: tree.File, program: Program) -> Names:
    """The names of a file that has been resolved."""
    walker = _Walker(program)
    walker.file(file)
    walker.found.occurrences.sort(key=lambda o: o.span.start)
    return walker.found


class _Walker:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.found = Names()
        self.values: list[dict[str, Declared]] = [{}]
        self.axes: list[dict[str, Declared]] = [{}]
        self.fields: dict[str, dict[str, Declared]] = {}  # by space
        self.statics: dict[tuple[str, int], dict[str, Declared]] = {}  # by block

    # ------------------------------------------------------------ declaring

    def file(self, file: tree.File) -> None:
        self._module(self.program.main)
        body = [i for item in file.body for i in (item.body if isinstance(item, tree.Extends) else (item,))]
        self.axes[0].update(self._made(body, None))
        for item in file.body:
            self._statement(item)

    def _module(self, module: Module) -> None:
        """What a file's own declarations, those of its base and its libraries are called."""
        for name, item in module.named.items():
            self._enter(Declared(name, kind_of(item), item.ident.span, item, item.doc))
            if isinstance(item, tree.Space):
                own = self.fields[name] = {}
                for part in item.fields:
                    own[part.ident.name] = Declared(part.ident.name, "field", part.ident.span, part, item.doc)
                for axis in item.axes:
                    if not axis.like and axis.ident.name not in self.axes[0]:
                        made = Declared(axis.ident.name, "axis", axis.ident.span, axis)
                        self.axes[0][made.name] = made
                        self.found.declared.append(made)
        for name, library in module.uses.items():
            self._enter(Declared(name, "library", library.ident.span, None, library.doc))
        for name, (library, member) in module.members.items():
            known = library.named.get(member)
            if known is not None:
                self._enter(Declared(name, kind_of(known), known.ident.span, known, known.doc))

    def _enter(self, declared: Declared) -> None:
        self.values[-1][declared.name] = declared
        self.found.declared.append(declared)

    def _made(self, body: Iterable[tree.Node], within: Span | None) -> dict[str, Declared]:
        """The axes that a body's own text makes, by name: one name is one axis in it."""
        made: dict[str, Declared] = {}
        for part in _inside(body):
            for ident in _makes(part):
                declared = Declared(ident.name, "axis", ident.span, part, body=within)
                if ident.name not in self.axes[-1] or within is not None:
                    made.setdefault(ident.name, declared)
        self.found.declared += made.values()
        return made

    # ------------------------------------------------------------- following

    def _name(self, span: Span, declared: Declared | None) -> None:
        if declared is not None:
            self.found.occurrences.append(Occurrence(span, declared))

    def _value(self, name: str) -> Declared | None:
        for scope in reversed(self.values):
            if name in scope:
                return scope[name]
        return self._shipped(name)

    def _shipped(self, name: str) -> Declared | None:
        """A block of the standard library."""
        found = self.program.prelude(name) if name in self.program.prelude_names else None
        if found is None:
            return None
        block = found[1]
        return Declared(name, block.kind, block.ident.span, block, block.doc)

    def _axis(self, name: str) -> Declared | None:
        return next((scope[name] for scope in reversed(self.axes) if name in scope), None)

    def _axis_name(self, ident: tree.Ident) -> None:
        self._name(ident.span, self._axis(ident.name))

    def _statement(self, item: tree.Node) -> None:
        match item:
            case tree.Block():
                self._block(item)
                return
            case tree.Scan():
                self._scan(item)
                return
            case tree.Extends():
                for part in item.body:
                    self._statement(part)
                return
            case tree.Use():
                ident = item.alias or item.member or item.library
                self._name(ident.span, self._value(ident.name))
                return
            case tree.Place():
                for ident in item.names:
                    self._placed(ident)
                self._name(item.device.span, self._value(item.device.name))
                return
            case tree.Space():
                self._name(item.ident.span, self._value(item.ident.name))
                for axis in item.axes:
                    self._axis_name(axis.ident)
                    self._parts(axis)
                for field_ in item.fields:
                    self._name(field_.ident.span, self.fields.get(item.ident.name, {}).get(field_.ident.name))
                    self._expr(field_.encoding)
                return
            case tree.Learned():
                for size in item.axes:
                    self._axis_name(size.ident)
        named = getattr(item, "ident", None)
        if isinstance(named, tree.Ident):
            self._name(named.span, self._value(named.name))
        self._parts(item)

    def _placed(self, ident: tree.Ident) -> None:
        """`items`, or `ad.item`: a field's own table."""
        space, _, rest = ident.name.partition(".")
        start = ident.span.start
        if not rest:
            self._name(ident.span, self._value(space))
            return
        self._name(Span(ident.span.source, start, start + len(space)), self._value(space))
        after = Span(ident.span.source, start + len(space) + 1, ident.span.stop)
        self._name(after, self.fields.get(space, {}).get(rest))

    def _block(self, block: tree.Block) -> None:
        self._name(block.ident.span, self.values[0].get(block.ident.name))
        self.values.append({})
        self.axes.append({})
        for input_ in block.inputs:
            self._bound(input_.type, block)
        made = self._made(block.body, block.span)
        self.axes[-1] |= {n: d for n, d in made.items() if n not in self.axes[-1]}
        self._bound(block.result, block)
        for item in block.inputs:
            self._enter(Declared(item.ident.name, "input", item.ident.span, item, body=block.span))
        for static in self._statics(block).values():
            self._enter(static)
        for item in block.inputs:
            width = item.type.width
            if isinstance(width, tree.Ref) and width.name not in self.values[-1]:
                known = self._value(width.name)
                if known is None or known.kind != "param":
                    self._enter(Declared(width.name, "width", width.span, item, body=block.span))
        self._declare_body(block.body, block.span)
        for input_ in block.inputs:
            self._name(input_.ident.span, self._value(input_.ident.name))
            self._type(input_.type)
        for static_ in block.statics:
            self._name(static_.ident.span, self._value(static_.ident.name))
            self._parts(static_)
        self._type(block.result)
        for part in block.body:
            self._statement(part)
        self.values.pop()
        self.axes.pop()

    def _bound(self, type_: tree.TypeExpr, block: tree.Block) -> None:
        """Declare the axes of a signature that no other part of the block's text has declared."""
        for axis in type_.axes:
            if axis.name not in self.axes[-1]:
                made = Declared(axis.name, "axis", axis.span, block, body=block.span)
                self.axes[-1][axis.name] = made
                self.found.declared.append(made)

    def _statics(self, block: tree.Block) -> dict[str, Declared]:
        key = (block.ident.span.source.name, block.ident.span.start)
        if key not in self.statics:
            self.statics[key] = {
                s.ident.name: Declared(s.ident.name, "static", s.ident.span, s, body=block.span)
                for s in block.statics
            }
        return self.statics[key]

    def _declare_body(self, body: Iterable[tree.Node], within: Span) -> None:
        for item in body:
            match item:
                case tree.Binding() | tree.Layer() | tree.Learned():
                    kind = KIND_WORDS[type(item)]
                    ident = item.ident
                    self._enter(Declared(ident.name, kind, ident.span, item, item.doc, within))
                case tree.Scan():
                    for state in item.states:
                        self._enter(Declared(state.ident.name, "state", state.ident.span, state, body=within))

    def _type(self, type_: tree.TypeExpr) -> None:
        for axis in type_.axes:
            self._axis_name(axis)
        self._expr(type_.width)

    def _scan(self, scan: tree.Scan) -> None:
        self._axis_name(scan.axis)
        for state in scan.states:
            self._name(state.ident.span, self._value(state.ident.name))
            self._parts(state)
        self.values.append({})
        self._declare_body(scan.body, scan.span)
        for item in scan.body:
            self._statement(item)
        self.values.pop()

    def _parts(self, node: tree.Node) -> None:
        for part in children(node):
            if not isinstance(part, tree.Ident):
                self._expr(part)

    def _expr(self, node: tree.Node) -> None:
        match node:
            case tree.Ref(name=name):
                self._name(node.span, self._value(name) or self._axis(name))
            case tree.Attribute(base=base, ident=ident):
                self._name(base.span, self._value(base.name))
                self._name(ident.span, self._member(base.name, ident.name))
            case tree.Call():
                self._call(node)
            case tree.Pipe(left=left, right=tree.Ref() | tree.Attribute() as right):
                self._expr(left)
                self._layer(right)
            case tree.Over():
                self._axis_name(node.axis)
                if node.new is not None:
                    self._axis_name(node.new)
                for part in (node.where, node.at):
                    if part is not None:
                        self._over(part)
            case tree.As(axis=axis):
                self._axis_name(axis)
            case tree.To(old=old, new=new):
                self._axis_name(old)
                self._axis_name(new)
            case _:
                self._parts(node)

    def _over(self, node: tree.Node) -> None:
        """A condition of `over`: an axis's bare name is the position along it."""
        match node:
            case tree.Ref(name=name) if self._axis(name) is not None:
                self._name(node.span, self._axis(name))
            case tree.Call() | tree.Attribute() | tree.Ref():
                self._expr(node)
            case _:
                for part in children(node):
                    self._over(part)

    def _call(self, call: tree.Call) -> None:
        callee = call.callee
        called = self._layer(callee)
        options = {name: d for block in self._blocks(called) for name, d in self._statics(block).items()}
        of_axis = isinstance(callee, tree.Ref) and callee.name in _OF_AXES and called is None
        for argument in call.args:
            match argument:
                case tree.Positional(value=tree.Ref() as value) if of_axis and self._axis(value.name):
                    self._name(value.span, self._axis(value.name))
                case tree.Keyword(ident=ident, value=value):
                    self._name(ident.span, options.get(ident.name))
                    self._expr(value)
                case _:
                    self._expr(argument)

    def _layer(self, callee: tree.Expr) -> Declared | None:
        """Follow the name of something that is called: a number's name is none, `dropout(dropout)`."""
        if isinstance(callee, tree.Attribute):
            self._expr(callee)
            return self._member(callee.base.name, callee.ident.name)
        assert isinstance(callee, tree.Ref)
        found = self._value(callee.name)
        if found is not None and callee.name in BUILTINS and not self._is_layer(found):
            return None
        self._name(callee.span, found or self._axis(callee.name))
        return found

    def _is_layer(self, declared: Declared) -> bool:
        node = declared.node
        if isinstance(node, tree.Param | tree.Static):
            return isinstance(node.default, tree.Ref) or isinstance(node.domain, tree.Choices)
        return isinstance(node, tree.Block | tree.Layer)

    def _blocks(self, called: Declared | None) -> Iterator[tree.Block]:
        """The blocks that a name may stand for: a param may be one of several."""
        node = None if called is None else called.node
        if isinstance(node, tree.Block):
            yield node
        elif isinstance(node, tree.Param | tree.Static):
            choices = node.domain.items if isinstance(node.domain, tree.Choices) else ()
            for item in (node.default, *choices):
                known = self._value(item.name) if isinstance(item, tree.Ref) else None
                if known is not None and isinstance(known.node, tree.Block):
                    yield known.node

    def _member(self, base: str, name: str) -> Declared | None:
        """A field of a space, or a block of a library."""
        if base in self.fields:
            return self.fields[base].get(name)
        library = self.program.main.uses.get(base)
        known = None if library is None else library.named.get(name)
        if known is None:
            return None
        return Declared(name, kind_of(known), known.ident.span, known, known.doc)


def _inside(body: Iterable[tree.Node]) -> Iterator[tree.Node]:
    """Everything in a body's text but what is in the blocks that it declares."""
    for item in body:
        if not isinstance(item, tree.Block):
            yield item
            yield from _inside(children(item))


def _makes(part: tree.Node) -> Iterator[tree.Ident]:
    """The names of the axes that a part of a text makes."""
    match part:
        case tree.AxisDecl(ident=ident, like=False):
            yield ident
        case tree.LearnedAxis(ident=ident, size=size) if size is not None:
            yield ident
        case tree.Over(new=ident) if ident is not None:
            yield ident
        case tree.As(axis=ident):
            yield ident
        case tree.To(new=ident):
            yield ident
