"""The graph as text: one readable line a node, for `specc dump` and for golden tests.

Promises: the same graph prints the same; numbers are the nodes' ids; regions are indented below
their scan. Leaves the order of nodes as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from specc.ir.graph import Graph, Node
from specc.types.axis import Axis


def print_graph(graph: Graph) -> str:
    """Return the graph as text: a line for each node, such as `%12 = linear(%11) [t, 36]`, its scope and its
    place in the spec; then what the graph returns: predictions, losses, attentions."""
    lines = [f"model {graph.name}"]
    lines += [f"param {name} = {value}" for name, value in graph.params.items()]
    lines += _lines(graph.nodes, "")
    for prediction in graph.predictions:
        kind = f"class({prediction.classes})" if prediction.kind == "class" else prediction.kind
        lines.append(f"predict {prediction.name}: {kind} = %{prediction.node}")
    lines += [f"output {result.name} = %{result.node}" for result in graph.results]
    lines += [f"loss {loss.name} = %{loss.node}" for loss in graph.terms]
    lines += [f"weight of {name} = %{loss.node}" for name, loss in graph.loss_weights.items()]
    for record in graph.attentions:
        score = "" if record.score is None else f", score %{record.score}"
        lines.append(f"attention {record.path}: weight %{record.weight}{score}")
    return "\n".join(lines) + "\n"


def _lines(nodes: tuple[Node, ...], indent: str) -> list[str]:
    left: list[str] = []
    right: list[str] = []
    for node in nodes:
        left.append(f"{indent}%{node.id} = {_call(node)} {node.type}")
        right.append(_remark(node))
        if node.region is not None:
            left += _lines(node.region.nodes, indent + "  ")
            right += [""] * (len(left) - len(right))
            # A region without states just has a value.
            states = [f"%{s} <- " for s in node.region.states] or [""]
            nexts = ", ".join(f"{s}%{n}" for s, n in zip(states, node.region.nexts, strict=True))
            left.append(f"{indent}  next {nexts}")
            right.append("")
    return [f"{a}  {b}".rstrip() for a, b in zip(left, right, strict=True)]


def _call(node: Node) -> str:
    parts = [f"%{i}" for i in node.inputs]
    parts += [f"{key} = {text_of(value)}" for key, value in node.attrs.items() if value is not None]
    parts += [f'"{path}"' for path in node.weights]
    return f"{node.op}({', '.join(parts)})"


def _remark(node: Node) -> str:
    where = ".".join(part for part in (node.scope, _own_name(node)) if part)
    notes = [where] if where else []
    if node.role != "request":
        notes.append(f"<{node.role}>")
    if node.device is not None:
        notes.append(f"@{node.device}")
    notes.append(f"# {PurePath(node.span.source.name).name}:{node.span.line}")
    return " ".join(notes)


def _own_name(node: Node) -> str:
    """Return the binding's name, unless the scope already ends in it."""
    if node.name is None or node.scope.split(".")[-1] == node.name:
        return ""
    return node.name


def text_of(value: Any) -> str:
    """Return an attribute of a node as the graph's text has it."""
    match value:
        case Axis():
            return value.name
        case tuple() | list():
            return "[" + ", ".join(text_of(v) for v in value) + "]"
        case Mapping():
            return "{" + ", ".join(f"{k} = {text_of(v)}" for k, v in value.items()) + "}"
        case bool():
            return str(value).lower()
        case _:
            return str(value)
