"""How the learning rate changes: `adam(lr = 0.001, decay = halve(every = 1 epoch), warmup = 1000 steps)`.

Promises: JSON-able settings that say all that the runtime needs, `specc_runtime.train.schedule`; what cannot
be is an error at its value.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from specc.elaborate.statics import static
from specc.elaborate.world import Fault, Site
from specc.report.suggest import suggestion
from specc.syntax import tree
from specc.types.static import describe, is_number, real

# By schedule its options; what a positional argument is comes first.
DECAYS: Mapping[str, tuple[str, ...]] = {
    "step": ("every", "at", "factor"),
    "halve": ("every",),
    "exponential": ("every", "factor"),
    "cosine": ("over", "least"),
}


_EXAMPLES = {
    "step": "step(every = 2 epochs, factor = 0.1)",
    "halve": "halve(every = 1 epoch)",
    "exponential": "exponential(every = 1 epoch, factor = 0.9)",
}


def decay(expr: tree.Expr, site: Site) -> dict[str, Any] | None:
    """Return what multiplies the learning rate as training goes on: by its kind."""
    world = site.world
    if expr == tree.Ref("none"):
        return None
    callee = expr.callee if isinstance(expr, tree.Call) else expr
    name = callee.name if isinstance(callee, tree.Ref) else ""
    if name not in DECAYS:
        raise world.unknown("E0402", "schedule", name or expr.span.text, callee.span, DECAYS)
    given: dict[str, Any] = {}
    failed = False
    for argument in expr.args if isinstance(expr, tree.Call) else ():
        try:
            match argument:
                case tree.Positional(value=value):
                    key, place = DECAYS[name][0], argument.span
                case tree.Keyword(ident=ident, value=value):
                    key, place = ident.name, ident.span
                case _:
                    raise world.fault("E0404", f"`{name}` takes only options", argument.span)
            if key not in DECAYS[name]:
                help, fix = suggestion(key, place, DECAYS[name])
                raise world.fault(
                    "E0402", f"`{name}` has no option `{key}`", place, label="unknown option",
                    help=help or "it has " + ", ".join(f"`{o}`" for o in DECAYS[name]), fix=fix,
                )  # fmt: skip
            if key in given:
                raise world.fault("E0404", f"`{key}` is given twice", place)
            given[key] = _option(key, value, site)
        except Fault:
            failed = True
    if failed:
        raise Fault
    return _whole(name, given, expr, site)


def _whole(name: str, given: dict[str, Any], expr: tree.Expr, site: Site) -> dict[str, Any]:
    if name == "cosine":
        return {"kind": name, "over": given.get("over"), "least": given.get("least", 0.0)}
    wanted = {"step": "`every` or `at`", "halve": "`every`", "exponential": "`every` and `factor`"}[name]
    times = [key for key in ("every", "at") if key in given]
    if len(times) != 1 or (name == "exponential" and "factor" not in given):
        raise site.world.fault(
            "E0404", f"`{name}` needs {wanted}", expr.span,
            help=f"such as `{_EXAMPLES[name]}`",
        )  # fmt: skip
    kind = "step" if name == "halve" else name
    factor = 0.5 if name == "halve" else given.get("factor", 0.1)
    return {"kind": kind, times[0]: given[times[0]], "factor": factor}


def _option(key: str, expr: tree.Expr, site: Site) -> Any:
    if key in ("every", "over"):
        return duration(key, expr, site)
    if key == "at":
        return moments(expr, site)
    number = static(expr, site)
    fits = is_number(number) and (0 < number < 1 if key == "factor" else 0 <= number < 1)
    if not fits:
        what = (
            "a number between 0 and 1"
            if key == "factor"
            else "a part of the learning rate, from 0 to below 1"
        )
        raise site.world.fault("E0403", f"`{key}` is {what}", expr.span, found=describe(number))
    return real(number)


def duration(key: str, expr: tree.Expr, site: Site) -> list[Any]:
    """Return a number of epochs or steps: [number, "epoch" | "step"]."""
    if not isinstance(expr, tree.Quantity):
        raise site.world.fault(
            "E0403", f"`{key}` is a number of epochs or of steps", expr.span,
            expected=f"such as `{key} = 1 epoch` or `{key} = 1000 steps`",
        )  # fmt: skip
    return [_amount(key, static(expr.value, site), expr, site), expr.unit]


def moments(expr: tree.Expr, site: Site) -> list[Any]:
    """Return several numbers of one unit, ascending: [[number, …], "epoch" | "step"]."""
    if not isinstance(expr, tree.Quantity):
        return duration("at", expr, site)
    found = static(expr.value, site)
    numbers = found if isinstance(found, tuple) else (found,)
    amounts = [_amount("at", number, expr, site) for number in numbers]
    if not amounts or any(a >= b for a, b in pairwise(amounts)):
        raise site.world.fault("E0403", "`at` is one moment or more, each after the one before", expr.span)
    return [amounts, expr.unit]


def _amount(key: str, number: Any, expr: tree.Quantity, site: Site) -> int | float:
    fits = is_number(number) and number > 0 and (expr.unit == "epoch" or isinstance(number, int))
    if not fits:
        what = "a number of epochs above 0" if expr.unit == "epoch" else "a whole number of steps, at least 1"
        raise site.world.fault("E0403", f"`{key}` is {what}", expr.span, found=describe(number))
    found: int | float = number
    return found
