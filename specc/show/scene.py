"""What a picture of a model shows: boxes, clusters and arrows, not yet where they stand.

Promises: the scene has no cycle, every arrow carries the types of the values it stands for, and
the same graph gives the same scene. Leaves positions and looks to `svg` and `mermaid`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import networkx as nx

from specc.ir.graph import FieldSpec, Graph, Node, walk
from specc.ops import definition, op, traits
from specc.show import label
from specc.source import Span

Detail = Literal["blocks", "bindings", "ops"]

# How many components of a node's scope (binding, callee, inner binding, …) name its box.
_DEPTH: dict[Detail, int] = {"blocks": 1, "bindings": 3, "ops": 10**6}


@dataclass(frozen=True)
class Box:
    """`kind`: "space" | "learned" | "value" | "weight" (an attention's) | "predict" | "loss".
    `lines` stand below the title; `role` is what it is computed for; `device` is None where the spec places
    nothing; `place` is the spec line it was written on."""

    key: str
    kind: str
    title: str
    lines: tuple[str, ...]
    parameters: int
    role: str
    place: str
    device: str | None = None
    cluster: str | None = None


@dataclass(frozen=True)
class Cluster:
    """An instance of a block: `parent` is the key of the cluster it stands in."""

    key: str
    title: str
    parent: str | None = None


@dataclass(frozen=True)
class Arrow:
    start: str
    end: str
    label: str


@dataclass(frozen=True)
class Scene:
    title: str
    caption: str
    boxes: tuple[Box, ...]
    clusters: tuple[Cluster, ...]
    arrows: tuple[Arrow, ...]


def scene(graph: Graph, detail: Detail = "bindings") -> Scene:
    """Return the boxes of a graph.

    detail: "blocks" draws one box a top-level name; "bindings" opens the blocks that those call,
        one box an inner binding; "ops" draws every operation.
    """
    scopes = _scopes(graph)
    keys = _keys(graph, detail, scopes)
    visible = {n.id for n in graph.nodes if definition(n).drawn}
    members: dict[str, list[Node]] = {}
    for node in graph.nodes:
        if node.id in visible:
            members.setdefault(keys[node.id], []).append(node)
    boxes = [_box(graph, key, nodes, scopes) for key, nodes in members.items()]
    clusters, inside = _clusters(graph, members)
    boxes = [_placed(box, inside.get(box.key), clusters) for box in boxes]
    arrows = [*_arrows(graph, keys, visible)]
    drawn = {box.key for box in boxes}
    # A space may be read through a second set of tables only.
    boxes += [
        _space_box(graph, key, None) for key in dict.fromkeys(a.start for a in arrows) if key not in drawn
    ]
    for title, kind, id, span in _outputs(graph):
        if any(box.title == title for box in boxes):
            continue
        # It is something that has another name, too.
        source, key, place = graph.node(id), f"{kind} {title}", str(span).rsplit(":", 1)[0]
        lines = () if id in visible else (str(source.attrs.get("value", source.op)),)
        boxes.append(Box(key, kind, title, lines, 0, source.role, place, source.device))
        if id in visible:
            arrows.append(Arrow(keys[id], key, str(source.type)))
    caption = (graph.doc or "").strip().splitlines()
    return Scene(
        graph.name, caption[0].rstrip(" ,:") if caption else "", tuple(boxes), tuple(clusters), tuple(arrows)
    )


# ------------------------------------------------------------------- boxes


def _keys(graph: Graph, detail: Detail, scopes: Mapping[int, str]) -> dict[int, str]:
    """Return the box of each node: by its space, its weight, or the first components of its scope."""
    keys: dict[int, str] = {}
    fields = {f.path: f for s in graph.spaces for f in s.fields}
    for node in graph.nodes:
        space = _space(node, fields)
        if space is not None:
            keys[node.id] = f"space {space}"
        elif node.op == op.TRANSFER:
            keys[node.id] = keys[node.inputs[0]]
        elif node.op in (op.LEARNED, op.ROWS):
            keys[node.id] = f"learned {node.weights[0]}"
        elif detail == "ops":
            keys[node.id] = f"{scopes[node.id]} {node.id}"
        else:
            parts = (scopes[node.id] or node.name or f"{node.op}{node.id}").split(".")
            shared = parts[0] not in graph.bindings and parts[0] in {w.owner for w in graph.weights.values()}
            named = parts[0] in {p.name for p in graph.predictions} | {x.name for x in graph.losses}
            # A declared layer is one thing however often it is used.
            keys[node.id] = ".".join(parts[: 1 if shared and not named else _DEPTH[detail]])
    for node in graph.nodes:  # the value of a space is its fields side by side
        if node.op == op.CONCAT and node.inputs:
            owners = {keys[source.id] for source in _sources(graph, node)}
            owner = owners.pop()
            name = owner.removeprefix("space ")
            alone = not owners and owner.startswith("space ")
            if alone and node.scope in ("", name) and node.name in (None, name):
                keys[node.id] = owner
    while knots := _knots(graph, keys):
        before = len(set(keys.values()))
        for key in sorted(knots):
            _untie(graph, keys, key)
        if len(set(keys.values())) == before:  # nodes that stand alone close no circle
            for node in graph.nodes:
                if keys[node.id] in knots:
                    keys[node.id] = f"{keys[node.id]} {node.id}"
    return keys


def _scopes(graph: Graph) -> dict[int, str]:
    """Return the scope of each node; what a layer consists of is in the layer's, as the weights' paths
    say."""
    scopes: dict[int, str] = {}
    for node in graph.nodes:
        scope = node.scope
        if node.weights and traits(node).source is None:
            inner = node.weights[0].rsplit(".", 2)[0]
            if "." in node.weights[0] and (inner.startswith(scope + ".") or not _within(inner, scope)):
                scope = inner
        elif len(node.inputs) == 1 and _of_layer(node) and node.name is None:
            before = scopes.get(node.inputs[0], "")
            if before.startswith(scope + "."):
                scope = before
        scopes[node.id] = scope
    return scopes


def _of_layer(node: Node) -> bool:
    """Return whether a node that has no weights is drawn with the layer before it."""
    return traits(node).activation or node.op == op.DROPOUT


def _within(path: str, scope: str) -> bool:
    """Return whether a weight's path and a scope begin with the same declared name."""
    return path.split(".")[0] == scope.split(".")[0]


def _untie(graph: Graph, keys: dict[int, str], key: str) -> None:
    """Part the nodes of a box that others stand between, in their order; the last part keeps the key."""
    part: dict[int, int] = {}
    after: dict[int, int] = {}
    for node in graph.nodes:
        reached = [part[i] + (keys[node.id] != key) if i in part else after.get(i, 0) for i in node.inputs]
        (part if keys[node.id] == key else after)[node.id] = max(reached, default=0)
    last = max(part.values())
    for id, number in part.items():
        if number < last:
            keys[id] = f"{key} {number}"


def _space(node: Node, fields: dict[str, FieldSpec]) -> str | None:
    field = fields.get(str(node.attrs.get("field")))
    if field is None or (field.table is not None and field.table not in node.weights):
        return None  # a second set of tables (`lookup`) belongs to the binding that looks up
    return field.space


def _knots(graph: Graph, keys: dict[int, str]) -> set[str]:
    quotient: nx.DiGraph[str] = nx.DiGraph()
    for node in graph.nodes:
        for i in node.inputs:
            if keys[i] != keys[node.id]:
                quotient.add_edge(keys[i], keys[node.id])
    return {k for part in nx.strongly_connected_components(quotient) if len(part) > 1 for k in part}


def _space_box(graph: Graph, key: str, device: str | None) -> Box:
    space = next(s for s in graph.spaces if s.name == key.removeprefix("space "))
    axes = ", ".join(f"{a.name} ≤ {a.bound}" for a in space.axes)
    title = f"{space.name}[{axes}]" if axes else space.name
    lines = tuple(label.field(f) for f in space.fields)
    place = str(space.span).rsplit(":", 1)[0]
    return Box(key, "space", title, lines, 0, space.role, place, device)


def _box(graph: Graph, key: str, nodes: list[Node], scopes: Mapping[int, str]) -> Box:
    weights = {w for n in walk(tuple(nodes)) for w in n.weights if not key.startswith("space ")}
    parameters = sum(math.prod(graph.weights[w].shape) for w in weights)
    role = "candidate" if any(n.role == "candidate" for n in nodes) else "request"
    first = min(nodes, key=lambda n: (n.span.source.name != graph.source, n.span.start))
    place = str(first.span).rsplit(":", 1)[0]
    ids = {n.id for n in nodes}
    placed = Counter(n.device for n in nodes if n.device is not None).most_common(1)
    device = placed[0][0] if placed and graph.devices else None
    if key.startswith("space "):
        return _space_box(graph, key, device)
    if key.startswith("learned "):
        shape = (str(nodes[0].type),)
        return Box(key, "learned", nodes[0].weights[0], shape, parameters, role, place, device)
    kind, title = "value", key.split(" ")[0].rsplit(".", 1)[-1]
    if all(n.name != title for n in nodes):
        title = label.plain(title)  # an instance of a block, not a binding of that name
    if " " in key:
        title = nodes[-1].name or label.word(nodes[-1])
    lines = label.operations(graph, key, nodes, scopes)
    own = key.split(" ")[0].split(".")[0]
    output = next((o for o in _outputs(graph) if o[2] in ids and own == _output_name(o[0])), None)
    if output is not None:
        title, kind = output[:2]
    elif any(r.weight in ids for r in graph.attentions):
        kind = "weight"
    if lines and lines[0].split(" ")[0] == title and "→" not in lines[0]:
        lines = tuple(filter(None, (lines[0][len(title) :].strip(),)))  # `mlp` above `mlp 200·80`
    return Box(key, kind, title, lines, parameters, role, place, device)


def _outputs(graph: Graph) -> list[tuple[str, str, int, Span]]:
    """Return predictions and losses: title, kind of box, node, place."""
    found = [
        (f"{p.name}: " + (f"class({p.classes})" if p.kind == "class" else p.kind), "predict", p.node, p.span)
        for p in graph.predictions
    ]
    found += [(f"output {r.name}", "predict", r.node, r.span) for r in graph.results]
    found += [(f"loss {x.name}", "loss", x.node, x.span) for x in graph.terms]
    weights = graph.loss_weights.items()
    return found + [(f"weight of {name}", "loss", x.node, x.span) for name, x in weights]


def _output_name(title: str) -> str:
    return title.removeprefix("loss ").removeprefix("output ").removeprefix("weight of ").split(":")[0]


# ---------------------------------------------------------------- clusters


def _clusters(graph: Graph, members: dict[str, list[Node]]) -> tuple[list[Cluster], dict[str, str]]:
    """Return the block instances that hold two boxes or more, and the innermost one of each box."""
    bound = _bindings(graph)
    attention = {r.path for r in graph.attentions}
    chains: dict[str, list[str]] = {}
    count: dict[str, int] = {}
    for key, nodes in members.items():
        if key.startswith("space "):
            continue
        if key.startswith("learned "):  # it stands in a frame, and makes none
            parts = nodes[0].weights[0].split(".")
            chains[key] = [".".join(parts[:i]) for i in range(2, len(parts))]
            continue
        parts = nodes[0].scope.split(".")
        longest = len(key.split(" ")[0].split("."))
        prefixes = [".".join(parts[:i]) for i in range(2, min(len(parts), longest) + 1)]
        chains[key] = [p for p in prefixes if p not in bound]
        for prefix in chains[key]:
            count[prefix] = count.get(prefix, 0) + 1
    kept = [p for p in count if count[p] > 1]
    clusters: list[Cluster] = []
    for path in kept:
        parent = next((p for p in reversed(kept) if path.startswith(p + ".")), None)
        owner, callee = path.split(".")[0], label.plain(path)
        kind = "attention " if path in attention else ""
        title = f"{owner} · {kind}{callee}" if parent is None else f"{kind}{callee}"
        clusters.append(Cluster(path, title, parent))
    inside = {
        key: max((p for p in chain if p in set(kept)), key=len, default="") for key, chain in chains.items()
    }
    return clusters, {k: v for k, v in inside.items() if v}


def _bindings(graph: Graph) -> set[str]:
    """Return the scopes that are bindings: some node at or below them has their last part as its name."""
    found: set[str] = set()
    for node in graph.nodes:
        parts = node.scope.split(".")
        found.update(".".join(parts[:i]) for i in range(1, len(parts) + 1) if parts[i - 1] == node.name)
    return found


def _placed(box: Box, cluster: str | None, clusters: list[Cluster]) -> Box:
    title = box.title
    if cluster is not None and box.key == cluster:
        title = "return"  # what a block's last line computes has no name of its own
    if cluster is not None and box.kind == "learned":
        title = title.rsplit(".", 1)[-1]
    return replace(box, title=title, cluster=cluster)


# ------------------------------------------------------------------ arrows


def _arrows(graph: Graph, keys: dict[int, str], visible: set[int]) -> tuple[Arrow, ...]:
    """Return one arrow between each two boxes, with the distinct types it carries."""
    fields = {f.path: f for s in graph.spaces for f in s.fields}
    carried: dict[tuple[str, str], list[str]] = {}

    def carry(start: str, end: str, text: str) -> None:
        labels = carried.setdefault((start, end), [])
        if text and text not in labels:
            labels.append(text)

    for node in graph.nodes:
        if node.id not in visible:
            continue
        field = fields.get(str(node.attrs.get("field")))
        if field is not None and keys[node.id] != f"space {field.space}":
            carry(f"space {field.space}", keys[node.id], "ids")
        for source in _sources(graph, node):
            if keys[source.id] != keys[node.id]:
                carry(keys[source.id], keys[node.id], str(source.type))
    return tuple(Arrow(a, b, ", ".join(labels)) for (a, b), labels in carried.items())


def _sources(graph: Graph, node: Node) -> list[Node]:
    """Return the drawn values a node depends on: what is hidden is looked through."""
    found: list[Node] = []
    for i in node.inputs:
        source = graph.node(i)
        found += _sources(graph, source) if not definition(source).drawn else [source]
    return found
