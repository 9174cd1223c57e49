"""`device` and `place`: which names live where, as the spec says.

Promises: every placed name is declared, every device known, nothing placed twice. Leaves what that
means for each node to `passes/placement.py`.
"""

from __future__ import annotations

import re

from specc.elaborate.world import Scope
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
) -> tuple[dict[str, str], dict[str, Span]]:
    """Return placed names (and "rest") with the device of each, and where that is said."""
    report = scope.world.report
    found: dict[str, str] = {}
    spans: dict[str, Span] = {}
    asked = {item.device.name for item in items}
    for item in items:
        if item.device.name not in known and not report.lost(item.device.name):
            close = nearest(item.device.name, known)
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
            entry = scope.entries.get(ident.name)
            if report.lost(ident.name):
                continue
            if ident.name != "rest" and (entry is None or not isinstance(entry.statement, _PLACED)):
                names = [n for n, e in scope.entries.items() if isinstance(e.statement, _PLACED)]
                close = nearest(ident.name, names)
                kind = KIND_WORDS.get(type(entry.statement), "") if entry else ""
                report.error(
                    "E0602",
                    f"a {kind} has no place" if kind else f"there is nothing called `{ident.name}` to place",
                    ident.span,
                    help=f"did you mean `{close}`?"
                    if close and not kind
                    else "tables, spaces, learned values, layers, blocks and bindings are placed",
                )
            elif ident.name in found and found[ident.name] != item.device.name:
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
    return found, spans
