"""A lowered program as text: for `specc dump --stage lowered` and for golden tests.

Promises: the same program prints the same. A line a kernel: `%7 {candidate, t} [36] = expand(%3, …)`, that is
the result's rows, its dimensions and width, what is called, and the local that holds it if one does.
Functions stand above the kernel that calls them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from specc.lower.cell import Cell
from specc.lower.choices import Choice
from specc.lower.program import (
    Derived,
    Device,
    Field,
    Function,
    Heads,
    Kernel,
    LookedUp,
    Matrix,
    Parameter,
    Parts,
    Position,
    Program,
    Record,
    Rows,
    Symbol,
    Value,
)
from specc.lower.shape import Domain, Shape
from specc.lower.tile import TileInC
from specc.ops.products import Product
from specc.types.axis import Axis


def print_program(program: Program) -> str:
    """All functions, those that are shared first."""
    printer = _Printer()
    for function in program.functions:
        printer.function(function, "")
    if program.parts is not None:
        printer.part(program.parts.request)
        printer.part(program.parts.candidate)
        printer.pieces(program.parts)
    return "\n".join([f"model {program.graph.name}", *printer.lines]) + "\n"


class _Printer:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.numbers: dict[Value, int] = {}
        self.names: dict[Function, str] = {}

    def function(self, function: Function, indent: str) -> None:
        name = function.names[0]
        self.names[function] = name
        groups = [
            f"{group}: {', '.join(self._declared(v) for v in values)}"
            for group, values in function.groups.items()
            if values
        ]
        given = [self._declared(v) for v in function.parameters] or groups
        self.lines += ["", f"{indent}{name}({'; '.join(given)})"]
        for kernel in function.kernels:
            for inner in kernel.functions():
                self.function(inner, f"{indent}    ")
            for cell in (a for a in kernel.args if isinstance(a, Cell)):
                self._cell(cell, f"{indent}    ")
            self._kernel(kernel, f"{indent}  ")
        results = [self._arg(r) for r in function.results]
        if function.keys:
            results = [f"{k} = {r}" for k, r in zip(function.keys, results, strict=True)]
        if function.returned is not None:
            results = [self._arg(r) for r in function.returned]
        self.lines.append(f"{indent}  return {', '.join(results)}")

    def part(self, function: Function) -> None:
        """What a function takes and gives, and which kernels it has; they stand in full above."""
        takes = ", ".join(map(self._arg, function.parameters))
        calls = [
            f"[{', '.join(k.name for k in b.kernels)}] {b.most} rows of {rows_text(b.rows)} at a time"
            if b.rows is not None
            else b.kernels[0].name
            for b in function.blocks
        ]
        gives = ", ".join(map(self._arg, function.results))
        self.lines += ["", f"{function.names[0]}({takes})", f"  {', '.join(calls)}", f"  return {gives}"]

    def pieces(self, parts: Parts) -> None:
        """How candidates are computed where they are many."""
        widths = ", ".join(f"{rows_text(rows)} [{width}]" for rows, width in parts.widths.items())
        self.lines.append(f"  candidates {parts.how}{f': {widths}' if widths else ''}")

    def _cell(self, cell: Cell, indent: str) -> None:
        self.function(cell.step, indent)
        self.function(cell.back, indent)
        self.lines.append(f"{indent}  {cell.at_once} rows or more are multiplied at once")
        if isinstance(cell.native, str):
            self.lines.append(f"{indent}  not in C: {cell.native}")
        else:
            sizes = ", ".join(str(len(run.kernels)) for run in cell.native.runs)
            self.lines.append(f"{indent}  {cell.native.choice}: {sizes} kernels between products")

    def _kernel(self, kernel: Kernel, indent: str) -> None:
        results = ", ".join("_" if r is None else self._declared(r) for r in kernel.results)
        text = f"{indent}{results} = {kernel.name}({', '.join(self._args(kernel.args, kernel.options))})"
        self.lines.append("  ".join([text, *self._remarks(kernel)]))

    def _args(self, args: tuple[Any, ...], options: Mapping[str, Any]) -> list[str]:
        chosen = [str(o) for o in options.values() if isinstance(o, Choice | TileInC)]
        named = (f"{k} = {self._arg(o)}" for k, o in options.items() if not isinstance(o, Choice | TileInC))
        return [*map(self._arg, args), *named, *chosen]

    def _remarks(self, kernel: Kernel) -> list[str]:
        found = []
        if kernel.over is not None:
            found.append(f"over {self._arg(kernel.over)}{', by its product' if kernel.within else ''}")
        views = (r.base for r in kernel.results if r is not None and r.base is not None and not r.written)
        found += [f"view of {self._arg(base)}" for base in views]
        held = [r.names[0] for r in kernel.results if r is not None and r.held and r.names]
        if held:
            found.append(f"held as {', '.join(held)}")
        if kernel.why:
            found.append(f"({kernel.why})")
        if kernel.span is not None:
            found.append(f"# {PurePath(kernel.span.source.name).name}:{kernel.span.line}")
        return found

    def _declared(self, value: Value) -> str:
        self.numbers.setdefault(value, len(self.numbers))
        mask = " mask" if value.dtype == "mask" else ""
        device = f" @{value.device}" if value.device is not None else ""
        return f"%{self.numbers[value]} {shape_text(value.shape, value.width)}{mask}{device}"

    def _arg(self, arg: Any) -> str:
        match arg:
            case Value():
                if arg.dtype == "number":
                    return f"{arg.number:g}"
                return f"%{self.numbers.setdefault(arg, len(self.numbers))}"
            case list() | tuple():
                return f"[{', '.join(map(self._arg, arg))}]"
            case Record():
                return f"{arg.name}({', '.join(self._args(arg.args, arg.options))})"
            case LookedUp():
                return self._arg(arg.parts)
            case Rows():
                return rows_text(arg.domain)
            case Position():
                what = "length" if arg.length else "position"
                return f"{what} of {arg.axis.name} in {rows_text(arg.rows.domain)}"
            case Axis() | Device() | Symbol():
                return arg.name
            case Parameter():
                return f"{arg.path}.*" if arg.layer else arg.path
            case Field():
                return f"{arg.kind} {arg.path}"
            case Matrix():
                return " | ".join(p.bias or "0" if arg.bias else _weight(p) for p in arg.products)
            case Heads():
                return " | ".join(map(str, arg.slabs))
            case Function():
                return self.names[arg]
            case Cell():
                return "(step, back)"
            case Derived():
                return f"{arg.op}'{arg.input}"
        return str(arg)


def _weight(product: Product) -> str:
    return product.matrix if product.whole else str(replace(product, bias=None))


def shape_text(shape: Shape, width: int) -> str:
    """`{candidate, t} [4, 36]`; without rows for what is the same everywhere."""
    sizes = ", ".join(str(n) for n in (*(a.size for a in shape.dims), width))
    return f"[{sizes}]" if shape.domain is None else f"{rows_text(shape.domain)} [{sizes}]"


def rows_text(domain: Domain) -> str:
    """`{candidate, t}`; `{}` is a row for each request."""
    names = ["candidate"] * domain.candidate + sorted(a.name for a in domain.axes)
    return f"{{{', '.join(names)}}}"
