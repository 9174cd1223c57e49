"""Print a graph as a portable module: it calls the same kernels by the same names, from
specc_runtime.portable, whose functions torch.export and ONNX support.

Promises: `values` computes the results that are asked for and nothing else; only the weights that these read
are made.

Assumes: the graph went through `passes.prepared`, without the passes that make native loops, and all of its
operations are portable.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePath

from specc.emit.code import broken, comment, quoted
from specc.emit.function import Unit, Writer
from specc.emit.module import imports_of, rendered
from specc.emit.modules import layers_of
from specc.emit.names import Names, class_name
from specc.ir.graph import Graph, walk
from specc.lower.buffers import hold
from specc.lower.model import selected
from specc.lower.program import Function, Program
from specc.lower.program import walk as walk_kernels

ALONE = "output_"
_OWN = ("looked_up", "in_c_from", "by_request_from")


def portable_source_of(graph: Graph, alone: str | None = None) -> str:
    """Return the text of the portable module. alone: the one result to compute, from the request alone or
    from the candidate alone."""
    used = {path for node in walk(graph.nodes) for path in node.weights}
    graph = replace(graph, weights={path: w for path, w in graph.weights.items() if path in used})
    program = selected(graph)
    hold(program)
    function, keys = program.forward, program.forward.keys
    if alone is not None:
        function = next(f for f in program.outputs if f.names[0] == f"{ALONE}{alone}")
        keys = [alone]
    _forget_choices(function)
    unit = Unit(graph, Names(class_name(graph.name), "Portable"))
    writer = Writer(unit)
    writer.write(function)
    results = zip(keys, function.results, strict=True)
    entries = ", ".join(f"{quoted(key)}: {writer.text(value).text}" for key, value in results)
    body = [*rendered(writer.lines), *broken(f"return {{{entries}}}", 8)]
    text = [
        *_head(graph, unit, program, function, "\n".join(body)),
        f"class {class_name(graph.name)}(Portable):",
        "    def __init__(self) -> None:",
        "        super().__init__()",
        *(line for path, call in layers_of(graph) for line in broken(f"self.add({quoted(path)}, {call})", 8)),
        "",
        "    def values(self, batch: Batch) -> dict[str, Tensor]:",
        *body,
    ]
    return "\n".join(text).rstrip() + "\n"


def _head(graph: Graph, unit: Unit, program: Program, function: Function, body: str) -> list[str]:
    name = comment(PurePath(graph.source).name)
    lines = [f'"""Compiled from {name} for export: edit that, not this."""', ""]
    lines += ["import torch"] if "torch." in body else []
    lines += ["from torch import Tensor"]
    lines += ["from torch.nn import functional as F"] if "F." in body else []
    names = ["CANDIDATE"] if unit.axes.uses_candidate else []
    names += ["Axis"] if any("= Axis(" in line for line in unit.axes.lines) else []
    lines += [""]
    lines += [f"from specc_runtime import {', '.join(names)}"] if names else []
    lines += ["from specc_runtime.layout import fixed"] if unit.axes.uses_fixed else []
    lines += [
        "from specc_runtime.portable import layers, ops",
        "from specc_runtime.portable.model import Batch, Portable",
    ]
    modules = imports_of(program, unit)
    lines += ["", *(f"import {name}" for name in modules)] if modules else []
    return [*lines, "", *unit.axes.lines, *([""] if unit.axes.lines else []), ""]


def _forget_choices(function: Function) -> None:
    """Remove the options that only the runtime's native kernels take."""
    for kernel in walk_kernels(function):
        kernel.options = {key: value for key, value in kernel.options.items() if key not in _OWN}
