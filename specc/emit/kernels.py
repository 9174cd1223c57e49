"""Print the call of each kernel.

Promises: a kernel that has no printer of its own is a call of the function of that name in
`specc_runtime.ops`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from specc.emit.code import (
    ATOM,
    BOTH,
    COMPARISON,
    EITHER,
    POWER,
    PRODUCT,
    SUM,
    UNARY,
    Expr,
    infix,
)
from specc.emit.texts import filled
from specc.lower.kernels import LAYERS
from specc.lower.program import Kernel
from specc.ops import OPS
from specc.ops.definition import Along, Called, OpDef, Pointwise

Form = Callable[[Sequence[Expr]], Expr]


def written(kernel: Kernel, args: Sequence[Expr], options: dict[str, str]) -> Expr:
    """Return a kernel's call. args: its operands as expressions."""
    form = _FORMS.get(kernel.name)
    if form is not None and kernel.over is None:
        return form(args)
    named = [f"{key}={text}" for key, text in options.items()]
    if kernel.name in LAYERS:
        layer, *rest = (a.text for a in args)
        return Expr(f"{layer}({', '.join([*rest, *named])})")
    name, _, of = kernel.name.rpartition(".")
    if of in OPS:
        own = {key: Expr(text) for key, text in options.items()}
        found = _by_definition(OPS[of], name, args, own, kernel.over is not None)
        if found is not None:
            return found
    name = _NAMES.get(kernel.name, f"ops.{kernel.name}")
    return Expr(f"{name}({', '.join([*(a.text for a in args), *named])})")


def _by_definition(
    definition: OpDef, form: str, args: Sequence[Expr], attrs: Mapping[str, Expr], over: bool
) -> Expr | None:
    """Return a call in the form that an operation's definition gives, or None if it gives none. form: for an
    operation along an axis, "channels", "along", "dense" (masked) or "segment"; else empty."""
    match definition.lowering:
        case Pointwise() as own if not form:
            names = [*(s.name for s in definition.inputs), *definition.attrs]
            given = dict(zip(names, args, strict=True))
            if over:
                return filled(own.over, given)
            if own.infix:
                return _INFIX[own.infix](args)
            return _prefix(own.prefix)(args) if own.prefix else filled(own.python, given)
        case Along() as own if form == "segment":
            x, rows, axis, *mask = args
            where = Expr("".join(f", {m.text}" for m in mask))
            return filled(own.ragged, {"x": x, "rows": rows, "axis": axis, "where": where, **attrs})
        case Along() as own if form:
            text = {"channels": own.channels, "along": own.dense, "dense": own.dense_where}[form]
            return filled(text, dict(zip(("x", "dim", "mask"), args, strict=False)) | dict(attrs))
        case Called() as own:
            return Expr(f"{own.function}({', '.join(a.text for a in args)})")
    return None


def _template(template: str) -> Form:
    """Return a form that fills the arguments into a template's braces. An argument whose method is called is
    put in parentheses where that is needed."""

    def form(args: Sequence[Expr]) -> Expr:
        first = args[0].at(ATOM) if template.startswith("{0}") else args[0].text
        return Expr(template.format(first, *(a.text for a in args[1:])))

    return form


def _infix(sign: str, level: int) -> Form:
    return lambda args: infix(args[0], sign, args[1], level)


def _comparison(sign: str) -> Form:
    def form(args: Sequence[Expr]) -> Expr:
        a, b = (x.at(COMPARISON + 1) for x in args)
        return Expr(f"{a} {sign} {b}", COMPARISON)

    return form


def _pow(args: Sequence[Expr]) -> Expr:
    return Expr(f"{args[0].at(ATOM)} ** {args[1].at(UNARY)}", POWER)


def _prefix(sign: str) -> Form:
    return lambda args: Expr(f"{sign}{args[0].at(UNARY)}", UNARY)


def _nonzero(args: Sequence[Expr]) -> Expr:
    return Expr(f"{args[0].at(COMPARISON + 1)} != 0", COMPARISON)


def _matmul(args: Sequence[Expr]) -> Expr:
    return Expr(f"{args[0].at(PRODUCT + 1)} @ {args[1].text}", PRODUCT)


def _unsqueeze(args: Sequence[Expr]) -> Expr:
    return Expr(args[0].at(ATOM) + "".join(f".unsqueeze({place.text})" for place in args[1:]))


def _split(args: Sequence[Expr]) -> Expr:
    x, size, width, *moved = args
    text = f"{x.at(ATOM)}.unflatten(-1, ({size.text}, {width.text}))"
    return Expr(text + "".join(f".movedim(-2, {place.text})" for place in moved))


def _join(args: Sequence[Expr]) -> Expr:
    x, *moved = args
    return Expr(x.at(ATOM) + "".join(f".movedim({place.text}, -2)" for place in moved) + ".flatten(-2)")


def _turned(weight: Expr, order: Sequence[Expr]) -> str:
    return f"{weight.text}.permute({', '.join(o.text for o in order)})" if order else weight.text


def _learned(args: Sequence[Expr]) -> Expr:
    return Expr(f"{_turned(args[0], args[1:])}.unsqueeze(0)")


def _along(args: Sequence[Expr]) -> Expr:
    order = [a for a in args[1:] if a.text.isdigit()]
    positions = [a.text for a in args[1:] if not a.text.isdigit()]
    return Expr(f"ops.along({', '.join([_turned(args[0], order), *positions])})")


def _times(form: str) -> Form:
    """Return the form `coefficient * penalty`."""

    def product(args: Sequence[Expr]) -> Expr:
        rest = ", ".join(a.text for a in args[2:])
        return Expr(f"{args[0].text} * {form.format(args[1].text, rest)}", PRODUCT)

    return product


_FORMS: dict[str, Form] = {
    "nonzero": _nonzero,
    "same": lambda args: args[0],
    "real": _template("{0}.to(self.dtype)"),
    "keys": _template("{0}"),
    "input": _template("{0}.to(self.dtype)"),
    "slice": _template("{0}[..., {1}:{2}]"),
    "split": _split,
    "join": _join,
    "unsqueeze": _unsqueeze,
    "squeeze": _template("{0}.squeeze(-1)"),
    "movedim": _template("{0}.movedim({1}, {2})"),
    "narrow": _template("{0}.narrow({1}, {2}, {3})"),
    "unbind": _template("{0}.unbind({1})"),
    "expand_as": _template("{0}.expand_as({1})"),
    "cat": _template("torch.cat({0}, -1)"),
    "bernoulli": _template("ops.bernoulli({0}, self.training)"),
    "dropout": _template("F.dropout({0}, {1}, self.training)"),
    "learned": _learned,
    "along": _along,
    "matmul": _matmul,
    "call": _template("{0}()"),
    "predicted": _template("predicted[{0}]"),
    "penalty": _times("{0}.penalty({1})"),
    "penalty_by_frequency": _times("{0}.penalty_by_frequency({1})"),
    "penalty_of_all": _times("{0}.penalty_of_all()"),
    "penalty_of_all_by_frequency": _times("{0}.penalty_of_all_by_frequency()"),
    "square_sum": _times("{0}.square().sum()"),
}

LEVELS = {"+": SUM, "-": SUM, "*": PRODUCT, "/": PRODUCT, "&": BOTH, "|": EITHER}
_INFIX: dict[str, Form] = {
    **{sign: _infix(sign, level) for sign, level in LEVELS.items()},
    **{sign: _comparison(sign) for sign in ("<", "<=", ">", ">=", "==", "!=")},
    "**": _pow,
}

# Methods and attributes of specc_runtime.model.
LOSSES = (
    "binary_loss", "real_loss", "absolute_loss", "huber_loss", "class_loss", "table_loss", "choice_loss",
    "request_loss", "mean_of_labelled",
)  # fmt: skip
# Functions that are not in specc_runtime.ops.
_NAMES = {
    **{name: f"self.{name}" for name in ("constant", "label", "positions", "numbers", "zeros")},
    **{name: name for name in LOSSES},
    "product_of": "ops.linear",
    "weights": "Weights.of",
}
