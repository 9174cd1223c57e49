"""The language server, asked by a real client over standard input and output."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

lsp = pytest.importorskip("lsprotocol.types", reason="needs the extra `lsp`")
pytest.importorskip("pygls", reason="needs the extra `lsp`")

from pygls.lsp.client import LanguageClient  # noqa: E402

SPECS = Path(__file__).parents[2] / "specs"
SMALL = """\
model small

param dim = 8 in {8, 16}
table items = vocab(1_000, dim)

space ad from candidate { item: items }
space seen[t <= 20] from request { item: items }

# Attention, 🙂 of a kind
attention unit(query[d], key[t, d]) -> [d] {
  weight = softmax(dot(query, key), over t)
  return sum(weight * key, over t)
}

pooled = unit(ad, seen |> transformer(heads = 2, over t))
joined = concat(pooled, ad)

predict click: binary = joined |> mlp([16]) |> linear(1)
"""


class Editor:
    """One open text in an editor that talks to the server."""

    def __init__(self, client: LanguageClient, path: Path, text: str) -> None:
        self.client, self.path, self.text, self.version = client, path, text, 1
        self.uri = path.as_uri()
        self.faults: asyncio.Queue[Any] = asyncio.Queue()

        @client.feature(lsp.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
        def told(params: Any) -> None:
            self.faults.put_nowait(params)

    async def open(self) -> list[Any]:
        document = lsp.TextDocumentItem(self.uri, "arec", self.version, self.text)
        self.client.text_document_did_open(lsp.DidOpenTextDocumentParams(document))
        return await self.published()

    async def published(self) -> list[Any]:
        while True:
            found = await asyncio.wait_for(self.faults.get(), 20)
            if found.uri == self.uri and found.version == self.version:
                return list(found.diagnostics)

    async def change(self, old: str, new: str) -> list[Any]:
        """Replace the first `old` by `new`, as typing does: a change of a range."""
        start = self.text.index(old)
        change = lsp.TextDocumentContentChangePartial(
            text=new, range=lsp.Range(self.at(start), self.at(start + len(old)))
        )
        self.text = self.text.replace(old, new, 1)
        self.version += 1
        whole = lsp.VersionedTextDocumentIdentifier(uri=self.uri, version=self.version)
        self.client.text_document_did_change(lsp.DidChangeTextDocumentParams(whole, [change]))
        return await self.published()

    def at(self, offset: int) -> Any:
        line = self.text.count("\n", 0, offset)
        column = self.text[self.text.rfind("\n", 0, offset) + 1 : offset]
        return lsp.Position(line, len(column.encode("utf-16-le")) // 2)

    def place(self, context: str, word: str = "") -> dict[str, Any]:
        """The place of a word within the first text like `context`."""
        offset = self.text.index(context) + (context.index(word) if word else len(context))
        return {"text_document": lsp.TextDocumentIdentifier(self.uri), "position": self.at(offset)}

    def under(self, found: Any) -> str:
        """The text of a range."""
        lines = self.text.split("\n")
        assert found.start.line == found.end.line
        units = lines[found.start.line].encode("utf-16-le")
        return units[2 * found.start.character : 2 * found.end.character].decode("utf-16-le")


def asked(ask: Callable[[Editor], Awaitable[None]], path: Path, text: str) -> None:
    """Start a server, open a text, and ask."""

    async def run() -> None:
        client = LanguageClient("test", "1")
        await client.start_io(sys.executable, "-m", "specc", "lsp")
        editor = Editor(client, path, text)
        await client.initialize_async(
            lsp.InitializeParams(capabilities=lsp.ClientCapabilities(), root_uri=path.parent.as_uri())
        )
        client.initialized(lsp.InitializedParams())
        try:
            await ask(editor)
        finally:
            await client.shutdown_async(None)
            client.exit(None)
            await client.stop()

    asyncio.run(run())


def test_an_editing_session(tmp_path: Path) -> None:
    path = tmp_path / "small.arec"
    path.write_text(SMALL, encoding="utf-8")

    async def ask(editor: Editor) -> None:
        client = editor.client
        assert await editor.open() == []

        # A fault appears as it is typed, with its remedy, and goes again.
        faults = await editor.change("concat(pooled", "concat(poled")
        assert [(d.code, editor.under(d.range)) for d in faults] == [("E0201", "poled")]
        actions = await client.text_document_code_action_async(
            lsp.CodeActionParams(
                lsp.TextDocumentIdentifier(editor.uri), faults[0].range, lsp.CodeActionContext(faults)
            )
        )
        assert [a.title for a in actions] == ["write `pooled`", "Explain E0201"]
        (edit,) = actions[0].edit.changes[editor.uri]
        assert (edit.new_text, editor.under(edit.range)) == ("pooled", "poled")
        page = await client.workspace_execute_command_async(
            lsp.ExecuteCommandParams(actions[1].command, actions[1].arguments)
        )
        assert page.startswith("# E0201")
        assert await editor.change("concat(poled", "concat(pooled") == []

        # The model's picture, whose boxes say on which lines they are.
        svg = await client.workspace_execute_command_async(
            lsp.ExecuteCommandParams("arec.picture", [editor.uri])
        )
        assert "<svg" in svg
        assert f'small.arec:{SMALL[: SMALL.index("joined =")].count(chr(10)) + 1}"' in svg

        # What names are.
        async def hover(context: str, word: str) -> str:
            found = await client.text_document_hover_async(lsp.HoverParams(**editor.place(context, word)))
            return "" if found is None else found.contents.value

        assert "binding pooled: [8]" in await hover("concat(pooled", "pooled")
        assert "attention unit(query[d], key[t, d]) -> [d]" in await hover("= unit(ad", "unit")
        assert "gives `[8]` here" in await hover("= unit(ad", "unit")
        assert "param dim = 8 in {8, 16}" in await hover("vocab(1_000, dim", "dim")
        assert "softmax(x" in await hover("softmax(dot", "softmax")
        assert "at most `20` positions" in await hover("seen[t", "t")

        # Where they are declared: here, and in the standard library.
        there = await client.text_document_definition_async(
            lsp.DefinitionParams(**editor.place("unit(ad, seen", "seen"))
        )
        assert (there.uri, editor.under(there.range)) == (editor.uri, "seen")
        shipped = await client.text_document_definition_async(
            lsp.DefinitionParams(**editor.place("|> transformer", "transformer"))
        )
        assert "/std/" in shipped.uri

        # A new name goes to all of its places and to no other `key`, `t` or `d`.
        changed = await client.text_document_rename_async(
            lsp.RenameParams(**editor.place("query[d], key", "key"), new_name="clicked")
        )
        assert [editor.under(e.range) for e in changed.changes[editor.uri]] == ["key"] * 3
        with pytest.raises(Exception, match="is a binding already"):
            await client.text_document_rename_async(
                lsp.RenameParams(**editor.place("pooled = unit", "pooled"), new_name="joined")
            )

        # What can stand there, also while the text is broken.
        async def offered(context: str) -> list[str]:
            found = await client.text_document_completion_async(lsp.CompletionParams(**editor.place(context)))
            return [item.label for item in found]

        await editor.change("joined = concat(pooled, ad)", "joined = concat(pooled, ad.")
        assert await offered("concat(pooled, ad.") == ["item"]
        await editor.change("concat(pooled, ad.", "concat(pooled, sum(seen, over ")
        assert "t" in await offered("sum(seen, over ")
        await editor.change("concat(pooled, sum(seen, over ", "concat(pooled, ad)")
        assert await offered("predict click: ") == ["binary", "real", "class", "choice"]
        assert await offered("space seen[t <= 20] from ") == ["request", "candidate"]
        assert {"items", "vocab", "hash"} <= {*await offered("from candidate { item: ")}
        assert {"hidden", "act", "dropout"} & {*await offered("mlp([16]")}

        # The signature of the call around.
        help_ = await client.text_document_signature_help_async(
            lsp.SignatureHelpParams(**editor.place("unit(ad, "))
        )
        shown = help_.signatures[0]
        first, last = shown.parameters[help_.active_parameter].label
        assert shown.label[first:last].startswith("key[t, d]")

        hints = await client.text_document_inlay_hint_async(
            lsp.InlayHintParams(
                lsp.TextDocumentIdentifier(editor.uri), lsp.Range(lsp.Position(0, 0), lsp.Position(99, 0))
            )
        )
        assert [h.label for h in hints] == [": [t, 1]", ": [8]", ": [16]"]

        outline = await client.text_document_document_symbol_async(
            lsp.DocumentSymbolParams(lsp.TextDocumentIdentifier(editor.uri))
        )
        assert [s.name for s in outline] == [
            "dim", "items", "ad", "seen", "unit", "pooled", "joined", "click",
        ]  # fmt: skip
        assert [s.name for s in outline[4].children] == ["weight"]

        folds = await client.text_document_folding_range_async(
            lsp.FoldingRangeParams(lsp.TextDocumentIdentifier(editor.uri))
        )
        assert (9, 12) in [(f.start_line, f.end_line) for f in folds]

        # Formatting leaves what is canonical, and changes what is not.
        form = lsp.DocumentFormattingParams(
            lsp.TextDocumentIdentifier(editor.uri), lsp.FormattingOptions(tab_size=2, insert_spaces=True)
        )
        await editor.change("concat(pooled, ad)", "concat( pooled,ad )")
        (edit,) = await client.text_document_formatting_async(form)
        assert "concat(pooled, ad)" in edit.new_text

        colours = await client.text_document_semantic_tokens_full_async(
            lsp.SemanticTokensParams(lsp.TextDocumentIdentifier(editor.uri))
        )
        assert len(colours.data) > 5 * 60

    asked(ask, path, SMALL)


def test_a_keystroke_in_the_largest_spec_is_answered_at_once(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    largest = max(SPECS.rglob("*.arec"), key=lambda p: len(p.read_text()) if "std" not in p.parts else 0)
    path = tmp_path / largest.name
    took: list[float] = []

    async def ask(editor: Editor) -> None:
        await editor.open()
        for number in range(20):
            before, after = ("# x", "# xy") if number % 2 else ("# xy", "# x")
            begin = time.perf_counter()
            await editor.change(before, after)
            took.append(time.perf_counter() - begin)

    asked(ask, path, largest.read_text() + "# xy\n")
    median = statistics.median(took) * 1e3
    record_property("milliseconds", round(median))
    print(f"{largest.name}: {median:.0f} ms from a keystroke to its faults, median of {len(took)}")
    assert took
