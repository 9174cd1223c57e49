"""Sources moved out of scans: fields, parameters, positions and lengths become captures.

Assumes: nothing. Promises: no field, learned value, position or length is read inside a scan's
region; it is captured there instead. Constants stay where they are. The meaning is the same.
"""

from __future__ import annotations

from dataclasses import replace

from specc.ir.graph import Graph, Node, walk
from specc.ops import Origin, op, traits


def lift_sources(graph: Graph) -> Graph:
    next_id = max((node.id for node in walk(graph.nodes)), default=-1) + 1

    def fresh() -> int:
        nonlocal next_id
        next_id += 1
        return next_id - 1

    def lifted(nodes: tuple[Node, ...]) -> tuple[Node, ...]:
        result: list[Node] = []
        for node in nodes:
            if node.region is None:
                result.append(node)
                continue
            region = replace(node.region, nodes=lifted(node.region.nodes))
            sources = [n for n in region.nodes if _is_source(n)]
            if not sources:
                result.append(replace(node, region=region))
                continue
            first = len(region.captures)
            outside = [replace(source, id=fresh()) for source in sources]
            captures = {
                source.id: Node(
                    source.id, op.CAPTURE, (), source.type, source.span, {"index": first + i}, (),
                    source.scope, source.name, role=source.role,
                )
                for i, source in enumerate(sources)
            }  # fmt: skip
            region = replace(
                region,
                nodes=tuple(captures.get(n.id, n) for n in region.nodes),
                captures=(*region.captures, *captures),
                inits=tuple(None if i is None else i + len(sources) for i in region.inits),
            )
            inputs = (*node.inputs[:first], *(n.id for n in outside), *node.inputs[first:])
            result += [*outside, replace(node, inputs=inputs, region=region)]
        return tuple(result)

    return graph.with_nodes(lifted(graph.nodes))


def _is_source(node: Node) -> bool:
    return traits(node).source not in (None, Origin.LITERAL)
