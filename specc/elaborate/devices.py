"""`device` and `place`: which names live where, as the spec says.

Promises: every placed name is declared, every device known, nothing placed twice, and `sharded` stands for no
device. Leaves what that means for each node to `passes/placement.py`, and for tables that are sharded to
`elaborate/sharding.py`.
"""

from __future__ import annotations

import re

from specc.elaborate.scope import Scope
from specc.elaborate.sharding import SHARDED
from specc.names.program import KIND_WORDS
from specc.report import Label
from specc.report.suggest import nearest
from specc.source import Span
from specc.syntax import tree

TARGET = re.compile(r"auto|cpu|(cuda|mps|xpu|meta)(:\d{1,3})?")
_PLACED = (
    tree.Table, tree.Learned, tree.Layer, tree.Binding, tree.Block, tree.Space, tree.Predict,
    tree.Output, tree.Loss,
)  # fmt: skip


def _target(name: str) -> str:
    """Return the target of a device, as far as its name says it."""
    kind = name.rstrip("0123456789_")
    return kind if TARGET.fullmatch(kind) else "cuda" if kind == "gpu" else "cpu"


def devices(scope: Scope) -> dict[str, str]:
    """Return declared devices by name. Reports a target that is no device (E0601)."""
    found: dict[str, str] = {}
    for name, entry in scope.entries.items():
        if not isinstance(entry.statement, tree.Device):
            continue
        target = entry.statement.target
        if name == SHARDED:
            scope.world.report.error(
                "E0606",
                f"`{SHARDED}` is no name for a device",
                entry.statement.ident.span,
                why=f"`place … on {SHARDED}` divides tables between the processes that train",
                help="give the device another name",
            )
        if not TARGET.fullmatch(target.value):
            scope.world.report.error(
                "E0601",
                f'"{target.value}" is not a device',
                target.span,
                expected='"cpu", "cuda", "cuda:1", "mps" or "auto"',
                help=f'did you mean "{close}"?'
                if (close := nearest(target.value, ("cpu", "cuda", "mps", "auto")))
                else '"auto" is the accelerator where there is one, else the CPU',
            )
        found[name] = target.value
    return found


def places(
    scope: Scope, items: list[tree.Place], known: dict[str, str]
) -> tuple[dict[str, str], dict[str, Span], dict[str, Span]]:
    """Return placed names (and "rest") with the device of each, and where that is said; then, with where, the
    names of tables that are sharded."""
    report = scope.world.report
    found: dict[str, str] = {}
    spans: dict[str, Span] = {}
    asked = {item.device.name for item in items}
    for item in items:
        if item.device.name not in (*known, SHARDED) and not report.lost(item.device.name):
            close = nearest(item.device.name, (*known, SHARDED))
            report.error(
                "E0603",
                f"there is no device `{item.device.name}`",
                item.device.span,
                label="unknown device",
                help=f"did you mean `{close}`?"
                if close
                else f'declare it: `device {item.device.name} = "{_target(item.device.name)}"`',
            )
        for ident in item.names or (tree.Ident("rest", span=item.span),):
            space, _, field = ident.name.partition(".")
            entry = scope.entries.get(space)
            if report.lost(space):
                continue
            known_as = None if entry is None else entry.statement
            if field and isinstance(known_as, tree.Space):
                if not _own_table(scope, ident, known_as):
                    continue
            elif item.device.name == SHARDED and _no_table(ident, known_as):
                _refuse(scope, ident, known_as)
                continue
            elif ident.name != "rest" and (field or not isinstance(known_as, _PLACED)):
                names = [n for n, e in scope.entries.items() if isinstance(e.statement, _PLACED)]
                close = nearest(ident.name, names)
                kind = "" if field else KIND_WORDS.get(type(known_as), "")
                report.error(
                    "E0602",
                    f"a {kind} has no place" if kind else f"there is nothing called `{ident.name}` to place",
                    ident.span,
                    help=f"did you mean `{close}`?"
                    if close and not kind
                    else "tables, spaces, learned values, layers, blocks and bindings are placed",
                )
                continue
            if ident.name in found and found[ident.name] != item.device.name:
                report.error(
                    "E0604",
                    f"`{ident.name}` is placed on two devices",
                    ident.span,
                    found=f"`{found[ident.name]}` and `{item.device.name}`",
                    secondary=(Label(spans[ident.name], "first placed here"),),
                )
            else:
                found.setdefault(ident.name, item.device.name)
                spans.setdefault(ident.name, ident.span)
    for name, entry in scope.entries.items():
        inherited = entry.span.source.name != scope.module.ident.span.source.name
        if (
            isinstance(entry.statement, tree.Device)
            and name not in asked
            and not report.lost(name)
            and not report.lost("place")
            and not inherited
        ):
            report.warning(
                "W0708",
                f"nothing is placed on device `{name}`",
                entry.span,
                help=f"write `place … on {name}`, or remove it",
            )
    sharded = {name: spans[name] for name, device in found.items() if device == SHARDED}
    others = {name: device for name, device in found.items() if device != SHARDED}
    return others, {name: spans[name] for name in others}, sharded


def _own_table(scope: Scope, ident: tree.Ident, space: tree.Space) -> bool:
    """Return whether a name, `user.id`, is that of a field with a table of its own. Reports what is none."""
    fields = {f.ident.name for f in space.fields}
    field = ident.name.partition(".")[2]
    tables = {w.owner for w in scope.world.weights.values() if w.kind == "table"}
    if space.ident.name not in scope.world.spaces or ident.name in tables:
        return field in fields
    if field in fields:
        text = f"`{ident.name}` has no table of its own"
        read = next(f.table for f in scope.world.spaces[space.ident.name].fields if f.path == ident.name)
        table = scope.world.weights[read].owner if read is not None else None
        more = f"place `{table}`, which it reads" if table else f"place `{space.ident.name}` as a whole"
    else:
        close = nearest(field, fields)
        text = f"`{space.ident.name}` has no field `{field}` to place"
        has = f"it has {', '.join(sorted(fields))}"
        more = f"did you mean `{space.ident.name}.{close}`?" if close else has
    scope.world.report.error("E0602", text, ident.span, help=more)
    return False


def _no_table(ident: tree.Ident, known_as: tree.Node | None) -> bool:
    return ident.name == "rest" or not isinstance(known_as, tree.Table | None)


def _refuse(scope: Scope, ident: tree.Ident, known_as: tree.Node | None) -> None:
    """Report something other than a table that is to be sharded."""
    tables = [name for name, e in scope.entries.items() if isinstance(e.statement, tree.Table)]
    tables += [w.owner for w in scope.world.weights.values() if w.kind == "table" and "." in w.owner]
    kind = KIND_WORDS.get(type(known_as), "")
    advice = f"name tables, such as `place {tables[0]} on {SHARDED}`"
    scope.world.report.error(
        "E0606",
        f"`{ident.name}` is a {kind}, and tables alone are sharded" if kind else "tables alone are sharded",
        ident.span,
        help=advice if tables else "this model has no tables",
    )
