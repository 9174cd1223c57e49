"""Blocks of random programs: what they are called with, what they compute, and the statement that calls them.

Promises: a block is sound wherever it is called; axes that its signature does not name pass through it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from specc.testing.environment import Ax, Env, Ty, Val, closed, union
from specc.testing.expressions import expression, plain, width


def _is_chosen(id: object) -> bool:
    """Whether values decided what is on an axis: those of two calls are two."""
    return isinstance(id, tuple) and ("top" in id or any(map(_is_chosen, id)))


def _holds(id: object, scope: object) -> bool:
    """Whether an axis is made of one that stays in a block's body: those of two calls are two."""
    return isinstance(id, tuple) and (id == scope or any(_holds(part, scope) for part in id))


def _at_home(axis: Ax, name: str, inner: Env, outer: Env) -> Ax:
    """Return a new axis of a block's result as its caller knows it, under a name."""
    kind, *rest = axis.id
    if kind == "static" and axis.id[-1] == inner.scope:
        return Ax((kind, name, axis.bound, outer.scope), name, axis.bound, True)
    if kind == "renamed" and axis.id[-1] == inner.scope:
        return replace(axis, id=(kind, rest[0], name, outer.scope), name=name)
    return replace(axis, name=name)


@dataclass
class Blocks:
    """The blocks of a program while it is written. body: its statements. lines: the blocks' text."""

    env: Env
    body: list[str]
    lines: list[str] = field(default_factory=list)

    def block(self, start: Val) -> Val:
        """Return a block of its own, with what it is called with."""
        env = self.env
        given = [start]
        partners = [v for v in env.partners(start.type) if v is not start]
        if partners and env.chance():
            given.append(env.one(partners))
        inner, signature, variables = self.signature(given)
        lines: list[str] = []
        last = expression(inner, env.one(inner.values), env.number(1, 3))
        for _ in range(env.number(0, 2)):
            name = inner.fresh("y")
            lines.append(f"{name} = {last.text}")
            inner.values.append(Val(name, last.type))
            last = expression(inner, env.one(inner.values), env.number(1, 3))
        name = env.fresh("block")
        return self.call("block", name, given, signature, variables, lines, last, inner)

    def signature(self, given: list[Val]) -> tuple[Env, list[str], dict[Ax, str]]:
        """Return the names that the arguments have in a block; axes without one pass through it."""
        env = self.env
        inner = Env(env.choice, env.counter, scope=(env.fresh("scope"),))
        every = union(v.type for v in given).axes
        variables: dict[Ax, str] = {}
        for axis in every:
            # The name decides which axis is meant where there are several, so it is the caller's.
            name = env.plain_name(axis)
            if name is not None and env.chance():
                variables[axis] = name
                inner.register(name, axis)
        signature = []
        for value in given:
            name = inner.fresh("x")
            axes = [variables[a] for a in value.type.axes if a in variables]
            signature.append(f"{name}[{', '.join([*axes, str(value.type.width)])}]")
            inner.values.append(Val(name, value.type, value.space))
        return inner, signature, variables

    def call(
        self, kind: str, name: str, given: list[Val], signature: list[str], variables: dict[Ax, str],
        lines: list[str], result: Val, inner: Env,
    ) -> Val:  # fmt: skip
        """Declare a block and call it."""
        passing = {a for v in given for a in v.type.axes} - set(variables)
        results = [result]
        others = [v for v in inner.values if not v.space and v.text != result.text]
        if kind == "block" and others and self.env.number(0, 2) == 2:  # several results
            results.append(inner.one(others))
        declared = []
        for value in results:
            names = [inner.name(a, value.type) for a in value.type.axes if a not in passing]
            declared.append(f"[{', '.join([*(n for n in names if n), str(value.type.width)])}]")
        self.lines += [
            f"{kind} {name}({', '.join(signature)}) -> {', '.join(declared)} {{",
            *(f"  {line}" for line in lines),
            f"  return {', '.join(value.text for value in results)}",
            "}",
        ]
        arguments = [v.text for v in given]
        outside: dict[str, str] = {}
        types = []
        for value in results:
            type_ = value.type
            for axis in value.type.axes:
                own = inner.name(axis, value.type)
                if axis in passing or own is None or own in variables.values():
                    continue
                if own not in outside:
                    outside[own] = self.env.fresh("e") if self.env.chance() else own
                type_ = type_.replaced(axis, _at_home(axis, outside[own], inner, self.env))
            types.append(type_)
        # The caller may give new axes other names.
        arguments += [f"{own} to {other}" for own, other in outside.items() if own != other]
        for axis in union(types).axes:
            if not any(axis in axes for axes in self.env.names.values()):
                self.env.register(axis.name, axis)
        text = f"{name}({', '.join(arguments)})"
        if len(results) > 1:
            given_names = [self.env.fresh("v") for _ in results]
            self.body.append(f"{', '.join(given_names)} = {text}")
            self.env.values += map(Val, given_names, types)
            return Val(given_names[0], types[0])
        apart = any(_is_chosen(axis.id) or _holds(axis.id, inner.scope) for axis in types[0].axes)
        if types[0] != result.type and not apart and self.env.chance():  # what two calls make is one axis
            text = f"({text} - 0.5 * {text})"
        return Val(text, types[0])

    def sequences(self, ragged: bool = False) -> list[tuple[Val, Ax]]:
        """Return the values that a block can walk, each with the axis."""
        env = self.env
        return [
            (v, a)
            for v in env.values
            for a in v.type.leaves
            if env.plain_name(a) is not None and not (ragged and a.static)
        ]

    def scan(self, start: Val) -> Val:
        """Return an encoder that walks an axis with one or two states."""
        env = self.env
        x, axis = env.one(self.sequences())
        name = env.plain_name(axis)
        assert name is not None
        given = [x]
        others = [v for v in env.values if axis not in v.type.axes and set(v.type.axes) <= set(x.type.axes)]
        if others and env.chance():
            given.append(env.one(others))
        inner = Env(env.choice, env.counter, scope=(env.fresh("scope"),))
        inner.register(name, axis)
        signature = []
        for value in given:
            argument = inner.fresh("x")
            axes = [name] if axis in value.type.axes else []
            signature.append(f"{argument}[{', '.join([*axes, str(value.type.width)])}]")
            inner.values.append(Val(argument, value.type, value.space))
        # The states have the axes in which the walked one lives; a start may bring others.
        own = set(closed([axis.parent])) if axis.parent else set()
        starts = [v for v in inner.values if axis not in v.type.axes]
        begun = env.one(starts) if starts and env.chance() else None
        allowed = frozenset(own | (set(begun.type.axes) if begun else set()))
        seen = [replace(v, type=v.type.without(axis)) for v in inner.values]
        body = replace(
            inner, values=[v for v in seen if set(v.type.axes) <= allowed], walked=axis, allowed=allowed
        )
        order = [a for a in union(v.type for v in given).axes if a in allowed]
        states, heads = [], []
        for number in range(env.number(1, 2)):
            state, n = inner.fresh("h"), begun.type.width if begun and not number else width(env, 4)
            states.append(Val(state, Ty(tuple(order), n)))
            heads.append(f"{state}[{n}]" + (f" = {begun.text}" if begun and not number else ""))
        if begun and len(states) == 2:
            # The second state has fewer axes than the first, unless it is begun likewise.
            states, heads = states[:1], heads[:1]
        body.values += states
        lines = [f"scan {', '.join(heads)} over {name}{' backward' if env.chance() else ''} {{"]
        if env.chance():
            local = inner.fresh("y")
            made = expression(body, env.one(body.values), env.number(1, 2))
            lines.append(f"  {local} = {made.text}")
            body.values.append(Val(local, made.type))
        for following in states:
            value = expression(body, env.one(body.values), env.number(1, 3))
            lines.append(f"  next {following.text} = tanh({value.text} |> linear({following.type.width}))")
        lines.append("}")
        last = env.one(states)
        type_ = Ty((*order, axis), last.type.width)
        result = (
            Val(f"last({last.text}, over {name})", type_.without(axis))
            if env.chance()
            else Val(last.text, type_)
        )
        block = env.fresh("walk")
        return self.call("encoder", block, given, signature, {axis: name}, lines, result, inner)

    def attention(self, start: Val) -> Val:
        """Return an attention of a value to a sequence."""
        env = self.env
        key, axis = env.one(self.sequences())
        name = env.plain_name(axis)
        assert name is not None
        queries = [
            v for v in env.values
            if axis not in v.type.axes and env.fits(union([v.type, key.type], key.type.width))
        ]  # fmt: skip
        if not queries:
            return plain(env, start)
        query, d = env.one(queries), key.type.width
        inner = Env(env.choice, env.counter, scope=(env.fresh("scope"),))
        inner.register(name, axis)
        signature = [f"query[{query.type.width}]", f"key[{name}, {d}]"]
        asked = f"(query |> linear({d}, bias = false))"
        score = env.one(
            (
                f"dot({asked}, key) / sqrt({d})",
                f"concat({asked}, key, {asked} - key, {asked} * key) |> mlp([3], act = prelu) |> linear(1)",
                "tanh((query |> linear(3)) + (key |> linear(3))) |> linear(1, bias = false)",
            )
        )
        where = env.one(("", "", f" where {name} != 0"))
        weight = env.one((f"softmax(score, over {name}{where})", "sigmoid(score)"))
        both = union([query.type, key.type], d)
        lines = [f"score = {score}", f"weight = {weight}"]
        result = Val(f"sum(weight * key, over {name})", both.without(axis))
        block = env.fresh("look")
        return self.call("attention", block, [query, key], signature, {axis: name}, lines, result, inner)
