"""What is wrong, as data. Prose about a code lives in `codes.py`, drawing in the renderers.

Promises: a `Report` keeps every fault once, in source order, and never raises; warnings that the spec
allows in place (`allow`) are as if never given.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field, replace
from enum import Enum

from specc.frozen import dataclass
from specc.report.allow import Allowance, allowance
from specc.source import Span


class Severity(Enum):
    """Errors keep a spec from being compiled; warnings do not."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Label:
    """A second place that helps, such as "`key` is declared here"."""

    span: Span
    text: str


@dataclass(frozen=True)
class Fix:
    """A replacement that is certain enough for `specc check --fix`: `span` becomes `text`."""

    span: Span
    text: str
    title: str


@dataclass(frozen=True)
class Diagnostic:
    """One fault or lint.

    `message` says what is wrong in one line; `label` is printed beside the underline;
    `expected` and `found` are in the language's terms (`[t, 128]`); `why` explains the
    rule; `help` says what to do. `others` are remedies that would read as well as `fix`: it is offered
    only if all of them that hold mean the same.
    """

    code: str
    severity: Severity
    message: str
    span: Span
    label: str = ""
    expected: str = ""
    found: str = ""
    why: str = ""
    help: str = ""
    secondary: tuple[Label, ...] = ()
    fix: Fix | None = None
    others: tuple[Fix, ...] = ()


@dataclass
class Report:
    """Collects diagnostics; stages write to it and the driver stops at stage ends.

    `variants` is how many variants of the spec were looked at, by `check` only.
    """

    variants: int = 1
    _items: dict[tuple[str, str, int, int, str], Diagnostic] = field(default_factory=dict)
    _allowances: dict[tuple[str, int], Allowance] = field(default_factory=dict)
    _lost: dict[str, list[Span]] = field(default_factory=dict)
    _unread: set[tuple[str, int, int]] = field(default_factory=set)

    def error(
        self,
        code: str,
        message: str,
        span: Span,
        *,
        label: str = "",
        expected: str = "",
        found: str = "",
        why: str = "",
        help: str = "",
        secondary: tuple[Label, ...] = (),
        fix: Fix | None = None,
        others: tuple[Fix, ...] = (),
    ) -> None:
        """Record an error. The same code at the same place is kept once (the first)."""
        self.add(Diagnostic(code, Severity.ERROR, message, span, label, expected, found, why, help, secondary,
                            fix, others))  # fmt: skip

    def warning(
        self,
        code: str,
        message: str,
        span: Span,
        *,
        label: str = "",
        why: str = "",
        help: str = "",
        secondary: tuple[Label, ...] = (),
        fix: Fix | None = None,
    ) -> None:
        """Record a lint, unless the spec allows it in place with `# allow W0703`."""
        self.add(Diagnostic(code, Severity.WARNING, message, span, label, "", "", why, help, secondary, fix))

    def add(self, diagnostic: Diagnostic) -> None:
        """Record a diagnostic, unless one of its code is recorded of the same place of a text."""
        span = diagnostic.span
        elsewhere = "" if span.source.text else diagnostic.message  # of options: these have no places
        key = (diagnostic.code, span.source.name, span.start, span.stop, elsewhere)
        self._items.setdefault(key, diagnostic)
        if diagnostic.code in ("E0101", "E0103", "E0104"):
            self._unread.add((span.source.name, span.start, span.stop))

    def lose(self, names: Iterable[str], place: Span | None = None) -> None:
        """Names whose declarations could not be read: that they are unknown is no further fault.

        place: the statement that they were lost with.
        """
        for name in names:
            self._lost.setdefault(name, []).extend([place] if place is not None else [])

    def lost(self, name: str, within: Span | None = None) -> bool:
        """Return whether a declaration of a name could not be read, anywhere or within
        a range of the text."""
        if within is None:
            return name in self._lost
        return any(
            place.source is within.source and within.start <= place.start < within.stop
            for place in self._lost.get(name, ())
        )

    def unread(self, span: Span) -> bool:
        """Return whether a sign or text at this very place has been reported already: what it means is not
        known."""
        return (span.source.name, span.start, span.stop) in self._unread

    def sibling(self) -> Report:
        """Return an empty report of the same texts: it knows what was lost and what is allowed."""
        return Report(_allowances=self._allowances, _lost=self._lost, _unread=self._unread)

    def settle(self, fixes: Mapping[int, Fix | None]) -> None:
        """Give diagnostics, by identity, the fix that has been tried, or none; nothing stays to be tried."""
        for key, item in self._items.items():
            if id(item) in fixes:
                fix = fixes[id(item)]
                another = fix is not None and item.fix is not None and fix.title != item.fix.title
                help = fix.title if fix is not None and another else item.help
                self._items[key] = replace(item, fix=fix, others=(), help=help)

    def comment(self, span: Span, lines: range) -> None:
        """Take notice of a comment of a spec: it may allow warnings, in the lines it stands beside."""
        found = allowance(span, lines)
        if found is not None:
            self._allowances[span.source.name, span.start] = found

    def judge_allowances(self, file: str, unjudged: frozenset[str] = frozenset()) -> None:
        """Warn of what a file allows for no reason (W0710). Call it when its lints have been given.

        unjudged: codes of lints that were not looked for.
        """
        from specc.report.codes import CODES

        given = {(d.code, d.span.source.name, d.span.line) for d in self._items.values()}
        for allowed in [a for a in self._allowances.values() if a.file == file]:
            for code, span in allowed.codes:
                if code not in CODES:
                    self.warning("W0710", f"there is no warning {code} to allow", span,
                                 help="`specc explain` lists them all")  # fmt: skip
                elif code.startswith("E"):
                    self.warning("W0710", f"{code} is an error, which cannot be allowed", span,
                                 help="mend what it reports, and remove this")  # fmt: skip
                elif code not in unjudged and not any(
                    (code, allowed.file, line) in given for line in allowed.lines
                ):
                    self.warning("W0710", f"nothing here gives {code}", span, label="silences nothing",
                                 why="a comment like this is for its own line and for the line below",
                                 help="remove it, or move it to the line of the warning")  # fmt: skip

    def _silenced(self, diagnostic: Diagnostic) -> bool:
        if diagnostic.severity is Severity.ERROR or not self._allowances:
            return False
        span = diagnostic.span
        return any(
            allowed.file == span.source.name
            and span.line in allowed.lines
            and any(code == diagnostic.code for code, _ in allowed.codes)
            for allowed in self._allowances.values()
        )

    @property
    def has_errors(self) -> bool:
        """Whether one of the diagnostics is an error."""
        return any(item.severity is Severity.ERROR for item in self._items.values())

    def __iter__(self) -> Iterator[Diagnostic]:
        seen = (d for d in self._items.values() if not self._silenced(d))
        return iter(sorted(seen, key=lambda d: (d.span.source.name, d.span.start, d.code)))

    def __len__(self) -> int:
        return sum(not self._silenced(d) for d in self._items.values())
