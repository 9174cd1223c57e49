"""Axes made and unmade: `stack pairs firsts seconds rename init tail append take top
flatten index length`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from specc.elaborate.bodies import check_free, copy_of
from specc.elaborate.broadcast import broadcast
from specc.elaborate.builtins.signature import Arguments, built_in
from specc.elaborate.builtins.widths import new_axis, without_axis_named
from specc.elaborate.lookup import axis_by_name, axis_of_value, unwalked
from specc.elaborate.positions import length, position
from specc.elaborate.same import first_of
from specc.ir.graph import Node
from specc.ops import op
from specc.report import Label
from specc.source import Span
from specc.syntax import tree
from specc.types.axis import Axis, Type, union
from specc.types.kinds import carried, derived, moved, root


def over_axis(args: Arguments) -> Axis:
    assert args.over is not None
    return axis_of_value(args.over, args.x, args.site)


def no_children(args: Arguments, type_: Type, axis: Axis, span: Span) -> None:
    """Refuse to remove or replace an axis while another axis of the value is nested in it."""
    for other in type_.axes:
        if other.parent == axis:
            raise args.world.fault(
                "E0307",
                f"`{other.name}` lives inside `{axis.name}`",
                span,
                found=str(type_),
                why=f"each `{axis.name}` has `{other.name}`s of its own, so they must go first",
                help=f"reduce over `{other.name}` before",
            )


def replaced(type_: Type, old: Axis, new: Axis) -> Type:
    return Type(tuple(new if a == old else a for a in type_.axes), type_.width)


def _derive(name: str, make: Callable[[Axis, Arguments], Axis]) -> Callable[[Arguments], Node]:
    def rule(args: Arguments) -> Node:
        old = over_axis(args)
        new = make(old, args)
        register(args, new)
        attrs = {"old": old, "axis": new}
        if "k" in args.options:
            attrs["k"] = args.options["k"]
        type_ = moved(args.x.type, old, new, by=1 if name == op.TAIL else 0)
        name_carried(args, type_)
        return args.add(name, [args.x], type_, attrs)

    return rule


def register(args: Arguments, new: Axis) -> None:
    """Give the new axis the name that it was given here, else the one that the old axis has here."""
    if new in args.x.type.axes:
        raise args.world.fault(
            "E0303",
            f"the value already has this axis, as `{next(a.name for a in args.x.type.axes if a == new)}`",
            args.span,
            found=str(args.x.type),
            why="what is made of one axis in the same way is the same axis, and a value has each once",
            help="make a copy of the axis first: `rename(x, t to s)`",
        )
    ident = args.new or args.over
    assert ident is not None
    assert args.over is not None
    if ident.name != args.over.name:
        check_free(args.site, ident.name, new, ident.span)
    args.site.scope.body.name_axis(ident.name, new)


def name_carried(args: Arguments, type_: Type) -> None:
    """Give the axes that came along as the one they live in was moved the names that they had here."""
    body = args.site.scope.body
    for new, old in carried(type_.axes, args.x.type.axes).items():
        for name in [name for name, axes in body.axes.items() if old in axes]:
            body.name_axis(name, new)


def _name(old: Axis, args: Arguments) -> str:
    return args.new.name if args.new else old.name


def _shorter(old: Axis, args: Arguments) -> Axis:
    return derived("shorter", _name(old, args), old)


def _taken(old: Axis, args: Arguments) -> Axis:
    return derived("taken", _name(old, args), old, more=(args.options["k"],))


@built_in(op.RENAME)
def _rename(args: Arguments) -> Node:
    x, pairs = args.x, args.to
    olds = [axis_of_value(to.old, x, args.site) for to in pairs]
    for to, old in zip(pairs, olds, strict=True):
        if olds.count(old) > 1:
            raise args.world.fault("E0404", f"`{to.old.name}` is renamed twice", to.span, help="keep one")
        no_children(args, x.type, old, args.span)
    kept = x.type.without(olds[0])
    for old in olds[1:]:
        kept = kept.without(old)
    news: list[Axis] = []
    for to, old in zip(pairs, olds, strict=True):
        without_axis_named(args, kept, args.nodes[0][1], to.new)
        new = copy_of(old, to.new.name, to.new.span, args.site)
        if new in news or kept.has(new):
            raise args.world.fault(
                "E0303", f"two axes would be `{to.new.name}`", to.span, found=str(x.type),
                help="give each a name of its own",
            )  # fmt: skip
        news.append(new)
    return _renamed_at_once(args, olds, news)


def _renamed_at_once(args: Arguments, olds: list[Axis], news: list[Axis]) -> Node:
    """Return the value with several axes replaced at once; axes that swap names go through a third one."""
    x, waiting = args.x, [(old, new) for old, new in zip(olds, news, strict=True) if old != new]
    while waiting:
        free = next((pair for pair in waiting if not x.type.has(pair[1])), None)
        if free is None:  # a circle: the first steps aside
            old, new = waiting[0]
            aside = derived("renamed", f"{old.name}_aside", root(old), more=("aside", new.key))
            if old.size is not None:
                aside = Axis(("static", "aside", old.size, new.key), "aside", old.size, old.size)
            waiting[0] = aside, new
            free = old, aside
        else:
            waiting.remove(free)
        old, new = free
        x = args.add(op.RENAME, [x], replaced(x.type, old, new), {"old": old, "axis": new})
    return x


@built_in(op.APPEND)
def _append(args: Arguments) -> Node:
    (x, _), (y, place) = args.nodes
    old = over_axis(args)
    no_children(args, x.type, old, args.span)
    if x.type.width != y.type.width:
        raise args.world.fault(
            "E0301",
            "what is appended must have the sequence's width",
            args.span,
            expected=str(x.type.width),
            found=f"{x.type} and {y.type}",
            secondary=(Label(args.nodes[0][1], f"this is {x.type}"), Label(place, f"this is {y.type}")),
            help=f"bring it to one width with `|> linear({x.type.width})`",
        )
    named = [a for a in args.site.scope.axes_named(old.name) if a in y.type.axes]
    extra = named or [a for a in y.type.axes if a not in x.type.axes]
    if len(extra) > 1:
        raise args.world.fault(
            "E0306",
            "it is not clear along which axis the second value is joined",
            place,
            expected=f"one vector, or a sequence with one axis beside those of {x.type}",
            found=str(y.type),
        )
    second = extra[0] if extra else None
    if second is not None:
        unwalked(second, place, args.site)
        no_children(args, y.type, second, place)
        if second.parent != old.parent:
            raise args.world.fault(
                "E0303",
                f"`{old.name}` and `{second.name}` do not live in the same axis",
                args.span,
                found=f"{x.type} and {y.type}",
            )
    name = _name(old, args)
    new = derived("appended", name, old) if second is None else derived("joined", name, old, second)
    register(args, new)
    rest = y.type.without(second) if second else y.type
    axes = union(x.type.without(old), rest)
    ordered = [new if a == old else a for a in x.type.axes]
    ordered += [a for a in axes if a not in ordered]
    type_ = Type(tuple(ordered), x.type.width)
    return args.add(op.APPEND, [x, y], type_, {"old": old, "axis": new, "second": second})


@built_in(op.TOP)
def _top(args: Arguments) -> Node:
    assert args.by is not None
    old = over_axis(args)
    score, place = args.by
    if score.type.width != 1 or not score.type.has(old):
        raise args.world.fault(
            "E0309",
            "the score must be one number at each position",
            place,
            expected=f"[{old.name}, 1]",
            found=str(score.type),
        )
    unknown = [a for a in score.type.axes if a not in args.x.type.axes]
    if unknown:
        raise args.world.fault(
            "E0309",
            f"the score has an axis `{unknown[0].name}` that the value lacks",
            place,
            expected=str(args.x.type.with_width(1)),
            found=str(score.type),
        )
    k: int = args.options["k"]
    if any(a.parent == old for a in args.x.type.axes):
        return _top_with_inner(args, old, k, score, place)
    score = first_of(score, args.site)
    new = derived("top", _name(old, args), old, more=(k, score.id))
    register(args, new)
    type_ = replaced(args.x.type, old, new)
    return args.add(op.TOP, [args.x, score], type_, {"old": old, "axis": new, "k": k})


def _top_with_inner(args: Arguments, old: Axis, k: int, score: Node, place: Span) -> Node:
    """Return the best positions of an axis in which another one lives: each keeps its own."""
    world, inner = args.world, next(a for a in args.x.type.axes if a.parent == old)
    if args.site.frame.outer is not None:
        raise world.fault(
            "E0307",
            f"`{inner.name}` lives inside `{old.name}`, and a scan has one length of it for all steps",
            args.span,
            found=str(args.x.type),
            help=f"choose before the scan, or reduce over `{inner.name}` before",
        )
    beside = [a for a in score.type.axes if a not in old.chain]
    if beside:
        raise world.fault(
            "E0309",
            "the score must be one number at each position"
            if old in beside[0].chain
            else f"the score differs along `{beside[0].name}`, and so would the lengths of `{inner.name}`",
            place,
            expected=str(Type(old.chain, 1)),
            found=str(score.type),
            why=f"each `{old.name}` that is chosen keeps its own `{inner.name}`s",
            help=f"reduce the score over `{beside[0].name}`",
        )
    score = first_of(score, args.site)
    new = derived("top", _name(old, args), old, more=(k, score.id))
    register(args, new)
    known = args.site.frame.best
    ranked = known.get(new)
    if ranked is None:
        attrs = {"old": old, "axis": new, "k": k}
        ranked = known[new] = args.add(op.RANKED, [score], replaced(score.type, old, new), attrs)
    type_ = moved(args.x.type, old, new)
    name_carried(args, type_)
    return args.add(op.PICKED, [args.x, ranked], type_, {"old": old, "axis": new})


@built_in(op.FLATTEN)
def _flatten(args: Arguments) -> Node:
    axis = over_axis(args)
    no_children(args, args.x.type, axis, args.span)
    type_ = args.x.type.without(axis).with_width(args.x.type.width * axis.bound)
    return args.add(op.FLATTEN, [args.x], type_, {"axis": axis})


@built_in(op.STACK)
def _stack(args: Arguments) -> Node:
    assert args.as_ is not None
    parts: list[tuple[Node, Span]] = []
    for node, place in args.nodes:
        fields = args.world.space_fields.get(node.id, (node,))
        parts.extend((f, place) for f in fields)
    width = parts[0][0].type.width
    for node, place in parts:
        if node.type.width != width:
            raise args.world.fault(
                "E0302",
                "values of different widths cannot be stacked",
                place,
                expected=f"width {width} everywhere",
                found=", ".join(str(n.type) for n, _ in parts),
                help="give the fields one width, or use `concat`",
            )
    broadcast(args.site, args.span, *parts)
    for node, place in parts:
        without_axis_named(args, node.type, place, args.as_)
    axis = new_axis(args, args.as_, len(parts))
    axes = (*union(*(n.type for n, _ in parts)), axis)
    return args.add(op.STACK, [n for n, _ in parts], Type(axes, width), {"axis": axis})


def _pairs(args: Arguments, name: str) -> Node:
    """Return the products of the pairs i < j, or a member of each."""
    over = over_axis(args)
    if over.size is None:
        raise args.world.fault(
            "E0308",
            f"`{over.name}` is ragged, and pairs are of a static axis",
            args.span,
            found=str(args.x.type),
            help="for every pair of positions of a sequence, use `rename(x, t to s)` and multiply",
        )
    if over.size < 2:
        raise args.world.fault(
            "E0302", f"`{over.name}` has {over.size} position, so there is no pair", args.span
        )
    ident = args.as_ or tree.Ident("pair", span=args.span)
    if ident.name != over.name:
        without_axis_named(args, args.x.type, args.nodes[0][1], ident)
    axis = new_axis(args, ident, over.size * (over.size - 1) // 2)
    return args.add(name, [args.x], replaced(args.x.type, over, axis), {"over": over, "axis": axis})


for _of_pairs in (op.PAIRS, op.FIRSTS, op.SECONDS):
    built_in(_of_pairs)(partial(_pairs, name=_of_pairs))


@built_in(op.INDEX)
def _index(args: Arguments) -> Node:
    ident = args.options["axis"]
    return position(axis_by_name(ident.name, ident.span, args.site), args.site, args.span)


@built_in(op.LENGTH)
def _length(args: Arguments) -> Node:
    ident = args.options["axis"]
    return length(axis_by_name(ident.name, ident.span, args.site), args.site, args.span)


for _op, _make in ((op.INIT, _shorter), (op.TAIL, _shorter), (op.TAKE, _taken)):
    built_in(_op)(_derive(_op, _make))
