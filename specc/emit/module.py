"""Print a graph as a Python module: one readable class that uses the spec's names.

Promises: the text imports only torch, specc_runtime and the packages of the model's operations; computes each
value once, and cites the line of the spec that each statement comes from; the same graph gives the same text.

Assumes: the graph went through `passes.prepared`.
"""

from __future__ import annotations

import re
from pathlib import PurePath

from specc.emit.cell import KERNELS, cell_lines, kernels_text, key_of
from specc.emit.code import WIDTH, Expr, Line, broken, comment, quoted, tuple_text
from specc.emit.function import Unit, Writer
from specc.emit.kernels import LOSSES
from specc.emit.modules import layers_of
from specc.emit.names import Names, class_name
from specc.emit.scoring import scoring_text
from specc.emit.tile import tiles_text
from specc.ir.graph import Graph
from specc.lower import lower
from specc.lower.program import Derived, Function, Parts, Program, Value, walk
from specc.lower.shape import Domain
from specc.ops import OPS

# What a module says of how it is computed, which no line of a spec asks for.
CHOICES = {
    "at_once": "candidates with more numbers are scored in pieces; by axes, how many each row has",
    "looked_up": "where a value was looked up: gradients read it there again, so that it is not kept",
    "in_c_from": "from so many numbers, or multiplications of a product, on a kernel in C computes it",
    "by_request_from": "from so many candidates a request on, what its own positions need is computed once",
}


def source_of(graph: Graph) -> str:
    """Return the text of `model.py`."""
    return sources_of(graph)[0]


def sources_of(graph: Graph) -> tuple[str, str, str]:
    """Return the texts of `model.py`, of the C that it calls, and of the C that computes its scores by
    itself; those in C are empty if there is none."""
    return printed(lower(graph))


def printed(program: Program) -> tuple[str, str, str]:
    """Return the texts of a lowered program, as `sources_of` does for a graph."""
    graph = program.graph
    unit = Unit(graph, Names(class_name(graph.name), KERNELS))
    emitter = _Module(program, unit)
    methods = emitter.methods()
    functions = [line for names, cell in unit.cells for line in cell_lines(names, cell)]
    parts = (kernels_text(unit.cells), tiles_text(unit.tiles, graph.weights))
    kernels = "\n".join(text for text in parts if text)
    at_once = emitter.at_once()
    head = _head(graph, unit, emitter, functions)
    if kernels:
        head += [f'{KERNELS} = "{key_of(kernels)}"', "", ""]
    body = [
        *rendered(functions),
        f"class {class_name(graph.name)}(Model):",
        *([f'    """{_sentence(graph)}"""', ""] if graph.doc else []),
        *at_once,
        "    def __init__(self) -> None:",
        "        super().__init__()",
        *(line for path, call in layers_of(graph) for line in broken(f"self.add({quoted(path)}, {call})", 8)),
        *methods,
    ]
    text = [*_about(graph, "\n".join(body)), *head, *body]
    return "\n".join(text).rstrip() + "\n", kernels, scoring_text(program, unit)


def _sentence(graph: Graph) -> str:
    """Return the first line of the spec's doc comment."""
    first = comment((graph.doc or "").strip().split("\n")[0])
    return first.replace("\\", "/").replace('"', "'")


def _about(graph: Graph, body: str) -> list[str]:
    """Return the module's docstring: where it is from, and what the choices in it mean that have no line of
    the spec."""
    first = f'"""Compiled from {comment(PurePath(graph.source).name)}: edit that, not this.'
    used = {word: means for word, means in CHOICES.items() if re.search(rf"\b{word} ?=", body)}
    told = [f"{word}: {means}" for word, means in used.items()]
    return [first, "", *told, '"""', ""] if told else [f'{first}"""', ""]


def _head(graph: Graph, unit: Unit, emitter: _Module, functions: list[Line]) -> list[str]:
    lines: list[str] = []
    if emitter.keeps or emitter.program.parts is not None:
        lines += ["from typing import NamedTuple", ""]
    body = "\n".join(line.text for line in functions) + emitter.text
    if "torch." in body:
        lines.append("import torch")
    lines.append("from torch import Tensor")
    if "F." in body:
        lines.append("from torch.nn import functional as F")
    names = ["CANDIDATE"] if unit.axes.uses_candidate else []
    names += ["Axis"] if any("= Axis(" in line for line in unit.axes.lines) else []
    names += ["Batch", "Model"]
    names += ["Weights"] if graph.attentions else []
    lines += ["", f"from specc_runtime import {', '.join([*names, 'layers', 'ops'])}"]
    if unit.axes.uses_fixed:
        lines.append("from specc_runtime.layout import fixed")
    used = {kernel.name for kernel in emitter.program.losses.kernels}
    kinds = [name for name in LOSSES if name in used]
    if kinds:
        lines.append(f"from specc_runtime.model import {', '.join(kinds)}")
    modules = imports_of(emitter.program, unit)
    lines += ["", *(f"import {name}" for name in modules)] if modules else []
    lines += ["", *unit.axes.lines, ""] if unit.axes.lines else [""]
    if emitter.keeps:
        lines += [
            "",
            "class Values(NamedTuple):",
            '    """What is computed once for predictions, losses and attentions."""',
            "",
            *(f"    {name}: Tensor" for name in emitter.keeps),
            "",
        ]
    if emitter.program.parts is not None:
        lines += [
            "",
            "class State(NamedTuple):",
            '    """What is of requests alone: computed once for all of their candidates."""',
            *([""] if emitter.state else []),
            *(f"    {name}: Tensor  # {_extent(value)}" for value, name in emitter.state.items()),
            "",
        ]
    return [*lines, ""]


def _extent(value: Value) -> str:
    """Return a value's shape for readers: `[positions of visits.step, 36]`."""
    sizes = [str(size) for size in (*(a.size for a in value.shape.dims), value.width)]
    return f"[{', '.join([_rows(value.shape.domain), *sizes])}]"


def _rows(domain: Domain | None) -> str:
    if domain is None:
        return "1"
    inner = sorted(a.name for a in domain.axes)
    return f"positions of {' and '.join(inner)}" if inner else "requests"


def imports_of(program: Program, unit: Unit) -> list[str]:
    """Return the modules of other packages that operations' templates name."""
    kernels = [k for f in program.functions for k in walk(f)]
    for _, cell in unit.cells:
        kernels += [*cell.step.kernels, *cell.back.kernels]
    names = {k.args[0].op if isinstance(k.args[0], Derived) else k.name.rpartition(".")[2] for k in kernels
             if k.args}  # fmt: skip
    return sorted({module for name in names if name in OPS for module in OPS[name].imports})


class _Module:
    """Writes the class. `keeps`: the fields of `Values`, empty if it is not needed. `state`: the fields of
    `State`."""

    def __init__(self, program: Program, unit: Unit) -> None:
        self.program = program
        self.graph = program.graph
        self.unit = unit
        self.keeps: list[str] = []
        self.state: dict[Value, str] = {}
        self.text = ""

    def methods(self) -> list[str]:
        program = self.program
        parts = [] if program.shared is None else [self._values(program.shared)]
        parts += [self._forward()]
        if program.parts is not None:
            parts += [self._request_part(program.parts), self._candidate_part(program.parts)]
        parts += [self._losses()]
        if program.attention is not None:
            parts.append(self._attention(program.attention))
        parts += [self._output(f) for f in program.outputs]
        lines: list[str] = []
        for part in parts:
            lines += ["", *part]
        self.text = "\n".join(lines)
        return lines

    def at_once(self) -> list[str]:
        """How many numbers of the candidates are computed at once, and how many each has."""
        parts = self.program.parts
        if parts is None or parts.pieces is None:
            return []
        widths = []
        for rows, width in parts.widths.items():
            axes = [self.unit.axes.constant(a) for a in sorted(rows.axes, key=lambda a: a.name)]
            widths.append(f"({tuple_text(axes)}, {width})")
        return [*broken(f"at_once = ({parts.pieces.least}, {tuple_text(widths)})", 4), ""]

    def _values(self, function: Function) -> list[str]:
        writer = Writer(self.unit)
        writer.write(function)
        names, texts = Names("count", "index"), []
        for value in function.results:
            texts.append(writer.text(value).text)
            field = names.take(texts[-1] if texts[-1].isidentifier() else writer.name_of(value))
            self.keeps.append(field)
            self.unit.shared[value] = Expr(f"values.{field}")
        return [
            "    def values(self, batch: Batch) -> Values:",
            *rendered(writer.lines),
            *broken(f"return Values({', '.join(texts)})", 8),
        ]

    def _forward(self) -> list[str]:
        return self._method("forward", "dict[str, Tensor]", self.program.forward, self._shared())

    def _request_part(self, parts: Parts) -> list[str]:
        writer = Writer(self.unit)
        writer.write(parts.request)
        names, texts = Names("count", "index"), []
        for value in parts.request.results:
            texts.append(writer.text(value).text)
            field = names.take(texts[-1] if texts[-1].isidentifier() else writer.name_of(value))
            self.state[value] = field
        return [
            "    def request_part(self, batch: Batch) -> State:",
            *rendered(writer.lines),
            *broken(f"return State({', '.join(texts)})", 8),
        ]

    def _candidate_part(self, parts: Parts) -> list[str]:
        writer = Writer(self.unit)
        writer.names.take("state")
        writer.texts |= {value: Expr(f"state.{field}") for value, field in self.state.items()}
        lines = self._method("candidate_part", "dict[str, Tensor]", parts.candidate, [], writer)
        lines[0] = lines[0].replace("batch: Batch", "state: State, batch: Batch")
        return lines

    def _shared(self) -> list[str]:
        return ["values = self.values(batch)"] if self.keeps else []

    def _losses(self) -> list[str]:
        first = self._shared() or (["predicted = self(batch)"] if self.graph.predictions else [])
        return self._method("losses", "dict[str, Tensor]", self.program.losses, first)

    def _attention(self, function: Function) -> list[str]:
        return self._method("attention", "dict[str, Weights]", function, self._shared())

    def _output(self, function: Function) -> list[str]:
        writer = Writer(self.unit)
        writer.write(function)
        (value,) = function.results
        return [
            f"    def {function.names[0]}(self, batch: Batch) -> Tensor:",
            *rendered(writer.lines),
            *broken(f"return {writer.text(value).text}", 8),
        ]

    def _method(
        self, name: str, gives: str, function: Function, first: list[str], writer: Writer | None = None
    ) -> list[str]:
        writer = writer or Writer(self.unit)
        writer.write(function)
        results = zip(function.keys, function.results, strict=True)
        entries = ", ".join(f"{quoted(key)}: {writer.text(value).text}" for key, value in results)
        return [
            f"    def {name}(self, batch: Batch) -> {gives}:",
            *(f"        {line}" for line in first),
            *rendered(writer.lines),
            *broken(f"return {{{entries}}}", 8),
        ]


def rendered(lines: list[Line]) -> list[str]:
    """Return statements broken to the line length, with the spec's line in a comment where that changes."""
    result: list[str] = []
    last = ""
    for line in lines:
        indent = len(line.text) - len(line.text.lstrip())
        place = "" if line.span is None else f"{PurePath(line.span.source.name).name}:{line.span.line}"
        pieces = broken(line.text.lstrip(), indent) if line.text.strip() else [""]
        if place and place != last:
            note = f"  # {comment(place)}"
            if len(pieces[0]) + len(note) <= WIDTH + 12:
                pieces[0] += note
            else:
                pieces.insert(0, " " * indent + note.strip())
            last = place
        result += pieces
    return result
