"""Every stage of the compiler as text, for whoever wants to see what it made of a spec.

Promises: the same spec gives the same text; nothing here changes what a stage computes, or imports torch.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from specc import driver
from specc.elaborate.written import references
from specc.emit import source_of
from specc.ir.graph import Graph, walk
from specc.ir.print import print_graph
from specc.lower import lower
from specc.lower.print import print_program
from specc.names.program import Module, Program
from specc.passes import Selection, optimise, stages
from specc.report import Report
from specc.source import Source
from specc.syntax import align, tree
from specc.syntax.outline import outline
from specc.syntax.parse import parse
from specc.syntax.pretty import Line
from specc.syntax.print import print_statement

STAGES = ("tree", "program", "graph", "passes", "lowered", "source")


def dump(path: Path | str, stage: str, params: Mapping[str, Any], passes: Selection, report: Report) -> str:
    """A stage of a spec file as text; "" after reporting why there is none. Raises PassError."""
    source = driver.read(path, report)
    return "" if source is None else dump_source(source, Path(path).parent, stage, params, passes, report)


def dump_source(
    source: Source,
    directory: Path | None,
    stage: str,
    params: Mapping[str, Any],
    passes: Selection,
    report: Report,
) -> str:
    """The same of a text; what it uses and extends is looked for in `directory`."""
    if stage == "tree":
        return outline(parse(source, report))
    program = driver.load_program(source, directory, report)
    if program is None:
        return ""
    if stage == "program":
        return program_text(program)
    graph = driver.load_graph(program, params, report)
    if graph is None:
        return ""
    if stage == "graph":
        return print_graph(graph)
    if stage == "passes":
        return passes_text(graph, passes)
    optimised = optimise(graph, passes)
    return print_program(lower(optimised)) if stage == "lowered" else source_of(optimised)


def program_text(program: Program) -> str:
    """Every declaration under the name it is found by, with the file that made it: bases are merged in, and
    the blocks of libraries that the model reaches stand below."""
    main = program.main
    own: list[tree.Statement] = [*main.named.values(), *main.requires, *main.places, *main.trains]
    lines = [Line(f"{main.kind} {main.name}"), Line(""), *_declared(own)]
    for module, blocks in _reached(program, own).items():
        lines += [Line(""), Line(f"library {module}"), Line(""), *_declared(blocks)]
    return "\n".join(align.remarks(lines)) + "\n"


def _declared(items: list[tree.Statement]) -> Iterator[Line]:
    for item in items:
        written = print_statement(item)
        head = next((i for i, line in enumerate(written) if line.endswith("{")), len(written) - 1)
        text = " ".join(line.strip() for line in written[: head + 1])
        text = re.sub(r"(?<=[(\[]) |,? (?=[)\]])", "", text) + (" … }" if head < len(written) - 1 else "")
        yield Line(text, f"# {PurePath(item.span.source.name).name}:{item.span.line}")


def _reached(program: Program, own: list[tree.Statement]) -> dict[str, list[tree.Statement]]:
    """By library, the blocks that the model needs from it, directly or not."""
    found: dict[str, list[tree.Statement]] = {}
    seen: set[int] = set()
    waiting: list[tuple[Module, tree.Node]] = [(program.main, item) for item in reversed(own)]
    while waiting:
        module, item = waiting.pop()
        for name in references(item):
            target = program.block(module, name)
            if target is None or id(target[1]) in seen:
                continue
            seen.add(id(target[1]))
            waiting.append(target)
            if target[0] is not program.main:
                found.setdefault(target[0].name, []).append(target[1])
    return found


def passes_text(graph: Graph, passes: Selection) -> str:
    """The graph as the passes get it, then for each pass the lines it took out and put in."""
    parts: list[str] = []
    before, count = "", 0
    for name, after in stages(graph, passes):
        text, nodes = print_graph(after), sum(1 for _ in walk(after.nodes))
        if not before:
            parts.append(f"== {name}: {nodes} nodes\n{text}")
        else:
            changes = list(difflib.unified_diff(before.splitlines(), text.splitlines(), n=0, lineterm=""))
            lines = [line for line in changes[2:] if not line.startswith("@@")]
            counted = f"{count} -> {nodes} nodes" if nodes != count else f"{nodes} nodes"
            parts.append(
                f"== {name}: {counted}\n" + ("".join(f"{x}\n" for x in lines) or "(changes nothing)\n")
            )
        before, count = text, nodes
    return "\n".join(parts)
