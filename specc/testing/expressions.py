"""Random well-typed expressions: every built-in, by the types that it takes and gives.

Promises: a step is offered only where its rule is met, so nothing is thrown away; values stay of a moderate
size, so that results can be compared. Leaves axes made of others to `sequences`, statements to `programs`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from specc.ops import op
from specc.ops.definition import Along, OpDef
from specc.ops.plugins import every
from specc.testing.environment import WIDEST, Ax, Env, Ty, Val, union

Step = Callable[[Env, Val], Val | None]


@dataclass(frozen=True)
class Rule:
    """`make` gives the new value, or None where the rule is not met. `in_scan`: also in a scan's body."""

    name: str
    make: Step
    in_scan: bool = True


RULES: list[Rule] = []


def rule(in_scan: bool = True) -> Callable[[Step], Step]:
    def enter(make: Step) -> Step:
        RULES.append(Rule(make.__name__.strip("_"), make, in_scan))
        return make

    return enter


def expression(env: Env, start: Val, steps: int) -> Val:
    """Return a value and apply so many steps to it."""
    value = start
    for _ in range(steps):
        value = step(env, value)
    return value


def plain(env: Env, start: Val) -> Val:
    """Return a value and apply some steps to it."""
    return expression(env, start, env.number(1, 4))


def step(env: Env, value: Val) -> Val:
    """Apply one built-in, from those whose rule is met."""
    rules = [r for r in RULES if r.in_scan or env.walked is None]
    first = env.number(0, len(rules) - 1)
    for candidate in (*rules[first:], *rules[:first]):
        made = candidate.make(env, value)
        if made is not None and env.fits(made.type):
            return made
    return Val(f"tanh({value.text})", value.type)


def call(env: Env, function: str, value: Val, *arguments: str) -> str:
    """Write `f(x, a)` or `x |> f(a)`."""
    rest = ", ".join(arguments)
    if env.chance():
        return f"{function}({value.text}{', ' if rest else ''}{rest})"
    return f"({value.text} |> {function}{f'({rest})' if rest else ''})"


def named(x: Val) -> bool:
    """Return whether a value can be written twice: an expression written twice is two instances."""
    return x.text.replace(".", "_").isidentifier()


def width(env: Env, most: int = 6) -> int:
    return env.number(1, most)


# ------------------------------------------------------------------- pointwise


@cache
def _functions() -> list[OpDef]:
    """Return the functions of one value's channels, those of other packages among them."""
    return [
        k for k in every().values() if k.traits.pointwise and len(k.inputs) == 1 and (k.call or k.examples)
    ]


@rule()
def pointwise(env: Env, x: Val) -> Val | None:
    known = env.one(_functions())
    if known.examples:
        return Val(env.one(known.examples).format(x=x.text), x.type)
    return Val(call(env, known.name, x), x.type)


@rule()
def scaled(env: Env, x: Val) -> Val | None:
    return Val(env.one(("(2 * {})", "({} - 0.5)")).format(x.text), x.type)


_ARITHMETIC = ("({} + {})", "({} - {})", "({} * {})", "({} / (1 + abs({})))", "(tanh({}) ^ 2 * {})")
_OF_TWO = ("maximum({}, {})", "minimum({}, {})", "atan2({}, 1 + abs({}))", "({} % (0.7 + abs({})))")


@rule()
def arithmetic(env: Env, x: Val) -> Val | None:
    widths = range(1, WIDEST + 1) if x.type.width == 1 else (1, x.type.width)
    among = env.partners(x.type, widths)
    if not among:
        return None
    y = env.one(among)
    type_ = union([x.type, y.type], max(x.type.width, y.type.width))
    text = env.one((*_ARITHMETIC, *_OF_TWO))
    return Val(text.format(x.text, y.text), type_)


@rule()
def dot(env: Env, x: Val) -> Val | None:
    among = env.partners(x.type, [x.type.width])
    if not among:
        return None
    y = env.one(among)
    return Val(f"dot({x.text}, {y.text})", union([x.type, y.type]))


@rule()
def channels(env: Env, x: Val) -> Val | None:
    start = env.number(0, x.type.width - 1)
    stop = env.number(start + 1, x.type.width)
    return Val(call(env, "channels", x, str(start), str(stop)), x.type.wide(stop - start))


@rule()
def concat(env: Env, x: Val) -> Val | None:
    among = [v for v in env.partners(x.type) if v.type.width + x.type.width <= WIDEST]
    if not among:
        return None
    y = env.one(among)
    first, second = (x, y) if env.chance() else (y, x)
    type_ = union([first.type, second.type], x.type.width + y.type.width)
    return Val(f"concat({first.text}, {second.text})", type_)


# ----------------------------------------------------------------- static axes


def static_name(env: Env, size: int, type_: Ty) -> tuple[str, Ax]:
    """Return a static axis: one of this size that the scope has already, or a new one."""
    known = [
        (name, axes[0])
        for name, axes in env.names.items()
        if len(axes) == 1 and axes[0].id[0] == "static" and axes[0].bound == size
        if not any(a == axes[0] or a.name in (name, axes[0].name) for a in type_.axes)
    ]
    if known and env.chance():
        return env.one(known)
    name = env.fresh("f")
    return name, Ax(("static", name, size, env.scope), name, size, True)


def axis_made(env: Env, name: str, axis: Ax, text: str, type_: Ty) -> Val | None:
    if not env.fits(type_):
        return None
    env.register(name, axis)
    return Val(text, type_)


@rule(in_scan=False)
def split(env: Env, x: Val) -> Val | None:
    parts = [n for n in (1, 2, 3, 4) if x.type.width % n == 0]
    n = env.one(parts)
    name, axis = static_name(env, n, x.type)
    type_ = Ty((*x.type.axes, axis), x.type.width // n)
    return axis_made(env, name, axis, call(env, "split", x, str(n), f"as {name}"), type_)


@rule()
def join(env: Env, x: Val) -> Val | None:
    for axis in x.type.axes:
        name = env.name(axis, x.type)
        if axis.static and name and x.type.width * axis.bound <= WIDEST:
            over = env.one((name, f"over {name}"))  # without a word, as it was written before
            return Val(call(env, "join", x, over), x.type.without(axis).wide(x.type.width * axis.bound))
    return None


@rule(in_scan=False)
def stack(env: Env, x: Val) -> Val | None:
    among = env.partners(x.type, [x.type.width])
    if not among:
        return None
    y = env.one(among)
    parts = 2
    name, axis = static_name(env, parts, union([x.type, y.type]))
    both = union([x.type, y.type], x.type.width)
    if x.space or y.space or axis in both.axes:
        return None
    return axis_made(
        env, name, axis, f"stack({x.text}, {y.text}, as {name})", Ty((*both.axes, axis), both.width)
    )


@rule(in_scan=False)
def pairs(env: Env, x: Val) -> Val | None:
    for over in x.type.axes:
        name = env.name(over, x.type)
        if over.static and name and 2 <= over.bound <= 4:
            new, axis = static_name(env, over.bound * (over.bound - 1) // 2, x.type)
            what = env.one((op.PAIRS, op.FIRSTS, op.SECONDS))
            text = call(env, what, x, f"over {name}", f"as {new}")
            return axis_made(env, new, axis, text, x.type.replaced(over, axis))
    return None


@rule(in_scan=False)
def fan(env: Env, x: Val) -> Val | None:
    n, size = env.number(2, 3), width(env, 4)
    name, axis = static_name(env, n, x.type)
    return axis_made(
        env, name, axis, call(env, "fan", x, str(n), f"linear({size})", f"as {name}"),
        Ty((*x.type.axes, axis), size),
    )  # fmt: skip


def a_leaf(env: Env, x: Val, ragged: bool = False) -> tuple[Ax, str] | None:
    """Return an axis of a value that can go or change, with a name for it."""
    found = [
        (axis, name)
        for axis in x.type.leaves
        if axis not in env.settled and (name := env.name(axis, x.type)) and not (ragged and axis.static)
    ]
    return env.one(found) if found else None


# ------------------------------------------------------------------ reductions


@cache
def _along(keeps: bool) -> list[OpDef]:
    """Return the operations along an axis of one value, which they keep or not, those of other packages among
    them."""
    return [
        k for k in every().values()
        if isinstance(k.lowering, Along) and k.call is not None and k.traits.keeps_axis == keeps
    ]  # fmt: skip


@rule()
def reduce(env: Env, x: Val) -> Val | None:
    return _over(env, x, keeps=False)


@rule()
def over_and_kept(env: Env, x: Val) -> Val | None:
    return _over(env, x, keeps=True)


def _over(env: Env, x: Val, keeps: bool) -> Val | None:
    leaf = a_leaf(env, x)
    if leaf is None:
        return None
    (axis, name), known = leaf, env.one(_along(keeps))
    over = f"over {name}"
    if known.call is not None and "where" in known.call.clauses and env.chance():
        over += f" where {_condition(env, x, axis, name)}"
    return Val(call(env, known.name, x, over), x.type if keeps else x.type.without(axis))


@rule()
def over_channels(env: Env, x: Val) -> Val | None:
    keeps = env.chance()
    among = [k.name for k in _along(keeps) if k.call is not None and not k.call.clauses["over"]]
    return Val(call(env, env.one(among), x), x.type if keeps else x.type.wide(1))


def _condition(env: Env, x: Val, axis: Ax, name: str) -> str:
    others = [n for a in x.type.axes if a != axis and (n := env.name(a, x.type))]
    atoms = [f"{name} < 2", f"{name} >= 1", f"{name} != 0", f"{name} * 2 > 1", f"{name} == 1"]
    atoms += [form.format(name, o) for o in others for form in ("{} <= {}", "{} < {} + 1", "{} != {}")]
    atoms.append(f"{name} + 1 < length({name})")
    numbers = [v for v in env.values if v.type.width == 1 and set(v.type.axes) <= set(x.type.axes)]
    atoms += [f"{v.text} > 0" for v in numbers if v.text.isidentifier() and v.text not in env.names]
    first = env.one(atoms)
    joined = env.one(("{}", "{}", "not ({})", "{} or {}", "{} and {}"))
    return joined.format(first, env.one(atoms))


# ---------------------------------------------------------------------- layers


@rule()
def linear(env: Env, x: Val) -> Val | None:
    n = width(env)
    return Val(call(env, "linear", x, str(n), *(["bias = false"] if env.chance() else [])), x.type.wide(n))


@rule(in_scan=False)
def mixed(env: Env, x: Val) -> Val | None:
    """A layer along a static axis."""
    for old in x.type.leaves:
        name = env.name(old, x.type)
        if not old.static or name is None:
            continue
        n = env.number(1, 3)
        what = env.one((f"linear({n}", f"mlp([2, {n}], norm = norm", f"mlp([{n}], act = prelu"))
        if old.bound == n and env.chance():
            return Val(f"({x.text} |> {what}, over {name}))", x.type)
        new, axis = static_name(env, n, x.type)
        text = f"({x.text} |> {what}, over {name} as {new}))"
        return axis_made(env, new, axis, text, x.type.replaced(old, axis))
    return None


@rule()
def layer(env: Env, x: Val) -> Val | None:
    d = x.type.width
    text = env.one(
        (
            "norm",
            "prelu",
            "residual(linear({}))",
            "residual(mlp([3, {}], act = tanh))",
            "dropout(0.2)",
            "bernoulli",
        )
    )
    name, _, argument = text.format(d).partition("(")
    return Val(call(env, name, x, *([argument[:-1]] if argument else [])), x.type)


@rule(in_scan=False)
def statistics(env: Env, x: Val) -> Val | None:
    among = [v for v in env.partners(x.type, [1]) if named(v) and set(v.type.axes) <= set(x.type.axes)]
    if among and env.chance():
        group = f"by 2 * tanh({env.one(among).text}) + 1.3"
        return Val(call(env, op.BATCH_NORM, x, "groups = 3", group), x.type)
    return Val(call(env, env.one((op.BATCH_NORM, op.DICE)), x), x.type)


@rule()
def mlp(env: Env, x: Val) -> Val | None:
    n, act = width(env), env.one((op.RELU, op.TANH, op.PRELU, op.SILU))
    sizes = env.one(
        (f"[{width(env)}, {n}]", f"sizes + [{n}]", f"[sizes[0], size(sizes), {n}]", f"[size(ad), {n}]")
    )
    return Val(call(env, "mlp", x, sizes, f"act = {act}"), x.type.wide(n))


@rule()
def repeat(env: Env, x: Val) -> Val | None:
    n = width(env, 4)
    return Val(call(env, "repeat", x, "2", f"linear({n}) |> tanh"), x.type.wide(n))
