"""The tables of the language reference that the code itself can write: built-ins, standard library.

Promises: `updated` puts them between the page's markers and leaves the rest alone; a test says whether the
page is current. Run `python -m specc.reference docs/language.md` to renew it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from specc import resources
from specc.elaborate.builtins.registry import BUILTINS
from specc.elaborate.builtins.signature import Builtin
from specc.ide.calls import of_block
from specc.ops import OPS
from specc.report import Report
from specc.source import Source
from specc.syntax import tree
from specc.syntax.parse import parse

GROUPS = ("arithmetic", "widths", "axes", "reductions", "layers", "losses")


def builtins_table() -> str:
    """Every built-in by group: the call, and what it gives."""
    rows = ["| group | call | gives |", "|---|---|---|"]
    for group in GROUPS:
        named = [b for b in _in_order() if b.group == group]
        rows += [
            f"| {group if index == 0 else ''} | `{b.usage}` | {_cell(b.doc)} |"
            for index, b in enumerate(named)
        ]
    return "\n".join(rows)


def _in_order() -> list[Builtin]:
    """Operations as they are defined, then what is made of them."""
    order = {name: number for number, name in enumerate(n for n, known in OPS.items() if known.call)}
    return sorted(BUILTINS.values(), key=lambda b: order.get(b.name, len(order)))


def library_table() -> str:
    """Every block of the standard library: its signature, and its doc."""
    rows = ["| library | block | gives |", "|---|---|---|"]
    for path in sorted((resources.specs() / "std").glob("*.arec")):
        for index, block in enumerate(_blocks(path)):
            rows.append(f"| {path.stem if index == 0 else ''} | `{_signature(block)}` | {_doc(block)} |")
    return "\n".join(rows)


def _blocks(path: Path) -> Iterator[tree.Block]:
    file = parse(Source(path.name, path.read_text(encoding="utf-8")), Report())
    return (item for item in file.body if isinstance(item, tree.Block))


def _signature(block: tree.Block) -> str:
    return of_block(block).usage.replace("|", "\\|")


def _doc(block: tree.Block) -> str:
    """The block's doc as one line, its links as links."""
    text = _cell((block.doc or "").replace("\n", " "))
    return re.sub(r"(https?://\S+?)(?=[,:.]?(?:\s|$))", r"[paper](\1)", text)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")


def updated(page: str) -> str:
    """The page with both tables as they are now."""
    for name, table in (("built-ins", builtins_table()), ("standard library", library_table())):
        page = re.sub(
            rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- end of {name} -->)",
            lambda found, table=table: f"{found[1]}{table}\n{found[2]}",  # type: ignore[misc]
            page,
            flags=re.DOTALL,
        )
    return page


if __name__ == "__main__":
    for name in sys.argv[1:]:
        place = Path(name)
        place.write_text(updated(place.read_text(encoding="utf-8")), encoding="utf-8")
