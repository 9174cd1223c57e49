"""Random specs: well-typed programs as text, for laws that hold of every program.

Promises: by the rules of the language each is sound, so the checker may have nothing against it; bounds and
widths are small, so that the definition of the language runs on it. They shrink to few and short statements.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from specc.ops import op
from specc.testing.blocks import Blocks
from specc.testing.environment import Ax, Drawn, Env, Thrown, Ty, Val, closed
from specc.testing.expressions import expression, plain, static_name, width
from specc.testing.idioms import pair_attention, pair_members, read_to_the_end
from specc.testing.sequences import chunked as chunked  # importing it enters its rules

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy


def programs(max_bindings: int = 6, form: str | None = None) -> SearchStrategy[str]:
    """Return a Hypothesis strategy of specs' texts. form: that of every binding, such as "appended"."""
    from hypothesis import strategies as st

    @st.composite
    def program(draw: DrawFn) -> str:
        return _Program(Env(Drawn(draw), [0]), max_bindings, form).text()

    return program()


def program_of(number: int, max_bindings: int = 6) -> str:
    """Return the text of one random spec: the same of a number, and of another most likely another."""
    return _Program(Env(Thrown(Random(number)), [0]), max_bindings).text()


@dataclass
class _Program:
    """One program while it is written."""

    env: Env
    max_bindings: int
    form: str | None = None

    def text(self) -> str:
        env = self.env
        self.head: list[str] = []
        self.body: list[str] = []
        self.blocks = Blocks(env, self.body)
        self.layers: dict[tuple[str, int], int] = {}  # a declared layer: name, input width -> output width
        self.placeable: list[str] = []
        self.kinds: dict[str, str] = {}  # of predictions
        self.spaces()
        if env.chance():
            self.learned()
        for _ in range(env.number(1, self.max_bindings)):
            self.binding()
        self.predictions()
        if env.number(0, 3) == 3:
            self.output()
        if env.number(0, 3) == 3:
            self.loss()
        if env.number(0, 3) == 3:
            self.places()
        turn = env.number(0, len(self.body) - 1)  # the order of statements never matters
        body = [*self.body[turn:], *self.body[:turn]]
        return "\n".join(["model random", "", *self.head, "", *self.blocks.lines, "", *body]) + "\n"

    # ------------------------------------------------------------- declarations

    def spaces(self) -> None:
        env = self.env
        self.items = items = env.number(1, 4)
        tags = env.number(1, 3)
        self.head.append(f"param sizes = [{', '.join(str(width(env, 4)) for _ in range(env.number(1, 2)))}]")
        rare = ", min_count = 2" if env.chance() else ""
        self.head.append(f"table items = vocab(7, {items}{rare})")
        self.placeable.append("items")
        widths: tuple[int, ...]
        fields, widths = f"item: items, price: number(standard), group: ids(3, {tags})", (items, 1, tags)
        if env.chance():
            fields += f", both: cross(item, group; hash(5, {tags})), hour: time(hour, {items})"
            widths = (*widths, tags, items)
        self.space("ad", (), fields, widths)
        first = Ax(("space", "history", "t"), "t", env.number(2, 4))
        more = env.one(("", ', split = "|"', ', weight = "shares"'))
        self.space("history", (first,), f"item: items, tags: bag(ids(4, {tags}), sum{more})", (items, tags))
        if env.chance():
            env.values.append(Val("same(history.item, ad.item)", Ty((first,), 1)))
        if env.chance():
            fields = ", ".join(f"{name}: ids(3, {tags})" for name in ("first", "second", "third"))
            self.space("fields", (), fields, (tags,) * 3, env.one(("request", "candidate")))
        if env.chance():
            session = Ax(("space", "visits", "session"), "session", env.number(1, 3))
            inner = Ax(("space", "visits", "step"), "step", env.number(1, 3), parent=session)
            self.space("visits", (session, inner), "item: items", (items,))
        if env.chance():
            self.head.append("space noise[like t] from request { item: items, x: vector(2) }")
            self.enter_space("noise", (first,), ("item", "x"), (items, 2))
        if env.chance():
            other = Ax(("space", "clicked", "c"), "c", env.number(1, 3))
            role = env.one(("request", "candidate"))
            self.space("clicked", (other,), "item: items", (items,), role)

    def space(
        self, name: str, axes: tuple[Ax, ...], fields: str, widths: tuple[int, ...], role: str = ""
    ) -> None:
        bounds = ", ".join(f"{a.name} <= {a.bound}" for a in axes)
        role = role or ("candidate" if name == "ad" else "request")
        self.head.append(f"space {name}{f'[{bounds}]' if axes else ''} from {role} {{ {fields} }}")
        for axis in axes:
            self.env.register(axis.name, axis)
        parts = [part.split(":")[0].strip() for part in fields.split(", ") if ":" in part]
        self.enter_space(name, axes, tuple(parts), widths)

    def enter_space(
        self, name: str, axes: tuple[Ax, ...], fields: tuple[str, ...], widths: tuple[int, ...]
    ) -> None:
        self.env.values.append(Val(name, Ty(axes, sum(widths)), space=True))
        self.env.values += [
            Val(f"{name}.{field}", Ty(axes, w)) for field, w in zip(fields, widths, strict=True)
        ]

    def learned(self) -> None:
        env = self.env
        name, n = env.fresh("w"), width(env, 4)
        if env.number(0, 7) == 7:
            row = Ax(("static", env.fresh("row"), 7, ()), f"row{env.counter[0]}", 7, True)
            env.register(row.name, row)
            self.body.append(f"{name} = rows(items, as {row.name})")
            env.values.append(Val(name, Ty((row,), self.items)))
            return
        axis = env.one([None, *{a for v in env.values for a in v.type.axes}])
        if axis is None and env.chance():
            static = env.fresh("slot")
            axis = Ax(("static", static, 2, ()), static, 2, True)
            env.register(static, axis)
            listed = str([[0.5 * i + k for k in range(n)] for i in range(2)])
            what = env.one((listed, "identity", "normal(1)", ""))
            self.body.append(
                f"fixed {name}[{static} = 2, {n}] = {what}" if what else f"learned {name}[{static} = 2, {n}]"
            )
        elif axis is not None and env.number(0, 3) == 3:
            self.body.append(f"fixed {name}[{axis.name}, {n}] = sinusoid")
        else:
            self.body.append(f"learned {name}[{f'{axis.name}, ' if axis else ''}{n}]")
        env.values.append(Val(name, Ty(closed([axis]) if axis else (), n)))
        self.placeable.append(name)

    # ----------------------------------------------------------------- bindings

    def binding(self) -> None:
        env = self.env
        start = env.one(env.values)
        blocks = self.blocks
        forms = [
            self.plain,
            self.plain,
            blocks.block,
            blocks.scan,
            blocks.attention,
            self.layer,
            self.crossed,
        ]
        form = env.one([*forms, self.appended]) if self.form is None else getattr(self, self.form)
        value = form(start)
        name = env.fresh("v")
        self.body.append(f"{name} = {value.text}")
        env.values.append(Val(name, value.type))

    def plain(self, start: Val) -> Val:
        return plain(self.env, start)

    def crossed(self, start: Val) -> Val:
        """Return the fields of a space, two by two, weighed by an attention or multiplied."""
        env = self.env
        fields = [v for v in env.values if v.text == "fields"]
        if not fields:
            return self.plain(start)
        name, axis = static_name(env, 3, fields[0].type)
        env.register(name, axis)
        value = Val(env.fresh("v"), Ty((*fields[0].type.axes, axis), fields[0].type.width // 3))
        self.body.append(f"{value.text} = stack(fields, as {name})")
        env.values.append(value)
        made = env.one((pair_attention, pair_members))(env, value)
        return made if made is not None else expression(env, value, env.number(1, 3))

    def appended(self, start: Val) -> Val:
        """Return what the positions of a sequence with one more at its end read of each other."""
        return read_to_the_end(self.env, self.body) or self.plain(start)

    def layer(self, start: Val) -> Val:
        """Return a declared layer, new or used again."""
        env = self.env
        known = [key for key in self.layers if key[1] == start.type.width]
        if known and env.chance():
            again = env.one(known)
            return Val(f"({start.text} |> {again[0]})", start.type.wide(self.layers[again]))
        name, n = env.fresh("layer"), width(env, 4)
        what = env.one((f"linear({n})", f"mlp([3, {n}], act = prelu)", f"linear({n}) |> norm |> tanh"))
        self.body.append(f"layer {name} = {what}")
        self.layers[name, start.type.width] = n
        self.placeable.append(name)
        return Val(f"{name}({start.text})", start.type.wide(n))

    # ------------------------------------------------------------------ outputs

    def reduced(self, value: Val) -> Val:
        """Return a value as one vector."""
        while value.type.axes:
            axis = value.type.leaves[-1]
            name = self.env.name(axis, value.type) or axis.name
            over = self.env.one((op.SUM, op.MEAN, op.MAX, op.LAST, op.FIRST))
            value = Val(f"{over}({value.text}, over {name})", value.type.without(axis))
        return value

    def predictions(self) -> None:
        env = self.env
        made = [v for v in env.values if v.text.startswith(("v", "w")) and v.text[1:].isdigit()]
        parts = [self.reduced(v).text for v in (made or env.values)[-4:]]
        self.body.append(f"joined = concat({', '.join(['ad.price', *parts])})")
        known = ["binary", "real", "class(3)", "real(loss = mae)", "real(loss = huber(0.5))"]
        known += ["choice(among = request)"]
        known += ["binary(positive = 4)", "class(items)", "class(items, bias = true, sampled = 3)"]
        known += ["choice(among = batch)", "choice(among = batch, of = ad.item, correct = true)"]
        kinds = [env.one(known) for _ in range(env.number(1, 2))]
        for number, kind in enumerate(kinds):
            n = self.items if "items)" in kind or "(items," in kind else 3 if kind.startswith("class") else 1
            source = (
                env.one(("", ' from "rating" >= 4', ' from "event" == "buy"'))
                if kind.startswith("binary")
                else ""
            )
            self.kinds[f"p{number}"] = kind
            if env.number(0, 4) == 4:
                # A weight by a label, its own or another's.
                extra = f"weight = 1 + 0.5 * label({env.one(list(self.kinds))}) ^ 2"
                kind = kind.removesuffix(")") + f", {extra})" if "(" in kind else f"{kind}({extra})"
            self.body.append(f"predict p{number}: {kind}{source} = joined |> linear({n})")

    def output(self) -> None:
        """Write a result without a label."""
        value = self.reduced(self.env.one([v for v in self.env.values if not v.space]))
        self.body.append(f"output given = {value.text}")

    def loss(self) -> None:
        env = self.env
        start = env.one([v for v in env.values if not v.space])
        logit = f"({start.text} |> linear(1))"
        losses = [f"bce({logit}, 1)", f"mse({start.text}, 0.5)"]
        losses += [f"mse({start.text}, label({env.one(list(self.kinds))}))"]
        if not start.type.axes:
            losses.append(f"contrast({start.text}, ad.item |> linear({start.type.width}), scale = 0.5)")
        losses.append(f"cross_entropy({start.text} |> linear(3), 1)")
        value = self.reduced(Val(env.one(losses), start.type.wide(1)))
        self.body.append(f"loss extra = 0.1 * {value.text}")

    def places(self) -> None:
        env = self.env
        self.body += ['device host = "cpu"', 'device dense = "auto"']
        self.body.append(f"place {env.one(self.placeable)} on host")
        self.body.append("place rest on dense")
