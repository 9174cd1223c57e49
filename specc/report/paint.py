"""Colours of diagnostics, or none: the only place that knows a terminal's codes."""

from __future__ import annotations

from specc.frozen import dataclass

_RED, _YELLOW, _BLUE, _CYAN, _BOLD = "1;31", "1;33", "1;34", "1;36", "1"


@dataclass(frozen=True)
class Paint:
    """`colour` switches all of it; `severe` is whether primary marks are errors'."""

    colour: bool
    severe: bool = True

    def frame(self, text: str) -> str:
        return self._with(_BLUE, text)

    def mark(self, text: str, primary: bool) -> str:
        if not primary:
            return self._with(_CYAN, text)
        return self._with(_RED if self.severe else _YELLOW, text)

    def title(self, text: str) -> str:
        return self._with(_BOLD, text)

    def word(self, text: str) -> str:
        return self._with(_CYAN, text)

    def _with(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and text else text
