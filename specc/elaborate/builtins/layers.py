"""Layers: `linear mlp norm batch_norm dropout dice prelu residual repeat fan lookup`.

`mlp`, `residual`, `repeat` and `fan` write nothing of their own: they expand to other layers.
"""

from __future__ import annotations

from typing import Any

from specc.elaborate.broadcast import broadcast
from specc.elaborate.builtins.signature import Arguments, Builtin, built_in, declare
from specc.elaborate.builtins.transposed import along_axis
from specc.elaborate.builtins.widths import narrow, new_axis, without_axis_named
from specc.elaborate.options import COUNT, is_count
from specc.elaborate.world import LayerValue, Site
from specc.ir.graph import Node, Weight
from specc.ops import op
from specc.ops.definition import Option
from specc.ops.layers import LINEAR_OPTIONS, NO_BIAS
from specc.report import Label
from specc.source import Span
from specc.types.axis import Type, union
from specc.types.many import nowhere
from specc.types.static import describe, real


def weight(
    args: Arguments, path: str, leaf: str, shape: tuple[int, ...], kind: str, init: Any, l2: float = 0.0
) -> str:
    return args.world.weight(Weight(f"{path}.{leaf}", shape, kind, init, args.span, args.site.owner, l2=l2))


def _linear_at(args: Arguments, x: Node, n: int, path: str, options: dict[str, Any]) -> Node:
    weights = [weight(args, path, "weight", (n, x.type.width), "matrix", options["init"], options["l2"])]
    if options["bias"]:
        weights.append(weight(args, path, "bias", (n,), "bias", options["bias_init"]))
    elif options["bias_init"] != NO_BIAS:
        raise args.world.fault(
            "E0404",
            "`bias_init` starts a bias, and `bias = false` leaves it out",
            args.span,
            help="remove one of the two",
        )
    return args.add(op.LINEAR, [x], x.type.with_width(n), {}, tuple(weights))


@built_in(op.LINEAR)
def _linear(args: Arguments) -> Node:
    n, path = args.options["n"], args.site.child("linear")
    return along_axis(args, n, lambda x: _linear_at(args, x, n, path, dict(args.options)))


def _dropout_at(args: Arguments, x: Node, p: float) -> Node:
    return x if nowhere(p) else args.add(op.DROPOUT, [x], x.type, {"p": p})


def _mlp(args: Arguments) -> Node:
    options = dict(args.options)
    path = args.site.child("mlp")
    inner = Site(args.site.scope, args.site.frame, path)
    sizes = options["sizes"]
    return along_axis(args, sizes[-1] if sizes else None, lambda x: _layers(args, x, inner, options))


def _layers(args: Arguments, x: Node, inner: Site, options: dict[str, Any]) -> Node:
    """Return the layers of an `mlp`, one after another."""
    for size in options["sizes"]:
        x = _linear_at(args, x, size, inner.child("linear"), options)
        if options["norm"] is not None:
            x = inner.apply(options["norm"], [(x, args.span)], args.span)
        if options["act"] is not None:
            x = inner.apply(options["act"], [(x, args.span)], args.span)
        x = _dropout_at(args, x, options["dropout"])
    return x


@built_in(op.NORM)
def _norm(args: Arguments) -> Node:
    path, n = args.site.child("norm"), args.x.type.width
    weights = (
        weight(args, path, "scale", (n,), "scale", ("ones",)),
        weight(args, path, "shift", (n,), "shift", ("zeros",)),
    )
    return args.add(op.NORM, [args.x], args.x.type, {"eps": real(args.options["eps"])}, weights)


def _statistics(args: Arguments) -> dict[str, Any]:
    frame = args.site.frame
    if frame.outer is not None and args.options["statistics"] != "fixed":
        assert frame.axis is not None
        raise args.world.fault(
            "E0514",
            "a batch has no statistics inside of a scan",
            args.span,
            label=f"inside of a scan over `{frame.axis.name}`",
            why="at each step the examples are at other positions, and some have ended already",
            help="use `norm`, which needs no batch, or `statistics = fixed`",
        )
    attrs: dict[str, Any] = {k: real(args.options[k]) for k in ("eps", "momentum")}
    return {**attrs, "statistics": args.options["statistics"]}


def _running(args: Arguments, path: str, *shape: int) -> tuple[str, str]:
    return (
        weight(args, path, "running_mean", shape, "buffer", ("zeros",)),
        weight(args, path, "running_var", shape, "buffer", ("ones",)),
    )


@built_in(op.BATCH_NORM)
def _batch_norm(args: Arguments) -> Node:
    path, n, groups = args.site.child("batch_norm"), args.x.type.width, args.options["groups"]
    if (groups is None) != (args.by is None):
        missing, instead = "how many groups there are", "`groups = 3`"
        if args.by is None:
            missing, instead = "which group a value is of", "by a number from 0 on: `by domain.number`"
        raise args.world.fault(
            "E0404", f"nothing says {missing}", args.span, help=f"say it, such as {instead}"
        )
    shape = (n,) if groups is None else (groups, n)
    weights: tuple[str, ...] = ()
    if args.options["affine"]:
        weights += (weight(args, path, "scale", shape, "scale", ("ones",)),)
        weights += (weight(args, path, "shift", shape, "shift", ("zeros",)),)
    weights += _running(args, path, *shape)
    if args.by is not None:
        attrs = {**_statistics(args), "groups": groups}
        return args.add(op.BATCH_NORM_BY, [args.x, _group(args, *args.by)], args.x.type, attrs, weights)
    return args.add(op.BATCH_NORM, [args.x], args.x.type, _statistics(args), weights)


def _group(args: Arguments, group: Node, place: Span) -> Node:
    """Return the number that says which group a value is of."""
    beside = [a for a in group.type.axes if a not in args.x.type.axes]
    if group.type.width != 1 or beside:
        raise args.world.fault(
            "E0309",
            "a group is one number for each vector",
            place,
            expected=str(args.x.type.with_width(1)),
            found=str(group.type),
            help="of a field that is looked up, have the number as well: `number: number(none, from …)`",
        )
    return group


@built_in(op.DICE)
def _dice(args: Arguments) -> Node:
    path, n = args.site.child("dice"), args.x.type.width
    slope = weight(args, path, "slope", (n,), "slope", ("zeros",))
    return args.add(op.DICE, [args.x], args.x.type, _statistics(args), (slope, *_running(args, path, n)))


@built_in(op.PRELU)
def _prelu(args: Arguments) -> Node:
    path, n = args.site.child("prelu"), args.x.type.width
    slope = weight(args, path, "slope", (n,), "slope", ("constant", real(args.options["init"])))
    return args.add(op.PRELU, [args.x], args.x.type, {}, (slope,))


@built_in(op.DROPOUT)
def _dropout(args: Arguments) -> Node:
    return _dropout_at(args, args.x, args.options["p"])


def _residual(args: Arguments) -> Node:
    inner: LayerValue = args.options["layer"]
    out = args.site.apply(inner, [args.nodes[0]], args.span)
    if out.type != args.x.type:
        raise args.world.fault(
            "E0310",
            "a residual adds a layer's output to its input, so they must have one type",
            args.span,
            expected=str(args.x.type),
            found=str(out.type),
            secondary=(Label(args.nodes[0][1], f"the input is {args.x.type}"),),
            help=f"end the layer with `linear({args.x.type.width})`",
        )
    type_ = broadcast(args.site, args.span, args.nodes[0], (out, args.span))
    return args.add(op.ADD, [args.x, out], type_)


def _repeat(args: Arguments) -> Node:
    x, place = args.nodes[0]
    for _ in range(args.options["n"]):
        x = args.site.apply(args.options["layer"], [(x, place)], args.span)
    return x


def _fan(args: Arguments) -> Node:
    assert args.as_ is not None
    outs = [
        args.site.apply(args.options["layer"], [args.nodes[0]], args.span) for _ in range(args.options["n"])
    ]
    without_axis_named(args, outs[0].type, args.nodes[0][1], args.as_)
    axis = new_axis(args, args.as_, len(outs))
    return args.add(op.STACK, outs, Type((*outs[0].type.axes, axis), outs[0].type.width), {"axis": axis})


def _fields(args: Arguments, node: Node, place: Span) -> tuple[Node, ...]:
    """Return the fields of a space, or one of them. Raises Fault."""
    fields = args.world.space_fields.get(node.id)
    if fields is None and "field" in args.world.outermost(node, args.site.frame).attrs:
        fields = (node,)
    if fields is None:
        raise args.world.fault(
            "E0315",
            "`lookup` takes spaces, or fields of one",
            place,
            found=f"a value of type {node.type}",
            why="it gives the space's fields a second set of tables, such as first-order weights",
        )
    return fields


def _lookup(args: Arguments) -> Node:
    world, width = args.world, args.options["width"]
    given = list(args.nodes)
    if len(given) > 1 and given[-1][0].op == op.CONSTANT:  # the width by place, as a param's name
        width = given.pop()[0].attrs["value"]
        if not is_count(width):
            raise world.fault("E0403", f"`width` must be {COUNT}", args.nodes[-1][1], found=describe(width))
    fields = [field for node, place in given for field in _fields(args, node, place)]
    broadcast(args.site, args.span, *((narrow(node), place) for node, place in given))
    path = args.site.child("lookup")
    init, l2, file = (args.options[name] for name in ("init", "l2", "pretrained"))
    span, owner = args.span, args.site.owner
    parts: list[Node] = []
    for field in fields:
        raw = world.outermost(field, args.site.frame)
        name = raw.attrs["field"]
        if raw.op == op.INPUT:
            shape = (width, raw.type.width)
            leaf = world.weight(
                Weight(f"{path}.{name}.weight", shape, "matrix", init, span, owner, l2=l2, pretrained=file)
            )
            parts.append(args.add(op.LINEAR, [field], field.type.with_width(width), {}, (leaf,)))
            continue
        table = world.weights[raw.weights[0]]
        # Fields that share a table share its second set of rows too.
        stem = table.path.removesuffix(".weight")
        shape = (table.shape[0], width)
        leaf = world.weight(
            Weight(f"{path}.{stem}.weight", shape, "table", init, span, owner, l2=l2, pretrained=file,
                   vocabulary=table.vocabulary)
        )  # fmt: skip
        type_ = raw.type.with_width(width)
        rows = world.put(world.root, raw.op, [], type_, args.span, raw.attrs, (leaf,), args.site.path)
        parts.append(world.localize(rows, args.site.frame))
    if len(parts) == 1:
        return parts[0]
    type_ = Type(union(*(part.type for part in parts)), width * len(parts))
    return args.add(op.CONCAT, parts, type_)


for _builtin in (
    Builtin("mlp", "layers", ("x",), _mlp,
            "For each size: linear, then norm, activation and dropout where given.",
            options=(Option("sizes", "sizes"), Option("act", "layer?", op.RELU),
                     Option("dropout", "rate", 0.0), Option("norm", "layer?", None), *LINEAR_OPTIONS),
            clauses={"over": False, "new": False}),
    Builtin("residual", "layers", ("x",), _residual, "x + layer(x).", options=(Option("layer", "layer"),)),
    Builtin("repeat", "layers", ("x",), _repeat, "n copies of a layer in turn, each with its own weights.",
            options=(Option("n", "copies"), Option("layer", "layer"))),
    Builtin("fan", "layers", ("x",), _fan, "n copies of a layer side by side, each with its own weights.",
            options=(Option("n", "copies"), Option("layer", "layer")), clauses={"as": True}),
    Builtin("lookup", "layers", ("*space",), _lookup,
            "A second set of tables for the fields of spaces (or one of them), such as first-order weights.",
            options=(Option("width", "count", 1), Option("init", "init", ("normal", 0.01)),
                     Option("l2", "number", 0.0), Option("pretrained", "text?", None))),
):  # fmt: skip
    declare(_builtin)
