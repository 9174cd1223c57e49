"""`python -m tests.ide.transcript`: a short editing session, and how long the language server takes for each
answer, for docs/editors.md.

Promises: all is asked of `specc lsp` through standard input and output, as an editor does; times are of a
clock on the wall, from the question to its answer.
"""

from __future__ import annotations

import re
import statistics
import tempfile
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lsprotocol import types as lsp

from tests.ide.client import Editor, asked

REPO = Path(__file__).parents[2]
PAGE = REPO / "docs" / "editors.md"
BLOCK = re.compile(r"(<!-- session -->\n).*?(<!-- end -->)", re.DOTALL)
KEYSTROKES = 20
T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """What an editor does, what the server answers, and after how many milliseconds."""

    does: str
    answer: str
    took: float


@dataclass(frozen=True)
class Latency:
    """From a keystroke to its faults, in milliseconds: the median of KEYSTROKES. lines: of the spec."""

    spec: str
    lines: int
    median: float


async def timed(answer: Awaitable[T]) -> tuple[T, float]:
    begin = time.perf_counter()
    return await answer, 1e3 * (time.perf_counter() - begin)


def session(folder: Path) -> list[Row]:
    """Edit the shipped DIN in a folder, and return what was said."""
    text = (REPO / "specs" / "din.arec").read_text(encoding="utf-8")
    path = folder / "din.arec"
    path.write_text(text, encoding="utf-8")
    rows: list[Row] = []

    async def ask(editor: Editor) -> None:
        async def row(does: str, answer: Awaitable[T]) -> T:
            found, took = await timed(answer)
            rows.append(Row(does, _said(editor, found), took))
            return found

        client, at = editor.client, editor.place
        await row("opens `din.arec`", editor.open())
        faults = await row("types `interst(ad, history)`", editor.change("interest(ad,", "interst(ad,"))
        document = lsp.TextDocumentIdentifier(editor.uri)
        await row(
            "asks what mends it",
            client.text_document_code_action_async(
                lsp.CodeActionParams(document, faults[0].range, lsp.CodeActionContext(faults))
            ),
        )
        await row("types `interest` again", editor.change("interst(ad,", "interest(ad,"))
        await row(
            "points at `interest`",
            client.text_document_hover_async(lsp.HoverParams(**at("user, ad, interest", "interest"))),
        )
        await row(
            "points at `joined`",
            client.text_document_hover_async(lsp.HoverParams(**at("= joined |>", "joined"))),
        )
        await row(
            "goes to where `items` is declared",
            client.text_document_definition_async(lsp.DefinitionParams(**at("item: items", "items"))),
        )
        await row(
            "renames `key` to `clicked`",
            client.text_document_rename_async(
                lsp.RenameParams(**at("query[d], key", "key"), new_name="clicked")
            ),
        )
        await row(
            "completes after `sum(weight * key, over `",
            client.text_document_completion_async(lsp.CompletionParams(**at("sum(weight * key, over "))),
        )

    asked(ask, path, text)
    return rows


def typed(folder: Path) -> Latency:
    """Type into the largest shipped spec."""
    shipped = [path for path in (REPO / "specs").rglob("*.arec") if "std" not in path.parts]
    largest = max(shipped, key=lambda path: len(path.read_text(encoding="utf-8")))
    text = largest.read_text(encoding="utf-8")
    took: list[float] = []

    async def ask(editor: Editor) -> None:
        await editor.open()
        for number in range(KEYSTROKES):
            before, after = ("# x", "# xy") if number % 2 else ("# xy", "# x")
            took.append((await timed(editor.change(before, after)))[1])

    asked(ask, folder / largest.name, text + "# xy\n")
    return Latency(largest.relative_to(REPO).as_posix(), text.count("\n"), statistics.median(took))


def _said(editor: Editor, answer: Any) -> str:
    """An answer of the server in a few words."""
    match answer:
        case []:
            return "no fault"
        case [lsp.Diagnostic(), *_]:
            return "; ".join(
                f"{d.code} at `{editor.under(d.range)}`: {', '.join(d.message.splitlines())}" for d in answer
            )
        case [lsp.CodeAction(), *_]:
            return ", ".join(f"“{action.title}”" for action in answer)
        case [lsp.CompletionItem(), *_]:
            return ", ".join(f"`{item.label}`" for item in answer)
        case lsp.Hover():
            code, text = re.fullmatch(
                r"```arec\n(.*?)\n```\n*(.*)", answer.contents.value, re.DOTALL
            ).groups()
            return f"`{code}`, " + "; ".join(filter(None, text.split("\n")))
        case lsp.Location():
            return f"{Path(answer.uri).name}, line {answer.range.start.line + 1}"
        case lsp.WorkspaceEdit():
            lines = [edit.range.start.line + 1 for edit in answer.changes[editor.uri]]
            return f"{len(lines)} places, in lines {', '.join(map(str, sorted({*lines})))}"
    raise AssertionError(answer)


def page(rows: Sequence[Row], latency: Latency) -> list[str]:
    """The session as Markdown."""
    return [
        "| an editor | the server answers | ms |",
        "|---|---|---|",
        *(f"| {row.does} | {row.answer.replace('|', chr(92) + '|')} | {row.took:.0f} |" for row in rows),
        "",
        f"In the largest shipped spec, `{latency.spec}` with its {latency.lines} lines, there are "
        f"{latency.median:.0f} ms from a keystroke to its faults, the median of {KEYSTROKES}.",
    ]


def settled(lines: Sequence[str]) -> str:
    """Lines without how long anything took."""
    return re.sub(r"\| \d+ \|$|\d+ ms from", "", "\n".join(lines), flags=re.MULTILINE)


def main() -> None:
    """Write the session into docs/editors.md."""
    with tempfile.TemporaryDirectory() as name:
        found = "\n".join(page(session(Path(name)), typed(Path(name))))
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(BLOCK.sub(lambda m: f"{m[1]}{found}\n{m[2]}", text), encoding="utf-8")
    print(found)


if __name__ == "__main__":
    main()
