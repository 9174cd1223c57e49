"""What is wrong, as data. Prose about a code lives in `codes.py`, drawing in the renderers.

Promises: a `Report` keeps every fault once, in source order, and never raises.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from specc.source import Span


class Severity(Enum):
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
    rule; `help` says what to do.
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


@dataclass
class Report:
    """Collects diagnostics; stages write to it and the driver stops at stage ends."""

    _items: dict[tuple[str, str, int, int], Diagnostic] = field(default_factory=dict)

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
    ) -> None:
        """Record an error. The same code at the same place is kept once (the first)."""
        self.add(
            Diagnostic(code, Severity.ERROR, message, span, label, expected, found, why, help, secondary, fix)
        )

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
        """Record a lint. Lints can be silenced in place with `# allow W0401`."""
        self.add(Diagnostic(code, Severity.WARNING, message, span, label, "", "", why, help, secondary, fix))

    def add(self, diagnostic: Diagnostic) -> None:
        span = diagnostic.span
        key = (diagnostic.code, span.source.name, span.start, span.stop)
        self._items.setdefault(key, diagnostic)

    @property
    def has_errors(self) -> bool:
        return any(item.severity is Severity.ERROR for item in self._items.values())

    def __iter__(self) -> Iterator[Diagnostic]:
        return iter(sorted(self._items.values(), key=lambda d: (d.span.source.name, d.span.start, d.code)))

    def __len__(self) -> int:
        return len(self._items)
