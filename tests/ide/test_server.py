"""The language server, asked by a real client over standard input and output."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

lsp = pytest.importorskip("lsprotocol.types", reason="needs the extra `lsp`")
pytest.importorskip("pygls", reason="needs the extra `lsp`")

from tests.ide.client import Editor, asked  # noqa: E402
from tests.ide.transcript import page, session, settled, typed  # noqa: E402

PAGE = Path(__file__).parents[2] / "docs" / "editors.md"
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
        found = await client.text_document_completion_async(lsp.CompletionParams(**editor.place("linear(1")))
        assert {"bias = true", "init = xavier"} <= {item.detail for item in found}
        with pytest.raises(Exception, match="cannot be read: No such file"):
            await client.text_document_hover_async(
                lsp.HoverParams(
                    lsp.TextDocumentIdentifier((tmp_path / "absent.arec").as_uri()), lsp.Position(0, 0)
                )
            )

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


def test_the_page_has_a_session_as_it_is(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    rows, latency = session(tmp_path), typed(tmp_path)
    record_property("milliseconds", round(latency.median))
    print("\n".join(["", *page(rows, latency)]))
    assert settled(page(rows, latency)) in settled(PAGE.read_text(encoding="utf-8").splitlines()), (
        "docs/editors.md shows another session: `python -m tests.ide.transcript` writes it anew"
    )
