"""Random expressions in which passes find what they look for: attentions, pairs, blocks of the library.

Importing this enters their rules.
"""

from __future__ import annotations

from dataclasses import replace

from specc.ops import op
from specc.testing.environment import Ax, Env, Ty, Val, copied, union
from specc.testing.expressions import a_leaf, axis_made, call, named, rule, static_name, width


@rule(in_scan=False)
def self_attention(env: Env, x: Val) -> Val | None:
    """Write an attention of every position to others of its sequence."""
    leaf = a_leaf(env, x)
    if leaf is None or len(x.type.axes) > 2 or not named(x):
        return None
    (axis, name), s = leaf, env.fresh("s")
    other = copied(axis, s, env.scope)
    if not env.fits(Ty((*x.type.axes, other), x.type.width)):
        return None
    env.register(s, other)
    where = env.one(("", f" where {s} <= {name}", f" where {s} < {name}", f" where {s} != {name}"))
    key = f"rename({x.text} |> linear({x.type.width}), {name} to {s})"
    value = f"rename({x.text} |> linear(2), {name} to {s})"
    score = f"dot({x.text}, {key})" + env.one(("", " / sqrt(2)"))
    return Val(f"sum(softmax({score}, over {s}{where}) * {value}, over {s})", x.type.wide(2))


@rule(in_scan=False)
def pair_attention(env: Env, x: Val) -> Val | None:
    """Write pairs of a static axis, weighed by an attention (AFM)."""
    for over in x.type.axes:
        name = env.name(over, x.type)
        if over.static and name and 3 <= over.bound <= 4 and named(x):
            new, axis = static_name(env, over.bound * (over.bound - 1) // 2, x.type)
            if not env.fits(x.type.replaced(over, axis)):
                return None
            env.register(new, axis)
            made = f"pairs({x.text}, over {name}, as {new})"
            score = f"({made} |> linear(3) |> relu |> linear(1, bias = false))"
            text = f"sum(softmax({score}, over {new}) * {made}, over {new})"
            return Val(text, x.type.without(over))
    return None


def read_to_the_end(env: Env, body: list[str]) -> Val | None:
    """Write a sequence with one more at its end, into the body of a program, and what its positions read of
    each other: causal or not, by softmax or not, with biases of places."""
    heads = [v for v in env.values if not v.space and len(v.type.axes) == 1 and not v.type.axes[0].static]
    heads = [v for v in heads if v.type.axes[0].id[0] == "space" and env.plain_name(v.type.axes[0])]
    ends = [v for v in env.values if not v.space and not v.type.axes]
    if not heads or not ends:
        return None
    head, end, n = env.one(heads), env.one(ends), env.number(1, 3)
    (old,) = head.type.axes
    axis = Ax(("appended", old.id, None), "", old.bound + 1)
    u, s = env.plain_name(axis) or env.fresh("u"), env.fresh("s")
    axis = replace(axis, name=u)
    env.register(u, axis)
    env.register(s, copied(axis, s, env.scope))
    x = env.fresh("v")
    body.append(
        f"{x} = append({head.text} |> linear({n}), {end.text} |> linear({n}), over {old.name} as {u})"
    )
    type_ = Ty((axis,), n)
    env.values.append(Val(x, type_))
    for _ in range(env.number(1, 2)):
        x = _read(env, body, x, n, u, s)
        env.values.append(Val(x, type_))
    return Val(env.one((f"({x} |> norm)", f"({x} |> linear({n}) |> tanh)", f"dropout({x}, 0.2)")), type_)


def _read(env: Env, body: list[str], x: str, n: int, u: str, s: str) -> str:
    """Write what positions read of each other, and return the name of the result."""
    if env.number(0, 3) == 3:
        place = env.fresh("w")
        body.append(f"learned {place}[{u}, {n}]")
        x = f"({x} + {place})"
    key, score, made = env.fresh("v"), env.fresh("v"), env.fresh("v")
    body.append(f"{key} = rename({x} |> linear({n}), {u} to {s})")
    bias = env.one(
        ("", "", f" - 0.1 * abs(index({u}) - index({s}))", f" + at({x}, over {u} = index({s}) - 1)")
    )
    bias = bias if n == 1 or "at(" not in bias else ""
    body.append(f"{score} = dot({x}, {key}){bias}")
    causal = (
        f"{s} <= {u}", f"{s} < {u}", f"{u} >= {s}", f"{u} - {s} >= 0", f"not ({s} > {u})", f"{s} - {u} < 1",
        f"{s} <= {u} and {u} - {s} < 2", f"{s} == {u}", f"{s} < {u} or {s} == {u}",
    )  # fmt: skip
    where = env.one((*causal, *causal, f"{s} != {u}", f"{s} < 2", f"{score} > 0", f"{s} + 1 < length({s})"))
    among = f"over {s}" if env.number(0, 3) == 3 else f"over {s} where {where}"
    weight = env.one((f"softmax({score}, {among})", f"softmax({score}, {among})", f"silu({score})"))
    seen = f"sum({weight} * {key}, over {s})"
    if weight.startswith("silu"):
        seen = env.one((f"sum(silu({score}) * {key}, {among})", f"mean(tanh({score}) * {key}, {among})"))
    elif env.number(0, 4) == 4:
        name = env.one((op.CUMSUM, op.LOGSUMEXP, op.MAX, op.LAST, op.FIRST))
        seen = f"cumsum({key}, over {s})" if name == op.CUMSUM else f"{name}({key} * {score}, {among})"
        seen = f"mean({seen} * {score}, over {s})" if name == op.CUMSUM else seen
    body.append(f"{made} = {x} + {seen}")
    return made


@rule(in_scan=False)
def pair_members(env: Env, x: Val) -> Val | None:
    """Write what the members of each pair of a static axis have in common (FwFM)."""
    for over in x.type.axes:
        name = env.name(over, x.type)
        if over.static and name and 2 <= over.bound <= 4 and named(x):
            new, axis = static_name(env, over.bound * (over.bound - 1) // 2, x.type)
            first, second = (f"{what}({x.text}, over {name}, as {new})" for what in ("firsts", "seconds"))
            return axis_made(env, new, axis, f"dot({first}, {second})", x.type.replaced(over, axis).wide(1))
    return None


@rule()
def at(env: Env, x: Val) -> Val | None:
    """Write a position that is known, one that is counted, or one that a value says: far from whole
    numbers, where rounding would decide."""
    leaf = a_leaf(env, x)
    if leaf is None:
        return None
    (axis, name), rest = leaf, x.type.without(leaf[0])
    positions = [(str(env.number(-1, 3)), rest)]
    if env.plain_name(axis) == name and env.fits(x.type):
        positions.append((f"index({name}) - {env.number(0, 2)}", x.type))
    positions += [
        (f"3 * tanh({v.text}) + 0.3", union([rest, v.type], x.type.width)) for v in env.partners(rest, [1])
    ]
    position, type_ = env.one(positions)
    return Val(call(env, "at", x, f"over {name} = {position}"), type_)


@rule()
def contraction(env: Env, x: Val) -> Val | None:
    """Write a sum of products along an axis that two values share, or along their channels, too."""
    leaf = a_leaf(env, x)
    if leaf is None:
        return None
    axis, name = leaf
    among = [y for y in env.partners(x.type, (1, x.type.width)) if axis in y.type.axes]
    if not among:
        return None
    y = env.one(among)
    both = union([x.type, y.type], x.type.width)
    if axis not in both.leaves or env.name(axis, both) != name:
        return None
    text = env.one((f"sum({x.text} * {y.text}, over {name})", f"sum(sum({y.text} * {x.text}), over {name})"))
    return Val(text, both.without(axis).wide(1 if text.startswith("sum(sum") else x.type.width))


@rule()
def picked(env: Env, x: Val) -> Val | None:
    """Write the sum over the one position that a value says, which `at` is, too."""
    leaf = a_leaf(env, x)
    if leaf is None:
        return None
    (_, name), rest = leaf, x.type.without(leaf[0])
    among = [v.text for v in env.partners(rest, [1]) if named(v) and set(v.type.axes) <= set(rest.axes)]
    position = env.one(["1", *(f"floor(2 * abs({text}))" for text in among)])
    return Val(f"sum({x.text}, over {name} where {name} == {position})", rest)


@rule(in_scan=False)
def windows(env: Env, x: Val) -> Val | None:
    """Write windows, or a convolution of them."""
    leaf = a_leaf(env, x)
    if leaf is None:
        return None
    n = env.number(1, 3)
    name, tap = static_name(env, n, x.type)
    type_ = Ty((*x.type.axes, tap), x.type.width)
    if not env.fits(type_):
        return None
    options = [f"align = {env.one(('causal', 'centred'))}", f"dilation = {env.number(1, 2)}"]
    env.register(name, tap)
    text = call(env, "windows", x, str(n), f"over {leaf[1]}", f"as {name}", *options)
    if env.chance():
        return Val(text, type_)
    return Val(f"({text} |> join({name}) |> linear(3))", x.type.wide(3))


@rule(in_scan=False)
def space(env: Env, x: Val) -> Val | None:
    """Write what only a space can be asked for: its fields stacked, a second set of tables."""
    spaces = [v for v in env.values if v.space]
    if not spaces:
        return None
    whole = env.one(spaces)
    if whole.text == "fields" and env.chance():
        name, axis = static_name(env, 3, whole.type)
        type_ = Ty((*whole.type.axes, axis), whole.type.width // 3)
        return axis_made(env, name, axis, f"stack(fields, as {name})", type_)
    # Of how many fields it is, only the program knows: their sum is one channel in any case.
    other = env.one(spaces)
    both = union([whole.type, other.type])
    if env.fits(both) and env.chance():
        return Val(f"sum(lookup({whole.text}, {other.text}, width = 2))", both)
    return Val(f"sum(lookup({whole.text}, 2))", whole.type.wide(1))


@rule(in_scan=False)
def standard(env: Env, x: Val) -> Val | None:
    """Call a block of the standard library that takes one value."""
    leaf, d = a_leaf(env, x), x.type.width
    plain = [f"cross_network(layers = 2, kind = {kind})" for kind in ("vector", "matrix")]
    plain.append("mixture_of_experts(experts = 2, sizes = [3])")
    if leaf is not None:
        name = leaf[1]
        plain += [f"bi_interaction(over {name})", f"fm(over {name})"] if leaf[0].static else []
        plain.append(f"self_attention(heads = 1, over {name})")
    made = env.one(plain)
    type_ = x.type
    if made.startswith("mixture"):
        type_ = type_.wide(3)
    elif made.startswith(("bi_", "fm")) and leaf is not None:
        type_ = type_.without(leaf[0]).wide(1 if made.startswith("fm") else d)
    return Val(f"({x.text} |> {made})", type_)


@rule(in_scan=False)
def recurrent(env: Env, x: Val) -> Val | None:
    """Return a recurrent encoder of the standard library."""
    leaf = a_leaf(env, x)
    if leaf is None:
        return None
    axis, name = leaf
    n = width(env, 3)
    kind = env.one(("gru", "lstm", "bigru", "bilstm", "gru_backward", "augru", "agru", "aigru"))
    arguments = [str(n)]
    if kind in ("augru", "agru", "aigru"):
        gates = [v for v in env.partners(x.type, [1]) if v.type.axes and axis in v.type.axes]
        gates = [v for v in gates if set(v.type.axes) <= set(x.type.axes)]
        if not gates and not named(x):
            return None
        gate = env.one(gates).text if gates else f"mean({x.text})"
        arguments.insert(0, f"sigmoid({gate})")
    text = call(env, kind, x, *arguments, f"over {name}")
    return Val(text, x.type.wide(2 * n if kind.startswith("bi") else n))


@rule(in_scan=False)
def transformer(env: Env, x: Val) -> Val | None:
    leaf = a_leaf(env, x)
    if leaf is None or x.type.width > 6:
        return None
    heads = env.one([h for h in (1, 2, 3) if x.type.width % h == 0])
    options = [f"heads = {heads}", "ff = 3", *(["causal = true"] if env.chance() else [])]
    return Val(call(env, "transformer", x, *options, f"over {leaf[1]}"), x.type)
