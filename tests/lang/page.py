"""The examples of a page: what stands in them, what is said of them, and how each is read.

An example that begins with `model` or `library` (or `edition`) is a whole file, saved beside the others under
its name. Any other one is statements, which stand in the page's frame: the declarations of `model frame` that
it does not restate, and where it predicts nothing else, the frame's prediction. What it binds and does not
use is predicted as well, so that it is computed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "language.md"
_FENCE = re.compile(r"^```arec(?P<info>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"#(?! allow)[^#\n]*?\b(?P<code>[EW]\d{4})\b")
_TYPE = re.compile(r"^\s*(?:(?:next|learned)\s+)?(?P<name>\w+)[^#\n]*# (?P<type>\[[^\]\n]*\]|static)")
_DECLARED = re.compile(r"(?:table|space|predict)\s+(\w+)")


@dataclass(frozen=True)
class Example:
    """`line` is that of its first line on the page."""

    text: str
    line: int

    @property
    def name(self) -> str:
        """The name of a whole file, else ""."""
        found = re.search(r"^(?:model|library) (\w+)$", self.text, re.MULTILINE)
        return found[1] if found else ""

    @property
    def is_library(self) -> bool:
        return re.search(r"^library ", self.text, re.MULTILINE) is not None

    @property
    def codes(self) -> set[tuple[int, str]]:
        """What is reported, with the line in the example, from 1."""
        return {
            (number, found["code"])
            for number, line in enumerate(self.text.splitlines(), 1)
            if (found := _CODE.search(line))
        }

    @property
    def is_faulty(self) -> bool:
        return any(code.startswith("E") for _, code in self.codes)

    @property
    def types(self) -> dict[tuple[str, int], str]:
        """The stated types, by name and line."""
        return {
            (found["name"], number): found["type"]
            for number, line in enumerate(self.text.splitlines(), 1)
            if (found := _TYPE.match(line))
        }

    @property
    def sound(self) -> Example:
        """The same without the lines that are faulty."""
        lines = self.text.splitlines()
        for number, code in self.codes:
            if code.startswith("E"):
                lines[number - 1] = ""
        return Example("\n".join(lines) + "\n", self.line)

    def file(self, frame: Example) -> tuple[str, int]:
        """The text of a file to check, and how many of its lines stand before the example."""
        if self.name:
            return self.text, 0
        own = set(_DECLARED.findall(self.text))
        predicts = re.search(r"^predict ", self.text, re.MULTILINE) is not None
        kept: list[str] = []
        for line in frame.text.splitlines()[1:]:
            found = _DECLARED.match(line)
            if found is None or not (found[1] in own or (predicts and line.startswith("predict"))):
                kept.append(line)
        return "\n".join(["model example", self.text, *kept, *self._outputs()]) + "\n", 1

    def _outputs(self) -> list[str]:
        """A prediction of everything with a stated type that nothing else in the example uses."""
        outputs: list[str] = []
        for (name, number), type_ in self.types.items():
            line = self.text.splitlines()[number - 1]
            mentions = len(re.findall(rf"\b{name}\b", re.sub("#.*", "", self.text)))
            if line.startswith(" ") or type_ == "static" or (mentions > 1 and not line.startswith("learned")):
                continue
            *axes, _ = type_[1:-1].split(", ")
            overs = "".join(f" |> sum(over {axis})" for axis in reversed(axes))
            outputs.append(f"predict shown_{name}: real = {name} |> sum{overs}")
        return outputs


def examples() -> list[Example]:
    page = PAGE.read_text(encoding="utf-8")
    return [Example(found["text"], page.count("\n", 0, found.start()) + 2) for found in _FENCE.finditer(page)]
