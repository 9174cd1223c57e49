"""Which values are the same for every candidate of a request, and which differ.

Assumes: nothing. Promises: a node is "candidate" exactly if a candidate's feature or label, or the
length of a candidate's axis or of one that a candidate's score chose, can reach it; every other node is
"request". Nothing else changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from specc.ir.graph import Graph, Node, Region, fields_of, rankings, reads_of
from specc.ir.inputs import axis_role as axis_role
from specc.ops import op
from specc.types.axis import Axis

REQUEST, CANDIDATE = "request", "candidate"


def assign_roles(graph: Graph) -> Graph:
    spaces = {space.name: space.role for space in graph.spaces}
    fields = {field.path: field.role for space in graph.spaces for field in space.fields}
    known: dict[int, str] = {}
    ranked = rankings(graph.nodes)

    def role(node: Node, captured: Mapping[int, str]) -> str:
        sources = [known[i] for i in reads_of(node, ranked)]
        sources += [axis_role(axis, spaces) for axis in _axes(node)]
        sources += [fields[path] for path in fields_of(node)]
        sources += [CANDIDATE] if node.op in (op.LABEL, op.OWN) else []
        if node.op in (op.ACROSS, op.ACROSS_EACH):
            return REQUEST  # all examples' values are the same for every example
        sources.append(captured.get(node.id, REQUEST))
        return CANDIDATE if CANDIDATE in sources else REQUEST

    def assign(nodes: tuple[Node, ...], captured: Mapping[int, str]) -> tuple[Node, ...]:
        result: list[Node] = []
        for node in nodes:
            own = role(node, captured)
            region = node.region
            if region is not None:
                region = within(node, region, own)
            known[node.id] = own
            result.append(replace(node, role=own, region=region))
        return tuple(result)

    def within(scan: Node, region: Region, own: str) -> Region:
        captured = dict(zip(region.captures, (known[i] for i in scan.inputs), strict=False))
        # A state is what the scan is: its value at one step may come from any of the inputs.
        captured |= dict.fromkeys(region.states, own)
        return replace(region, nodes=assign(region.nodes, captured))

    return graph.with_nodes(assign(graph.nodes, {}))


def _axes(node: Node) -> tuple[Axis, ...]:
    axis = node.attrs.get("axis")
    return (*node.type.axes, axis) if isinstance(axis, Axis) else node.type.axes
