"""What a block promises: its result's type, an attention's weights, an encoder's sequence.

Promises: what breaks a promise is reported where it is made; an attention leaves a record of its weights.
"""

from __future__ import annotations

from functools import partial

from specc.elaborate.arguments import declared_width, is_ancestor
from specc.elaborate.scope import Scope
from specc.elaborate.world import AttentionUse, Fault, Given, Site, World, all_of
from specc.ir.graph import AttentionRecord, Node
from specc.report import Label
from specc.syntax import tree
from specc.types.axis import Axis
from specc.types.static import describe, kind_of


def check_results(block: tree.Block, nodes: list[Node], scope: Scope) -> None:
    """Check what a block gives against what it declares."""
    returned = next(s for s in block.body if isinstance(s, tree.Return))
    if len(nodes) != len(block.results):
        raise scope.world.fault(
            "E0506",
            f"`{block.ident.name}` returns {_values(len(nodes))}, and declares {len(block.results)}",
            returned.span,
            expected=", ".join(type_.span.text for type_ in block.results),
            found=", ".join(str(node.type) for node in nodes),
            secondary=(Label(block.result.span, "declared here"),),
            help="write the type of each after `->`: `-> [d], [t, e]`",
        )
    every = zip(block.results, nodes, returned.values, strict=True)
    all_of(*(partial(_check_result, block, *one, scope) for one in every))


def _values(count: int) -> str:
    return "one value" if count == 1 else f"{count} values"


def _check_result(
    block: tree.Block, declared: tree.TypeExpr, node: Node, value: tree.Expr, scope: Scope
) -> None:
    world, place = scope.world, value.span
    site = Site(scope, scope.frame, scope.path)
    found: set[Axis] = set()

    def wrong(code: str, message: str, advice: str = "") -> Fault:
        return world.fault(
            code,
            message,
            place,
            expected=declared.span.text,
            found=str(node.type),
            secondary=(Label(declared.span, "declared here"),),
            help=advice,
        )

    for ident in declared.axes:
        local = scope.axes_named(ident.name)
        matching = [a for a in node.type.axes if a in local]
        matching = matching or [a for a in node.type.axes if a.name == ident.name]
        if not matching:
            raise wrong("E0506", f"`{block.ident.name}` returns a value without the axis `{ident.name}`")
        found.update(matching)
    for axis in node.type.axes:
        if axis not in found and axis not in scope.passing and not is_ancestor(axis, node.type.axes):
            raise wrong(
                "E0506",
                f"`{block.ident.name}` returns a value with an axis `{axis.name}` that it does not declare",
                f"reduce over it, such as `sum(…, over {axis.name})`, or declare it after `->`",
            )
    if isinstance(declared.width, tree.Ref) and scope.find(declared.width.name) is None:
        return  # a width that only the body decides
    wanted = declared_width(declared.width, site)
    if wanted != node.type.width:
        text = declared.width.span.text
        raise wrong(
            "E0506",
            f"`{block.ident.name}` returns {node.type.width} channels, not "
            + (text if isinstance(declared.width, tree.Number) else f"{text} = {describe(wanted)}"),
            f"end it with `|> linear({text})`, or declare what it returns",
        )


def record_attention(block: tree.Block, inputs: dict[str, Given], result: Node, scope: Scope) -> None:
    world = scope.world
    entry = scope.entries.get("weight")
    if entry is None or not isinstance(entry.statement, tree.Binding | tree.Scan):
        if world.report.lost("weight", block.span):
            raise Fault
        raise world.fault(
            "E0504",
            f"attention `{block.ident.name}` does not say what its weights are",
            block.ident.span,
            why="an attention's weights are kept, so that they can be inspected for any example",
            help="name them: `weight = softmax(score, over …)`",
        )
    nodes: dict[str, Node] = {}
    for name in ("weight", "score"):
        known = scope.entries.get(name)
        if known is not None and isinstance(known.statement, tree.Binding | tree.Scan):
            if isinstance(known.value, Node):
                nodes[name] = known.value
    if "weight" not in nodes:
        raise world.fault(
            "E0504",
            f"the weights of attention `{block.ident.name}` are {kind_of(entry.value)}, not a value",
            entry.span,
            why="an attention's weights are kept, so that they can be inspected for any example",
            help="compute them from the query and the key: `weight = softmax(score, over …)`",
        )
    path, count = scope.path, 1
    taken = {use.record.path for use in world.attentions}
    while path in taken:
        count += 1
        path = f"{scope.path}_{count}"
    score = nodes["score"].id if "score" in nodes else None
    record = AttentionRecord(path, nodes["weight"].id, score, block.ident.span)
    keys = tuple(node.id for name, (node, _) in inputs.items() if name.startswith("key"))
    queries = tuple(node.id for name, (node, _) in inputs.items() if name.startswith("query"))
    place = world.call_sites[0].span if world.call_sites else block.ident.span
    world.attentions.append(AttentionUse(record, result.id, queries, keys, place))


def declared_twice(block: tree.Block) -> list[tuple[tree.Ident, tree.Ident]]:
    """Return names that a signature has twice, the first place and the other."""
    seen: dict[str, tree.Ident] = {}
    names = [i.ident for i in block.inputs] + [s.ident for s in block.statics]
    return [(seen[ident.name], ident) for ident in names if seen.setdefault(ident.name, ident) is not ident]


def check_block(block: tree.Block, world: World) -> None:
    """Check what a block must have wherever it is called from, and even if it is not called."""
    if block.kind == "encoder" and not any(item.type.axes for item in block.inputs):
        world.report.error(
            "E0505",
            f"encoder `{block.ident.name}` reads no sequence",
            block.ident.span,
            expected="at least one input with an axis, such as `x[t, d]`",
            help="give an input an axis, or declare it as a `block`",
        )
    if (
        block.kind == "attention"
        and not world.report.lost("weight", block.span)
        and not any(
            (isinstance(s, tree.Binding) and s.ident.name == "weight")
            or (isinstance(s, tree.Scan) and any(state.ident.name == "weight" for state in s.states))
            for s in block.body
        )
    ):
        world.report.error(
            "E0504",
            f"attention `{block.ident.name}` does not say what its weights are",
            block.ident.span,
            why="an attention's weights are kept, so that they can be inspected for any example",
            help="name them: `weight = softmax(score, over …)`",
        )
    for first, again in declared_twice(block):
        world.report.error(
            "E0202",
            f"`{again.name}` is declared twice",
            again.span,
            secondary=(Label(first.span, "first declared here"),),
            help="give one of them another name",
        )
    returns = [s for s in block.body if isinstance(s, tree.Return)]
    if not returns and not world.report.lost("return", block.span):
        world.report.error(
            "E0501",
            f"`{block.ident.name}` returns nothing",
            block.ident.span,
            help="end its body with `return …`",
        )
