"""An editor that talks to the language server over its standard input and output."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from lsprotocol import types as lsp
from pygls.lsp.client import LanguageClient


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
