"""Random expressions, continued: axes made of others, and the axes inside of them."""

from __future__ import annotations

from specc.ops import op
from specc.testing.environment import WIDEST, Ax, Env, Ty, Val, closed, copied
from specc.testing.expressions import a_leaf, axis_made, call, named, rule


def _an_axis(env: Env, x: Val) -> tuple[Ax, str] | None:
    """Return an axis of a value that can change together with what lives in it, with a name for it."""
    inside = [a for a in x.type.axes if a.parent is not None]
    known = {a for a in inside if env.name(a, x.type)}
    found = [
        (axis, name)
        for axis in x.type.axes
        if axis not in env.settled and (name := env.name(axis, x.type))
        if all(a in known for a in inside if _lives_in(a, axis))
    ]
    return env.one(found) if found else None


def _lives_in(axis: Ax, other: Ax) -> bool:
    return axis.parent is not None and (axis.parent == other or _lives_in(axis.parent, other))


def _moved(env: Env, x: Val, axes: tuple[Ax, ...], name: str, text: str, by: int = 0) -> Val | None:
    """Return a value whose first axis has become the others; what lives in it comes along."""
    old, *news = axes
    there = {old: news[-1]}
    waiting = [a for a in x.type.axes if _lives_in(a, old)]
    while waiting:
        axis = next(a for a in waiting if a.parent in there)
        waiting.remove(axis)
        assert axis.parent is not None
        parent = there[axis.parent]
        there[axis] = Ax(("inside", axis.id, by, parent.id), axis.name, axis.bound, False, parent)
    made: list[Ax] = []
    for axis in x.type.axes:
        made += news if axis == old else [there.get(axis, axis)]
    type_ = Ty(tuple(made), x.type.width)
    if not env.fits(type_):
        return None
    env.register(name, news[0])
    for axis, new in list(there.items())[1:]:
        for known in [known for known, among in env.names.items() if axis in among]:
            env.register(known, new)
    return Val(text, type_)


@rule(in_scan=False)
def rename(env: Env, x: Val) -> Val | None:
    leaf = a_leaf(env, x)
    if leaf is None:
        return None
    old, name = leaf
    new = env.fresh("s")
    axis = copied(old, new, env.scope)
    known = [
        (other, axes[0])
        for other, axes in env.names.items()
        if len(axes) == 1 and (copied(axes[0], new, env.scope) == axis) and axes[0] not in x.type.axes
        if not any(a.name in (other, axes[0].name) for a in x.type.without(old).axes)
    ]
    if known and env.chance():  # a copy that there is already, or what the old axis is a copy of
        new, axis = env.one(known)
    return axis_made(env, new, axis, call(env, "rename", x, f"{name} to {new}"), x.type.replaced(old, axis))


@rule(in_scan=False)
def exchanged(env: Env, x: Val) -> Val | None:
    """Two axes that take each other's names: an axis and its copy."""
    leaf = a_leaf(env, x)
    if leaf is None or not named(x) or (leaf[0].static and leaf[0].id[0] != "static"):
        return None  # a copy of a static axis is its name and its size, and what it is derived from is not
    (old, name), s = leaf, env.fresh("s")
    other = copied(old, s, env.scope)
    both = Ty((*x.type.axes, other), 1)
    if not env.fits(both):
        return None
    env.register(s, other)
    apart = f"({x.text} - 0.5 * rename({x.text}, {name} to {s}))"
    text = call(env, "rename", Val(apart, both), f"{name} to {s}", f"{s} to {name}")
    # The text's order of axes is another; what is one axis is told by its name alone.
    return Val(text, both.wide(x.type.width))


@rule(in_scan=False)
def shorter(env: Env, x: Val) -> Val | None:
    found = _an_axis(env, x)
    if found is None or found[0].bound < 2:
        return None
    old, name = found
    new = env.fresh("u") if env.chance() else name
    axis = Ax(("shorter", old.id), new if new != name else old.name, old.bound - 1, old.static, old.parent)
    over = f"over {name}" + (f" as {new}" if new != name else "")
    what = env.one((op.INIT, op.TAIL))
    return _moved(env, x, (old, axis), new, call(env, what, x, over), by=int(what == op.TAIL))


@rule(in_scan=False)
def take(env: Env, x: Val) -> Val | None:
    found = _an_axis(env, x)
    if found is None:
        return None
    (old, name), k = found, env.number(1, 4)
    new = env.fresh("u")
    axis = Ax(("taken", old.id, k), new, min(old.bound, k), old.static, old.parent)
    return _moved(env, x, (old, axis), new, call(env, "take", x, str(k), f"over {name} as {new}"))


@rule(in_scan=False)
def chunked(env: Env, x: Val) -> Val | None:
    found = _an_axis(env, x)
    if found is None or found[0].static:
        return None
    (old, name), k = found, env.number(1, 3)
    new, inner = env.fresh("u"), env.fresh("p")
    chunks = Ax(("chunks", old.id, k), new, -(-old.bound // k), parent=old.parent)
    part = Ax(("part", old.id, k), inner, min(k, old.bound), parent=chunks)
    made = _moved(
        env, x, (old, chunks, part), new, call(env, "split", x, str(k), f"over {name} as {new}, as {inner}")
    )
    if made is not None:
        env.register(inner, part)
        env.chunked[part] = old
        if env.number(0, 3) == 0:
            return Val(f"join(tanh({made.text}) * index({new}), over {inner})", x.type)
    return made


@rule(in_scan=False)
def unchunked(env: Env, x: Val) -> Val | None:
    for part in x.type.leaves:
        old, name = env.chunked.get(part), env.name(part, x.type)
        if old is None or not name or part in env.settled or old in x.type.axes:
            continue
        if any(a.parent == part.parent and a != part for a in x.type.axes):
            continue
        type_ = Ty(tuple(old if a == part else a for a in x.type.axes if a != part.parent), x.type.width)
        if type_.sound:
            return Val(call(env, "join", x, f"over {name}"), type_)
    return None


@rule(in_scan=False)
def top(env: Env, x: Val) -> Val | None:
    found = _an_axis(env, x)
    if found is None:
        return None
    (old, name), k = found, env.number(1, 3)
    inner = any(a.parent == old for a in x.type.axes)
    among = closed([old]) if inner else x.type.axes
    scores = [
        v for v in env.values
        if v.type.width == 1 and old in v.type.axes and set(v.type.axes) <= set(among)
    ]  # fmt: skip
    texts = [v.text for v in scores]
    if inner:
        known = [n for a in x.type.axes if a.parent == old and (n := env.plain_name(a))]
        texts += [f"sin(length({n}))" for n in known]
    elif not texts and named(x):
        texts = [f"sum({x.text})"]
    if not texts:
        return None
    score = env.one(texts)
    new = env.fresh("u")
    axis = Ax(("top", env.fresh("")), new, min(old.bound, k), old.static, old.parent)
    text = call(env, "top", x, str(k), f"by {score}", f"over {name} as {new}")
    return _moved(env, x, (old, axis), new, text)


@rule(in_scan=False)
def append(env: Env, x: Val) -> Val | None:
    leaf = a_leaf(env, x)
    if leaf is None:
        return None
    old, name = leaf
    rest = set(x.type.axes) - {old}
    choices: list[tuple[Val, Ax | None]] = []
    for y in env.values:
        extra = [a for a in y.type.axes if a in env.names[name]] or [
            a for a in y.type.axes if a not in x.type.axes
        ]
        if y.type.width != x.type.width or len(extra) > 1:
            continue
        second = extra[0] if extra else None
        if set(y.type.axes) - {second} <= rest and (
            second is None or (second.parent == old.parent and second in y.type.leaves)
        ):
            choices.append((y, second))
    if not choices:
        return None
    y, second = env.one(choices)
    new = env.fresh("u")
    bound = old.bound + (second.bound if second else 1)
    static = old.static and (second is None or second.static)
    axis = Ax(("appended", old.id, second.id if second else None), new, bound, static, old.parent)
    text = f"append({x.text}, {y.text}, over {name} as {new})"
    return axis_made(env, new, axis, text, x.type.replaced(old, axis))


@rule()
def flatten(env: Env, x: Val) -> Val | None:
    leaf = a_leaf(env, x)
    if leaf is None or leaf[0].bound * x.type.width > WIDEST:
        return None
    axis, name = leaf
    return Val(call(env, "flatten", x, f"over {name}"), x.type.without(axis).wide(axis.bound * x.type.width))
