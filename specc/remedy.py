"""Which fixes are offered: those that have been tried.

Promises: after `settle`, each fix of a report, applied by itself, removes its fault and adds none; where
several would do, all of them mean the same. What could not be tried is not offered. Leaves applying them to
`specc check --fix`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

from specc.ir.graph import Graph
from specc.report import Diagnostic, Fix, Report, Severity
from specc.source import Source, Span

# Trials of one report: each checks the whole text again.
_MOST = 60
Check = Callable[[Source], tuple[Graph | None, Report]]


def settle(
    report: Report, among: Sequence[Diagnostic], source: Source, check: Check, whole: Check | None = None
) -> None:
    """Keep the fixes of diagnostics that hold, of those of one text.

    among: the report's diagnostics that `check`, which gives a text's graph and report, finds. whole: what
    finds all of the report's, if that is more: it is asked of those that `check` lets pass.
    """
    left = _MOST
    settled: dict[int, Fix | None] = {}
    for diagnostic in among:
        if diagnostic.fix is None:
            continue
        tried = [fix for fix in (diagnostic.fix, *diagnostic.others) if fix.span.source is source]
        fits = len(tried) <= left
        left -= len(tried) if fits else 0
        fix = _the_one(diagnostic, tried, among, source, check) if fits else None
        if fix is not None and whole is not None:
            fix = _the_one(diagnostic, [fix], list(report), source, whole)
        settled[id(diagnostic)] = fix
    report.settle(settled)


def _the_one(
    diagnostic: Diagnostic, tried: list[Fix], found: Sequence[Diagnostic], source: Source, check: Check
) -> Fix | None:
    """The fix among those tried that holds, if all that hold give one and the same graph."""
    holding: list[tuple[Fix, Graph | None]] = []
    for fix in tried:
        graph, after = check(Source(source.name, applied(source.text, [fix])))
        if _removes(diagnostic, fix, found, after, source.name):
            holding.append((fix, graph))
    if not holding:
        return None
    first = holding[0][1]
    if len(holding) > 1 and (
        first is None or any(g is None or meaning(g) != meaning(first) for _, g in holding)
    ):
        return None
    # A sign put in, or a token left out, in the place of the one advised only shows that this is not certain.
    return holding[0][0] if holding[0][0] is tried[0] or diagnostic.code != "E0103" else None


def _removes(own: Diagnostic, fix: Fix, before: Sequence[Diagnostic], after: Report, name: str) -> bool:
    """Whether a fault is gone, and every other one is where it was, and no more."""
    grown = len(fix.text) - (fix.span.stop - fix.span.start)
    sound = not after.has_errors
    known = Counter(_key(d, name, fix, 0) for d in before if d is not own)
    for diagnostic in after:
        if sound and diagnostic.severity is Severity.WARNING:
            continue  # lints are given for sound models only: this was there all along
        key = _key(diagnostic, name, fix, grown)
        if not known[key]:
            return False
        known[key] -= 1
    return True


def _key(diagnostic: Diagnostic, name: str, fix: Fix, grown: int) -> tuple[str, str, str, int]:
    """A diagnostic by what it says, and by where it stood before a fix made the text longer."""
    start = diagnostic.span.start
    if diagnostic.span.source.name == name and start >= fix.span.stop + grown:
        start -= grown
    return diagnostic.code, diagnostic.message, diagnostic.span.source.name, start


def meaning(graph: Graph) -> object:
    """What a graph computes, without where it is written: two texts of one meaning give equal values."""
    return _plain(replace(graph, doc=None, source="", place_spans={}))


def _plain(value: Any) -> Any:
    """A part of a graph without its places in the text."""
    if isinstance(value, Span):
        return None
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    if is_dataclass(value):
        return [_plain(getattr(value, f.name)) for f in fields(value) if f.name != "doc"]
    return value


def applied(text: str, fixes: Iterable[Fix]) -> str:
    """The text with its remedies, from the end; of two that overlap, the first one."""
    kept: list[Fix] = []
    for fix in sorted(fixes, key=lambda f: (f.span.start, f.span.stop)):
        if not kept or (fix.span.start >= kept[-1].span.stop and fix.span != kept[-1].span):
            kept.append(fix)
    for fix in reversed(kept):
        text = text[: fix.span.start] + fix.text + text[fix.span.stop :]
    return text
