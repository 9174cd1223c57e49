"""What a box says about itself: its operations, in few words.

Promises: at most five words in the order of the computation; an MLP and an attention are one word each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from specc.ir.graph import FieldSpec, Graph, Node, axis_of
from specc.ops import definition, op, traits

_MOST_WORDS = 5
_MLP = re.compile(r"mlp(_\d+)?$")
_NUMBER = re.compile(r"_\d+$")


def field(field: FieldSpec) -> str:
    return f"{field.name}: {field.encoding} [{field.width}]"


def plain(path: str) -> str:
    """Return the last name of a path, without the number that tells instances apart."""
    return _NUMBER.sub("", path.rsplit(".", 1)[-1])


def operations(graph: Graph, key: str, nodes: Sequence[Node], scopes: Mapping[int, str]) -> tuple[str, ...]:
    """Return the line below a box's title: `concat → mlp 36 prelu → linear 1`; none where the title says it
    all."""
    words: list[str] = []
    for word in _words(graph, key, nodes, scopes):
        if not words or words[-1] != word:
            words.append(word)
    half = len(words) // 2
    if half > 1 and words[:half] == words[half:]:
        words = words[:half]  # a layer that is used twice
    if len(words) > _MOST_WORDS:
        words = [*words[: _MOST_WORDS - 2], "…", words[-1]]
    return (" → ".join(words),) if words else ()


def _words(graph: Graph, key: str, nodes: Sequence[Node], scopes: Mapping[int, str]) -> Iterator[str]:
    parts = {r.path for r in graph.attentions if r.path != key and not key.startswith(r.path + ".")}

    def inner(node: Node) -> str:
        """Return the attention or MLP inside the box that a node belongs to."""
        scope = scopes[node.id]
        at = next((p for p in parts if scope == p or scope.startswith(p + ".")), "")
        return at or (scope if _MLP.search(scope) else "")

    for path, group in groupby(nodes, inner):
        if not path:
            yield from (word(node) for node in group if not traits(node).condition)
        elif path in parts:
            yield plain(path).replace("_", " ")
        else:
            yield layers(list(group))


def layers(nodes: Sequence[Node]) -> str:
    """Write an MLP as `mlp 200·80 dice`."""
    distinct = {n.weights[0]: n.type.width for n in nodes if n.op == op.LINEAR}  # used twice, named once
    sizes = "·".join(map(str, distinct.values()))
    acts = list(dict.fromkeys(word(n) for n in nodes if traits(n).activation))
    return " ".join(["mlp", sizes, *acts])


def word(node: Node) -> str:
    axis = axis_of(node)
    match node.op:
        case op.LINEAR:
            return f"{node.op} {node.type.width}"
        case op.SCAN:
            back = " backward" if node.attrs["backward"] else ""
            return f"{node.op} over {axis.name}{back}" if axis else node.op
        case op.EMBED | op.EMBED_BAG:
            return op.LOOKUP
    known = definition(node)
    if axis is not None and known.call is not None and known.call.clauses.keys() <= {"over", "where"}:
        where = " where …" if len(node.inputs) > 1 else ""
        return f"{node.op} over {axis.name}{where}" if known.call.clauses else known.name
    return known.symbol or node.op.replace("_", " ")
