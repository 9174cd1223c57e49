"""Random expressions in which passes find what they look for: attentions, pairs, blocks of the library.

Importing this enters their rules.
"""

from __future__ import annotations

from specc.testing.environment import Env, Ty, Val, copied, union
from specc.testing.expressions import a_leaf, axis_made, call, named, rule, static_name


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
