"""Print the statements of one function of the emitted source.

Promises: a value that the lowered program holds becomes a local variable, named as in the spec where it has a
name; any other value is written inside of the expression that reads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

from specc.emit.axes import Axes
from specc.emit.cell import KERNELS
from specc.emit.code import Expr, Line, number, quoted, target, tuple_text
from specc.emit.kernels import written
from specc.emit.names import Names, attribute, by_path, identifier
from specc.emit.products import bias_text, columns_read, heads_text, matrix_text
from specc.emit.tile import room_of
from specc.ir.graph import Graph
from specc.lower.cell import Cell
from specc.lower.choices import Choice
from specc.lower.program import (
    Device,
    Field,
    Function,
    Heads,
    Kernel,
    LookedUp,
    Matrix,
    Parameter,
    Position,
    Ranking,
    Record,
    Rows,
    Symbol,
    Value,
)
from specc.lower.tile import TileInC, sizes_of
from specc.ops import op
from specc.passes.roles import CANDIDATE, axis_role
from specc.source import Span
from specc.types.axis import Axis


class Unit:
    """What all functions of a module share: names, constants of axes, cells, and the fields of what `values`
    returns."""

    def __init__(self, graph: Graph, names: Names) -> None:
        self.graph = graph
        self.names = names
        self.roles = {space.name: space.role for space in graph.spaces}
        self.axes = Axes(self.roles, names)
        self.shared: dict[Value, Expr] = {}
        self.cells: list[tuple[tuple[str, ...], Cell]] = []
        self.tiles: list[tuple[str, TileInC]] = []

    def tile(self, tile: TileInC) -> tuple[str, int]:
        """Return the name of a tile's function in C, and how much room it needs."""
        known = next((name for name, one in self.tiles if one.function is tile.function), None)
        if known is None:
            known = self.names.take(identifier(tile.function.names[0]))
            self.tiles.append((known, tile))
        return known, room_of(tile, self.graph.weights)

    def cell(self, cell: Cell) -> str:
        """Return the name of the cell of a step and its derivative."""
        known = next((names for names, one in self.cells if one is cell), None)
        if known is not None:
            return known[-1]
        node = cell.node
        stem = identifier(node.scope.replace(".", "_") or node.name or "scan")
        wishes = (f"{stem}_step", f"{stem}_back", f"{stem}_cell".upper())
        names = tuple(self.names.take(wish) for wish in wishes)
        self.cells.append((names, cell))
        return names[-1]


class Writer:
    """Writes one function. `outer` is the function that encloses it, if any."""

    def __init__(self, unit: Unit, outer: Writer | None = None) -> None:
        self.unit = unit
        self.outer = outer
        self.names = Names()
        self.indent: int = 8 if outer is None else outer.indent + 4
        self.lines: list[Line] = []
        self.texts: dict[Value, Expr] = {}
        self._given: dict[Value, str] = {}
        self._functions: dict[Function, str] = {}
        self._devices: dict[str, str] = {}
        self._layouts: dict[tuple[str | None, tuple[Ranking, ...]], str] = {}
        self._ranked: tuple[Ranking, ...] = ()
        self._weights: dict[str, str] = {}
        self._apart: dict[str, list[tuple[int, int]]] = {}
        self._places: dict[str, dict[int, int]] = {}
        # What products do with their results.
        self._within: dict[Value, Kernel] = {}

    def write(self, function: Function) -> None:
        """Write all statements. Names from the spec are taken before names that are made up."""
        self._within = {k.over: k for k in function.kernels if k.within and k.over is not None}
        for kernel in function.kernels:
            for result in kernel.results:
                if result is not None and result.given and result not in self._within:
                    self.name_of(result)
        self._apart = _taken_apart(function)
        for kernel in function.kernels:
            self._statement(kernel)

    def say(self, text: str, span: Span | None = None) -> None:
        """Append a statement, with the span of the spec that it comes from."""
        self.lines.append(Line(" " * self.indent + text, span))

    def name_of(self, value: Value) -> str:
        """Return the local that holds a value."""
        if value not in self._given:
            names = value.names or ("value",)
            if value.after is not None:
                text = self.text(value.after).text
                names = (f"{names[0]}_{text}",) if text.isidentifier() else names
            self._given[value] = self.names.take(*names)
        return self._given[value]

    def text(self, value: Value) -> Expr:
        """Return the expression that reads a value."""
        if value.dtype == "number":
            return number(value.number)
        if value in self.texts:
            return self.texts[value]
        if self.outer is not None:
            return self.outer.text(value)
        return self.unit.shared[value]

    def _statement(self, kernel: Kernel) -> None:
        for function in kernel.functions():
            self._function(function)
        # All rows of a call are of one layout.
        self._ranked = _ranked(kernel)
        args = [self._arg(a) for a in kernel.args]
        options = {key: self._arg(a).text for key, a in kernel.options.items()}
        if kernel.within:
            expr = args[0]
        else:
            then = self._within.get(kernel.result) if kernel.name not in SEVERAL else None
            if then is not None:
                slope = {"slope": repr(then.args[1])} if then.name == op.LEAKY_RELU else {}
                options = {"then": quoted(then.name), **slope, **options}
            expr = written(kernel, args, options)
        if len(kernel.results) == 1 and kernel.results[0] is not None and kernel.name not in SEVERAL:
            value = kernel.results[0]
            if not value.held:
                self.texts[value] = expr
                return
            self.say(f"{self.name_of(value)} = {expr.text}", kernel.span)
        else:
            names = ["_" if r is None else self.name_of(r) for r in kernel.results]
            self.say(f"{target(names)} = {expr.text}", kernel.span)
        for result in kernel.results:
            if result is not None:
                self.texts[result] = Expr(self.name_of(result))

    def _function(self, function: Function) -> None:
        """Return the name of a nested function, after writing it."""
        inner = Writer(self.unit, self)
        if not function.closed:
            for expr in self.texts.values():
                if expr.text.isidentifier():
                    inner.names.take(expr.text)
        name = self.names.take(*(identifier(n) for n in function.names))
        self._functions[function] = name
        parameters = []
        for value in function.parameters:
            inner.texts[value] = Expr(inner.name_of(value))
            parameters.append(f"{inner.texts[value].text}: Tensor")
        inner.write(function)
        results = [inner.text(r).text for r in function.results]
        one = function.names[0].endswith("_of_tile")
        gives, given = ("Tensor", results[0]) if one else ("tuple[Tensor, ...]", tuple_text(results))
        self.say(f"def {name}({', '.join(parameters)}) -> {gives}:", function.span)
        self.lines += inner.lines
        self.lines.append(Line(" " * inner.indent + f"return {given}"))

    # ------------------------------------------------------------- arguments

    def _arg(self, arg: Any) -> Expr:
        match arg:
            case Value():
                return self.text(arg)
            case None | bool():
                return Expr(repr(arg))
            case int() | float():
                return Expr(repr(arg))
            case str():
                return Expr(quoted(arg))
            case list():
                return Expr(f"[{', '.join(self._each(arg))}]")
            case tuple():
                return Expr(tuple_text([self._arg(a).text for a in arg]))
            case Rows():
                return Expr(self.rows(arg))
            case Axis():
                return Expr(self.unit.axes.constant(arg))
            case Position():
                method = "lengths_of" if arg.length else "position"
                return Expr(f"{self.rows(arg.rows)}.{method}({self.unit.axes.constant(arg.axis)})")
            case Field():
                return Expr(self._field(arg))
            case Parameter():
                return Expr(attribute(arg.path))
            case Matrix():
                products = arg.products
                return Expr(bias_text(products) if arg.bias else matrix_text(products, self.columns))
            case Heads():
                return Expr(heads_text(arg, self.weight, lambda path: self.unit.graph.weights[path].shape[0]))
            case Device():
                return Expr(self.device(arg.name))
            case Symbol():
                return Expr(f"ops.{arg.name}")
            case Record():
                return self._record(arg)
            case LookedUp():
                return self._arg([*arg.parts])
            case Choice():
                return Expr(str(arg.least))
            case Function():
                return Expr(self._functions[arg])
            case Cell():
                return Expr(self.unit.cell(arg))
            case TileInC():
                name, room = self.unit.tile(arg)
                weights = tuple_text([attribute(path) for path in arg.weights])
                sizes = tuple_text([str(size) for size in sizes_of(arg.function.results[0])])
                return Expr(f"ops.TileInC({KERNELS}, {quoted(name)}, {weights}, {sizes}, {room})")
        raise AssertionError(arg)

    def _each(self, args: list[Any]) -> Iterator[str]:
        """Return the expressions of several arguments. Of many tables each attribute on the way to one would
        take as long as all that is done with it."""
        for arg in args:
            match arg:
                case (Parameter() as weight, *others) if len(args) >= MANY:
                    yield tuple_text([by_path(weight.path), *(self._arg(a).text for a in others)])
                case _:
                    yield self._arg(arg).text

    def _record(self, record: Record) -> Expr:
        args = [self._arg(a).text for a in record.args]
        args += [f"{key}={self._arg(a).text}" for key, a in record.options.items()]
        match record.name:
            case "sum":
                return Expr(" + ".join(args))
            case "count":
                return Expr(f"{args[0]}.count")
            case "in_training":
                return Expr(f"{args[0]} if self.training else 0")
            case "axes":
                named = zip(record.args, args, strict=True)
                return Expr("{" + ", ".join(f"{quoted(axis.name)}: {text}" for axis, text in named) + "}")
        return Expr(f"ops.{record.name}({', '.join(args)})")

    def _field(self, field: Field) -> str:
        batch = "batch" if field.device is None else f"batch.on({self.device(field.device)})"
        match field.kind:
            case "label":
                return f"{batch}.labels[{quoted(field.path)}]"
            case "values":
                return f"{batch}.bag({quoted(field.path)}).values"
        return f"{batch}.{field.kind}({quoted(field.path)})"

    def rows(self, rows: Rows) -> str:
        """Return the expression for the rows of a domain in the batch's layout."""
        parts, domain = [], rows.domain
        inner = [a for a in domain.axes if not any(b.parent == a for b in domain.axes)]
        own = any(axis_role(a, self.unit.roles) == CANDIDATE for a in inner)
        if domain.candidate and not own:
            self.unit.axes.uses_candidate = True
            parts.append("CANDIDATE")
        parts += sorted(self.unit.axes.constant(a) for a in inner)
        return f"{self.layout(rows.device, self._ranked)}[{', '.join(parts) or '()'}]"

    def weight(self, path: str) -> str:
        """Return a local for a weight, written once, for weights of which slices are read."""
        if path not in self._weights:
            name = self.names.take("_".join(path.split(".")[-2:]))
            self.say(f"{name} = {attribute(path)}")
            self._weights[path] = name
        return self._weights[path]

    def columns(self, path: str, start: int, stop: int) -> str:
        """Return some columns of a matrix. One that is read in parts is taken apart at once: autograd then
        puts the parts' gradients together once, instead of adding up one as large as the matrix for each."""
        parts = self._apart.get(path)
        if parts is None:
            return f"{self.weight(path)}[:, {start}:{stop}]"
        if path not in self._weights:
            ends = sorted(
                {0, self.unit.graph.weights[path].shape[1], *(end for part in parts for end in part)}
            )
            sizes = [b - a for a, b in pairwise(ends)]
            name = self.names.take("_".join(path.split(".")[-2:]) + "s")
            self.say(f"{name} = {attribute(path)}.split({tuple_text([*map(str, sizes)])}, 1)")
            self._weights[path] = name
            self._places[path] = {begin: n for n, begin in enumerate(ends)}
        return f"{self._weights[path]}[{self._places[path][start]}]"

    def layout(self, device: str | None, ranked: tuple[Ranking, ...] = ()) -> str:
        """Return the local that holds the batch's layout on a device, with the lengths that follow from some
        choices of positions."""
        if self.outer is not None:
            return self.outer.layout(device, ranked)
        key = device, ranked
        if key not in self._layouts and ranked:
            self._layouts[key] = self._ranked_layout(device, *ranked)
        elif key not in self._layouts:
            text = "batch.layout" if device is None else f"batch.layout_on({self.device(device)})"
            name = self.names.take(f"at_{device}") if self._layouts else "at"
            self._layouts[key] = name
            self.lines.insert(len(self._devices), Line(" " * self.indent + f"{name} = {text}"))
        return self._layouts[key]

    def _ranked_layout(self, device: str | None, *ranked: Ranking) -> str:
        """Return a local for a layout that knows one more choice of positions."""
        *before, last = ranked
        within, self._ranked = self._ranked, tuple(before)
        layout, rows = self.layout(device, self._ranked), self.rows(replace(last.rows, device=device))
        self._ranked = within
        axis = self.unit.axes.constant(last.axis)
        name = self.names.take(f"{layout}_{axis.lower()}")
        self.say(f"{name} = ops.with_ranked({layout}, {rows}, {axis}, {self.text(last.value).text})")
        return name

    def device(self, name: str) -> str:
        """Return the local that holds a device."""
        if self.outer is not None:
            return self.outer.device(name)
        if name not in self._devices:
            local = self.names.take(name, f"on_{name}")
            text = f"{local} = self.device({quoted(name)})"
            self.lines.insert(len(self._devices), Line(" " * self.indent + text))
            self._devices[name] = local
        return self._devices[name]


def _taken_apart(function: Function) -> dict[str, list[tuple[int, int]]]:
    """Return the matrices of which a function reads several parts and nothing else: the columns of each part.
    None of these is in two."""
    read: dict[str, set[tuple[int, int]]] = {}
    other: set[str] = set()
    for part in (part for kernel in function.kernels for part in kernel.parts()):
        if isinstance(part, Matrix) and not part.bias:
            other |= {product.matrix for product in part.products if product.whole}
            for path, start, stop in columns_read(part.products):
                read.setdefault(path, set()).add((start, stop))
        elif isinstance(part, Heads):
            other |= {slab.matrix for slab in part.slabs}
    found = {path: sorted(parts) for path, parts in read.items() if len(parts) > 1 and path not in other}
    return {path: parts for path, parts in found.items() if all(a[1] <= b[0] for a, b in pairwise(parts))}


def _ranked(kernel: Kernel) -> tuple[Ranking, ...]:
    """Return the choices of positions that the rows of a kernel depend on, in order."""
    found: dict[Ranking, None] = {}
    for part in kernel.parts():
        rows = part.rows if isinstance(part, Position) else part
        if isinstance(rows, Rows):
            found |= dict.fromkeys(rows.ranked)
    return tuple(sorted(found, key=lambda ranking: ranking.value.id))


# From so many tables of one lookup on, they are read by their paths.
MANY = 6

# Kernels that return a tuple, even for a single result.
SEVERAL = frozenset({"recur", "scan", "scan_along", "scan_together", "lookup"})
