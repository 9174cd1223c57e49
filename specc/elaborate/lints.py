"""What is legal and yet most likely a mistake: the warnings that other libraries' bugs teach.

Promises: only warnings, each with its reason. W0703 (softmax over one position) is given where the
softmax is elaborated, W0706 (label as input) with the predictions, W0708 with the devices.
"""

from __future__ import annotations

from collections.abc import Iterable

from specc.elaborate.world import AttentionUse, World
from specc.elaborate.written import local_names, references, walk
from specc.ir.graph import Graph, Node
from specc.names.program import KIND_WORDS, Taken, taken
from specc.ops import op
from specc.report import Label
from specc.source import Span
from specc.syntax import tree

_CARRIES = frozenset({op.CONCAT, op.ADD, op.SUB, op.MUL, op.RENAME, op.STACK, op.APPEND, op.SLICE})


def lint(graph: Graph, world: World, attentions: Iterable[AttentionUse]) -> None:
    """Report all lints that need the whole model."""
    unused(world)
    index = {n.id: n for n in graph.nodes}
    _logits(graph, index, world)
    _pipes_of_choices(world)
    for use in attentions:
        if use.keys and use.record.weight in index:
            if not set(use.keys) & _ancestors(use.record.weight, index):
                world.report.warning(
                    "W0707",
                    f"the key of attention `{use.record.path}` has no influence on its weights",
                    use.span,
                    why="the weights are the same whatever is attended to",
                    help="let the score depend on both the query and the key",
                )
        _different_tables(use.queries, use.keys, index, use.span, use.record.path, world)


def _logits(graph: Graph, index: dict[int, Node], world: World) -> None:
    """Report W0713: a `binary` prediction that ends in `sigmoid`, though a sigmoid is applied to
    it anyway."""
    for item in graph.predictions:
        node = index.get(item.node)
        if item.kind == "binary" and node is not None and node.op == op.SIGMOID:
            world.report.warning(
                "W0713",
                f"the prediction `{item.name}` goes through `sigmoid` twice",
                node.span,
                label="applied here",
                secondary=(Label(item.span, "applied to a `binary` prediction anyway"),),
                why="a `binary` prediction is a logit: its probability is the sigmoid of it",
                help="leave the `sigmoid` out",
            )


def _pipes_of_choices(world: World) -> None:
    """Report W0712: `if a then b else c |> f`, where the pipe takes the whole choice."""
    for statement in world.program.main.named.values():
        if statement.span.source is not world.program.main.ident.span.source:
            continue
        for part in walk(statement):
            if isinstance(part, tree.Pipe) and isinstance(part.left, tree.If):
                if part.span.start == part.left.span.start:
                    world.report.warning(
                        "W0712",
                        "this pipe takes the whole `if`, not only what follows `else`",
                        part.right.span,
                        label="applied to either branch",
                        secondary=(Label(part.left.span, "to the value of this"),),
                        why="`|>` binds loosest, so that it takes everything before it",
                        help="put the `if` in `( )` where that is meant, else the branch with its pipe",
                    )


def _ancestors(id: int, index: dict[int, Node]) -> set[int]:
    found: set[int] = set()
    stack = [id]
    while stack:
        at = stack.pop()
        if at in found or at not in index:
            continue
        found.add(at)
        stack.extend(index[at].inputs)
    return found


def _different_tables(
    queries: Iterable[int], keys: Iterable[int], index: dict[int, Node], span: object, path: str, world: World
) -> None:
    """Report W0704: `ad.item` and `visits.item` compared, though their ids index different tables."""
    sides = []
    for roots in (queries, keys):
        tables: dict[str, tuple[str, Node]] = {}
        for root in roots:
            for field, node in _fields(root, index):
                tables[field.split(".", 1)[1]] = (node.weights[0], node)
        sides.append(tables)
    for name in sides[0].keys() & sides[1].keys():
        (first, node), (second, other) = sides[0][name], sides[1][name]
        if first != second:
            assert isinstance(span, Span)
            world.report.warning(
                "W0704",
                f"query and key of attention `{path}` read `{name}` from two tables",
                span,
                secondary=(
                    Label(node.span, f"this is `{first.removesuffix('.weight')}`"),
                    Label(other.span, f"this is `{second.removesuffix('.weight')}`"),
                ),
                why="the same id has two vectors there, so that nothing makes them alike",
                help=f"declare `table {name}s = …` and name it in both spaces",
            )


def _fields(id: int, index: dict[int, Node]) -> list[tuple[str, Node]]:
    """Return the embedded fields that a value is put together from, with no layer between."""
    node = index.get(id)
    if node is None:
        return []
    if node.op in (op.EMBED, op.EMBED_BAG):
        return [(str(node.attrs["field"]), node)]
    if node.op not in _CARRIES:
        return []
    return [f for i in node.inputs for f in _fields(i, index)]


def unused(world: World) -> None:
    """Report W0701 for what is declared and nowhere mentioned, and W0702 for the same inside a block."""
    module = world.program.main
    statements: list[tree.Node] = [*module.named.values(), *module.requires, *module.places, *module.trains]
    mentioned: dict[str, set[int]] = {}
    for statement in statements:
        for name in references(statement):
            mentioned.setdefault(name, set()).add(id(statement))
    for name, item in module.named.items():
        if isinstance(item, tree.Predict | tree.Output | tree.Loss | tree.Device):
            continue
        elsewhere = mentioned.get(name, set()) - {id(item)}
        if isinstance(item, Taken):  # all results of a block have names: one that is used is enough
            elsewhere |= {part for ident in item.of.idents for part in mentioned.get(ident.name, ())}
        if not elsewhere and item.span.source.name == module.ident.span.source.name:
            world.report.warning(
                "W0701",
                f"nothing uses {KIND_WORDS[type(item)]} `{name}`",
                item.ident.span,
                label="never mentioned again",
                help="remove it, or use it",
            )
        if isinstance(item, tree.Block):
            _unused_inside(item, world)
    _unused_libraries(world, set(mentioned))


def _unused_inside(block: tree.Block, world: World) -> None:
    inside = {
        name
        for part in (*block.body, *block.statics, *block.inputs, *block.results)
        for name in references(part)
    }
    kept = {"weight", "score"} if block.kind == "attention" else set()
    names = local_names(block) - {a.name for i in block.inputs for a in i.type.axes}
    unpacked = [i for item in block.body if isinstance(item, tree.Unpack) for i in taken(item)]
    steps = [step for item in block.body if isinstance(item, tree.Scan) for step in item.body]
    # Blocks are exchanged for each other, so an input may be there for the others' sake.
    for item in (*block.statics, *block.body, *steps, *unpacked):
        if isinstance(item, tree.Static | tree.Binding | tree.Layer | tree.Learned):
            name = item.ident.name
            others = {ident.name for ident in item.of.idents} if isinstance(item, Taken) else {name}
            if name in names and others.isdisjoint(inside) and name not in kept:
                word = KIND_WORDS.get(type(item), "static")
                world.report.warning(
                    "W0702",
                    f"nothing in `{block.ident.name}` uses {word} `{name}`",
                    item.ident.span,
                    label="never mentioned again",
                    help="remove it, or use it",
                )


def _unused_libraries(world: World, mentioned: set[str]) -> None:
    module = world.program.main
    attributes = {
        part.base.name
        for item in module.named.values()
        for part in walk(item)
        if isinstance(part, tree.Attribute)
    }
    for name, span in module.use_spans.items():
        if name not in mentioned and name not in attributes:
            world.report.warning("W0701", f"nothing uses library `{name}`", span, help="remove the `use`")
