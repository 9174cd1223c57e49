"""`train { … }`: the recipe that belongs to the model, checked key by key.

Promises: JSON-able settings with every default filled in; an unknown key or option is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from specc.elaborate.metrics import GROUPED, default_metric, metric_of
from specc.elaborate.schedules import decay, duration
from specc.elaborate.scope import Scope
from specc.elaborate.statics import static
from specc.elaborate.world import Fault, Site
from specc.report.suggest import nearest, suggestion
from specc.syntax import tree
from specc.types.static import describe, is_number, real, whole_between

# Options of each optimizer with their defaults, named as in torch.
OPTIMIZERS: Mapping[str, Mapping[str, Any]] = {
    "adam": {"lr": 0.001, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0},
    "adamw": {"lr": 0.001, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01},
    "adagrad": {"lr": 0.01, "initial": 0.0, "eps": 1e-10, "weight_decay": 0.0},
    "sgd": {"lr": 0.1, "momentum": 0.0, "nesterov": False, "weight_decay": 0.0},
    "rmsprop": {"lr": 0.01, "alpha": 0.99, "eps": 1e-8, "momentum": 0.0, "weight_decay": 0.0},
}
# What every optimizer has beside, and `adam` alone.
SCHEDULE, LAZY = ("decay", "warmup"), "lazy"
# By option what it must be: at least or above the first, below the second.
_DOMAINS: Mapping[str, tuple[Callable[[float], bool], str]] = {
    "lr": (lambda x: x > 0, "above 0"),
    "eps": (lambda x: x > 0, "above 0"),
    "weight_decay": (lambda x: x >= 0, "that is not negative"),
    "initial": (lambda x: x >= 0, "that is not negative"),
    **dict.fromkeys(("beta1", "beta2", "alpha", "momentum"), (lambda x: 0 <= x < 1, "from 0 to below 1")),
}
# What is meant by keys of other libraries.
_ELSEWHERE = {
    "loss": "the kind of a prediction says its loss; a further one is declared: `loss NAME = EXPRESSION`",
    "early_stopping": "write `patience = 3`: so many epochs may pass that are not better",
    "learning_rate": "it is the optimizer's: `optimizer = adam(lr = …)`",
    "scheduler": "it is the optimizer's: `optimizer = adam(decay = …)`",
    "gradient_clip": "write `clip = …`, the largest norm of the gradient",
    "device": 'a device is declared, `device NAME = "cuda"`, or given as `specc train --device`',
}
_USUAL = {"momentum": 0.9, "weight_decay": 0.01, "initial": 0.1}
PRECISIONS = ("fp32", "bf16")
KEYS = (
    "optimizer", "batch", "epochs", "metric", "group", "clip", "seed", "patience", "precision",
)  # fmt: skip


def training(scope: Scope, items: list[tree.Train]) -> dict[str, Any]:
    """Return the settings; a later `train` (of a spec that extends another) overrides key by key."""
    settings: dict[str, Any] = {
        "optimizer": optimizer_of("adam"),
        "batch": 512,
        "epochs": 1,
        "metric": default_metric(scope),
        "group": None,
        "clip": None,
        "seed": 0,
        "patience": None,
        "precision": "fp32",
    }
    last = {entry.ident.name: entry for item in items for entry in item.entries}
    own = scope.module.ident.span.source
    failed = False
    for item in items:
        seen: set[str] = set()
        for entry in item.entries:
            if entry is not last[entry.ident.name] and entry.span.source is not own:
                continue  # a base's value that is replaced may speak of what is no longer there
            try:
                _entry(scope, entry, seen, settings)
            except Fault:
                failed = True
    if failed:
        raise Fault
    grouped = settings["group"] is not None or scope.world.of_requests
    if not grouped and settings["metric"].partition("@")[0] in GROUPED:
        raise _needs_a_group(scope, last["metric"])
    return settings


def batch_of(scope: Scope, items: list[tree.Train]) -> int:
    """Return how many examples a batch has, without a word about what is wrong with the settings."""
    for item in reversed(items):
        for entry in item.entries:
            if entry.ident.name == "batch" and isinstance(entry.value, tree.Number):
                return max(int(entry.value.value), 1)
    return 512


def _needs_a_group(scope: Scope, entry: tree.Entry) -> Fault:
    """Return the fault of `metric = gauc` where no `group` is said."""
    known = _could_group(scope)
    usual = next((path for path in known if path.startswith(("user.", "request."))), *known[:1])
    return scope.world.fault(
        "E0403",
        f"`{entry.value.span.text}` needs a `group`",
        entry.value.span,
        why="it compares the examples of a group with each other, such as those of a user",
        help=f"write what they are grouped by as well: `group = {usual}`"
        if usual
        else "give a space without axes a field that names the user, and write `group = user.id`",
    )


def _could_group(scope: Scope) -> list[str]:
    """Return the fields that examples can be grouped by."""
    spaces = scope.world.spaces.values()
    return [f"{s.name}.{f.name}" for s in spaces if not s.axes for f in s.fields if f.table]


def _entry(scope: Scope, entry: tree.Entry, seen: set[str], settings: dict[str, Any]) -> None:
    world, key, site = scope.world, entry.ident.name, Site(scope, scope.frame, "")
    if key not in KEYS:
        if world.report.lost(key):
            raise Fault
        help, fix = suggestion(key, entry.ident.span, KEYS)
        raise world.fault(
            "E0402",
            f"`train` has no key `{key}`",
            entry.ident.span,
            label="unknown key",
            help=_ELSEWHERE.get(key)
            or help
            or (f"it is the optimizer's: `optimizer = adam({key} = …)`" if key in OPTIMIZERS["adam"] else "")
            or "it has " + ", ".join(f"`{k}`" for k in KEYS),
            fix=None if key in _ELSEWHERE else fix,
        )
    if key in seen:
        raise world.fault("E0404", f"`{key}` is given twice", entry.ident.span)
    seen.add(key)
    if key in ("group", "clip", "patience") and entry.value == tree.Ref("none"):
        settings[key] = None
        return
    match key:
        case "optimizer":
            settings[key] = _optimizer(entry.value, site)
        case "batch" | "epochs" | "patience":
            settings[key] = _count(key, entry.value, site)
        case "seed":
            settings[key] = _count(key, entry.value, site, least=0)
        case "precision":
            word = entry.value.name if isinstance(entry.value, tree.Ref) else entry.value.span.text
            if word not in PRECISIONS:
                raise world.fault(
                    "E0403", f"there is no precision `{word}`", entry.value.span,
                    expected=" or ".join(f"`{p}`" for p in PRECISIONS),
                    help=f"did you mean `{nearest(word, PRECISIONS)}`?" if nearest(word, PRECISIONS) else "",
                )  # fmt: skip
            settings[key] = word
        case "metric":
            settings[key] = metric_of(scope, entry.value, site)
        case "group":
            settings[key] = _group(scope, entry.value)
        case "clip":
            number = static(entry.value, site)
            if not is_number(number) or number <= 0:
                raise world.fault(
                    "E0403", "`clip` is the largest norm of the gradient, above 0", entry.value.span,
                    found=describe(number),
                    help="leave it out to clip nothing, or write a norm such as `clip = 5`",
                )  # fmt: skip
            settings[key] = real(number)


def _count(key: str, expr: tree.Expr, site: Site, least: int = 1) -> int:
    number = static(expr, site)
    if not isinstance(number, int) or isinstance(number, bool) or number < least:
        raise site.world.fault(
            "E0403",
            f"`{key}` must be an integer of at least {least}",
            expr.span,
            found=describe(number),
            help=whole_between(number, least),
        )
    return number


def optimizer_of(name: str) -> dict[str, Any]:
    """Return an optimizer with its defaults."""
    return {"name": name, "options": dict(OPTIMIZERS[name]), "lazy": False, "decay": None, "warmup": None}


def _optimizer(expr: tree.Expr, site: Site) -> dict[str, Any]:
    world = site.world
    callee = expr.callee if isinstance(expr, tree.Call) else expr
    name = callee.name if isinstance(callee, tree.Ref) else ""
    if name not in OPTIMIZERS:
        raise world.unknown("E0402", "optimizer", name or expr.span.text, callee.span, OPTIMIZERS)
    found = optimizer_of(name)
    known = (*OPTIMIZERS[name], *SCHEDULE, *([LAZY] if name == "adam" else []))
    places: dict[str, tree.Expr] = {}
    failed = False
    for argument in expr.args if isinstance(expr, tree.Call) else ():
        try:
            match argument:
                case tree.Positional(value=given):
                    key, place = "lr", argument.span
                case tree.Keyword(ident=ident, value=given):
                    key, place = ident.name, ident.span
                case _:
                    raise world.fault("E0404", f"`{name}` takes only options", argument.span)
            if key not in known:
                help, fix = suggestion(key, place, known)
                raise world.fault(
                    "E0402",
                    f"`{name}` has no option `{key}`",
                    place,
                    label="unknown option",
                    help=help or "it has " + ", ".join(f"`{o}`" for o in known),
                    fix=fix,
                )
            if key in places:
                raise world.fault("E0404", f"`{key}` is given twice", place, help="keep one of them")
            places[key] = given
            value = _option(key, given, site)
            (found if key in (*SCHEDULE, LAZY) else found["options"])[key] = value
        except Fault:
            failed = True
    if failed:
        raise Fault
    _together(found, places, site)
    return found


def _option(key: str, expr: tree.Expr, site: Site) -> Any:
    if key == "decay":
        return decay(expr, site)
    if key == "warmup":
        return duration(key, expr, site)
    value = static(expr, site)
    if key in ("nesterov", LAZY):
        if not isinstance(value, bool):
            raise site.world.fault(
                "E0403", f"`{key}` is `true` or `false`", expr.span, found=describe(value),
                help=f"write `{key} = true`, or leave it out",
            )  # fmt: skip
        return value
    fits, what = _DOMAINS[key]
    if not is_number(value) or not fits(value):
        usual = next(known[key] for known in OPTIMIZERS.values() if key in known) or _USUAL.get(key, 0)
        raise site.world.fault(
            "E0403",
            f"`{key}` must be a number {what}",
            expr.span,
            found=describe(value),
            help=f"write a number {what}, such as `{key} = {usual}`",
        )
    return real(value)


def _together(found: dict[str, Any], places: Mapping[str, tree.Expr], site: Site) -> None:
    """Report settings that cannot be combined."""
    options = found["options"]
    if options.get("nesterov") and not options["momentum"]:
        raise site.world.fault(
            "E0403", "`nesterov` needs a `momentum` above 0", places["nesterov"].span,
            help="such as `momentum = 0.9`",
        )  # fmt: skip
    if found[LAZY] and options["weight_decay"]:
        raise site.world.fault(
            "E0403", "lazy tables do not decay", places["weight_decay"].span,
            help="`weight_decay` or `lazy = true`, not both",
        )  # fmt: skip


def _group(scope: Scope, expr: tree.Expr) -> str:
    """Return the field whose values group the examples for GAUC, as `user.id`."""
    world = scope.world
    if isinstance(expr, tree.Attribute):
        space = world.spaces.get(expr.base.name)
        if space is None:
            declared = [n for n, e in scope.entries.items() if isinstance(e.statement, tree.Space)]
            if expr.base.name in declared:
                raise Fault  # its own fault is reported where it is declared
            raise world.unknown("E0201", "space", expr.base.name, expr.base.span, declared)
        names = [f.name for f in space.fields]
        if expr.ident.name not in names:
            raise world.unknown("E0201", f"field of `{space.name}`", expr.ident.name, expr.ident.span, names)
        if not space.axes:
            return f"{space.name}.{expr.ident.name}"
    known = _could_group(scope)
    raise world.fault(
        "E0403",
        "`group` is a field of a space without axes",
        expr.span,
        expected=", ".join(known[:4]) or "such as `user.id`",
        help=f"write one of them, such as `group = {known[0]}`" if known else "",
        why="the examples of a group are compared with each other, so each example is in one",
    )
