"""The language server: what `specc.ide` answers, in the Language Server Protocol over stdin and stdout.

Promises: a text is analysed once a change; faults are published as they are found; positions are in UTF-16
units; a request about a broken text is answered from the last text that could be read. Listens to nothing but
its standard input.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from lsprotocol import types as lsp
from pygls.lsp.server import LanguageServer

from specc.driver import normal
from specc.frozen import dataclass
from specc.ide import answers, calls, tokens
from specc.ide.analysis import Analysis, analyse
from specc.ide.completion import completions
from specc.ide.positions import Positions
from specc.report import Diagnostic, Fix, Severity
from specc.source import Source, Span
from specc.syntax.print import Unreadable, format_source
from specc.version import __version__

EXPLAIN, PICTURE = "arec.explain", "arec.picture"
_SYNTAX = ("E01",)
_COMPLETED = {
    "param": lsp.CompletionItemKind.Constant,
    "static": lsp.CompletionItemKind.Constant,
    "field": lsp.CompletionItemKind.Field,
    "axis": lsp.CompletionItemKind.TypeParameter,
    "table": lsp.CompletionItemKind.Struct,
    "space": lsp.CompletionItemKind.Struct,
    "keyword": lsp.CompletionItemKind.Keyword,
    "option": lsp.CompletionItemKind.Property,
    "value": lsp.CompletionItemKind.EnumMember,
    "built-in": lsp.CompletionItemKind.Function,
    "encoding": lsp.CompletionItemKind.Function,
    "block": lsp.CompletionItemKind.Function,
    "encoder": lsp.CompletionItemKind.Function,
    "attention": lsp.CompletionItemKind.Function,
    "layer": lsp.CompletionItemKind.Function,
    "library": lsp.CompletionItemKind.Module,
}
_OUTLINED = {
    "param": lsp.SymbolKind.Constant,
    "field": lsp.SymbolKind.Field,
    "table": lsp.SymbolKind.Struct,
    "space": lsp.SymbolKind.Struct,
    "block": lsp.SymbolKind.Function,
    "encoder": lsp.SymbolKind.Function,
    "attention": lsp.SymbolKind.Function,
    "layer": lsp.SymbolKind.Function,
    "prediction": lsp.SymbolKind.Event,
    "output": lsp.SymbolKind.Event,
    "loss": lsp.SymbolKind.Event,
    "device": lsp.SymbolKind.Object,
    "train": lsp.SymbolKind.Object,
}


@dataclass
class _Text:
    """An open text: its analysis, and the last one without syntax faults."""

    now: Analysis
    sound: Analysis


def path_of(uri: str) -> Path:
    """Return the file of a `file:` address; for any other, a name in the current folder."""
    parts = urlsplit(uri)
    if parts.scheme != "file":
        return Path(Path(unquote(parts.path)).name or "untitled.arec")
    path = unquote(parts.path)
    return Path(path[1:] if os.name == "nt" else path)


def uri_of(path: str) -> str:
    """Return the `file:` address of a file."""
    return "file://" + quote(str(Path(path).resolve()))


class Server(LanguageServer):
    """Open texts by address."""

    def __init__(self) -> None:
        super().__init__("specc", __version__, text_document_sync_kind=lsp.TextDocumentSyncKind.Incremental)
        self.texts: dict[str, _Text] = {}

    def read(self, uri: str) -> None:
        """Analyse a text as it is now, and publish its faults."""
        document = self.workspace.get_text_document(uri)
        now = analyse(normal(document.source), path_of(uri))
        before = self.texts.get(uri)
        broken = now.program is None or any(d.code.startswith(_SYNTAX) for d in now.faults)
        self.texts[uri] = _Text(now, before.sound if broken and before is not None else now)
        places = Positions(now.source.text)
        self.text_document_publish_diagnostics(
            lsp.PublishDiagnosticsParams(
                uri, [_diagnostic(d, places) for d in now.faults], version=document.version
            )
        )

    def text(self, uri: str) -> _Text:
        """Return a text's analysis; one that was never opened is read from its file. Refuses one that cannot
        be read."""
        if uri not in self.texts:
            try:
                self.read(uri)
            except (OSError, ValueError) as error:
                why = getattr(error, "strerror", None) or error
                raise _refused(f"{path_of(uri)} cannot be read: {why}") from None
        return self.texts[uri]

    def around(self, uri: str) -> list[Analysis]:
        """Return the text, the other open ones, and those of the files beside it."""
        found = {str(path_of(uri)): self.text(uri).now}
        for other, text in self.texts.items():
            found.setdefault(str(path_of(other)), text.now)
        for path in sorted(path_of(uri).parent.glob("*.arec")):
            if str(path) not in found:
                try:
                    found[str(path)] = analyse(normal(path.read_text(encoding="utf-8-sig")), path)
                except (OSError, UnicodeDecodeError):
                    continue
        return list(found.values())


def _range(span: Span, places: Positions | None = None) -> lsp.Range:
    places = Positions(span.source.text) if places is None else places
    return lsp.Range(lsp.Position(*places.of(span.start)), lsp.Position(*places.of(span.stop)))


def _location(span: Span) -> lsp.Location:
    return lsp.Location(uri_of(span.source.name), _range(span))


def _diagnostic(d: Diagnostic, places: Positions) -> lsp.Diagnostic:
    lines = [d.message]
    lines += [f"{word}: {text}" for word, text in (("expected", d.expected), ("found", d.found)) if text]
    lines += [text for text in (d.why, d.help) if text]
    return lsp.Diagnostic(
        _range(d.span, places),
        "\n".join(lines),
        lsp.DiagnosticSeverity.Error if d.severity is Severity.ERROR else lsp.DiagnosticSeverity.Warning,
        d.code,
        source="specc",
        related_information=[
            lsp.DiagnosticRelatedInformation(_location(label.span), label.text or "here")
            for label in d.secondary
        ],
    )


def server() -> Server:
    """Return a server with everything that it answers."""
    made = Server()

    @made.feature(lsp.TEXT_DOCUMENT_DID_OPEN)
    def opened(ls: Server, params: lsp.DidOpenTextDocumentParams) -> None:
        ls.read(params.text_document.uri)

    @made.feature(lsp.TEXT_DOCUMENT_DID_CHANGE)
    def changed(ls: Server, params: lsp.DidChangeTextDocumentParams) -> None:
        ls.read(params.text_document.uri)

    @made.feature(lsp.TEXT_DOCUMENT_DID_SAVE)
    def saved(ls: Server, params: lsp.DidSaveTextDocumentParams) -> None:
        for uri in list(ls.texts):  # others may use what was saved
            ls.read(uri)

    @made.feature(lsp.TEXT_DOCUMENT_DID_CLOSE)
    def closed(ls: Server, params: lsp.DidCloseTextDocumentParams) -> None:
        ls.texts.pop(params.text_document.uri, None)
        ls.text_document_publish_diagnostics(lsp.PublishDiagnosticsParams(params.text_document.uri, []))

    @made.feature(lsp.TEXT_DOCUMENT_HOVER)
    def hover(ls: Server, params: lsp.HoverParams) -> lsp.Hover | None:
        text, offset = _place(ls, params)
        found = answers.hover(text.now, offset)
        if found is None or not found.text:
            return None
        return lsp.Hover(lsp.MarkupContent(lsp.MarkupKind.Markdown, found.text), _range(found.span))

    @made.feature(lsp.TEXT_DOCUMENT_DEFINITION)
    def definition(ls: Server, params: lsp.DefinitionParams) -> lsp.Location | None:
        text, offset = _place(ls, params)
        found = answers.definition(text.now, offset)
        return None if found is None else _location(found)

    @made.feature(lsp.TEXT_DOCUMENT_REFERENCES)
    def references(ls: Server, params: lsp.ReferenceParams) -> list[lsp.Location]:
        text, offset = _place(ls, params)
        found = text.now.names.at(offset)
        if found is None:
            return []
        spans = answers.references(ls.around(params.text_document.uri), found.of)
        if not params.context.include_declaration:
            spans = [s for s in spans if (s.source.name, s.start) != found.of.key]
        return [_location(span) for span in spans]

    @made.feature(lsp.TEXT_DOCUMENT_DOCUMENT_HIGHLIGHT)
    def highlight(ls: Server, params: lsp.DocumentHighlightParams) -> list[lsp.DocumentHighlight]:
        text, offset = _place(ls, params)
        found = text.now.names.at(offset)
        places = Positions(text.now.source.text)
        spans = [] if found is None else text.now.names.of(found.of)
        return [lsp.DocumentHighlight(_range(span, places)) for span in spans]

    @made.feature(lsp.TEXT_DOCUMENT_PREPARE_RENAME)
    def prepare(ls: Server, params: lsp.PrepareRenameParams) -> lsp.Range | None:
        text, offset = _place(ls, params)
        found = text.now.names.at(offset)
        return None if found is None else _range(found.span)

    @made.feature(lsp.TEXT_DOCUMENT_RENAME)
    def rename(ls: Server, params: lsp.RenameParams) -> lsp.WorkspaceEdit:
        text, offset = _place(ls, params)
        among = ls.around(params.text_document.uri)
        own = [analysis.source.name for analysis in among]
        try:
            spans = answers.renamed(text.now, among, offset, params.new_name, own)
        except ValueError as why:
            raise _refused(str(why)) from None
        return lsp.WorkspaceEdit(_edits(Fix(span, params.new_name, "") for span in spans))

    @made.feature(
        lsp.TEXT_DOCUMENT_COMPLETION,
        lsp.CompletionOptions(trigger_characters=[".", "(", ",", " ", "="]),
    )
    def complete(ls: Server, params: lsp.CompletionParams) -> list[lsp.CompletionItem]:
        text, offset = _place(ls, params)
        return [
            lsp.CompletionItem(
                found.label,
                kind=_COMPLETED.get(found.kind, lsp.CompletionItemKind.Variable),
                detail=found.detail or None,
                documentation=lsp.MarkupContent(lsp.MarkupKind.Markdown, found.doc) if found.doc else None,
                insert_text=found.insert or None,
                sort_text=f"{number:04d}",
            )
            for number, found in enumerate(completions(text.now, text.sound, offset))
        ]

    @made.feature(
        lsp.TEXT_DOCUMENT_SIGNATURE_HELP, lsp.SignatureHelpOptions(trigger_characters=["(", ",", ";"])
    )
    def signature(ls: Server, params: lsp.SignatureHelpParams) -> lsp.SignatureHelp | None:
        text, offset = _place(ls, params)
        inside = calls.call_at(text.now.source, offset)
        found = None if inside is None else calls.callable_of(inside.name, text.sound.program)
        if found is None or inside is None:
            return None
        parts = found.parts
        active = min(inside.argument + inside.piped, max(len(parts) - 1, 0))
        told = lsp.SignatureInformation(
            found.usage,
            lsp.MarkupContent(lsp.MarkupKind.Markdown, found.doc),
            [lsp.ParameterInformation(part) for part in parts],
            active,
        )
        return lsp.SignatureHelp([told], 0, active)

    @made.feature(lsp.TEXT_DOCUMENT_DOCUMENT_SYMBOL)
    def outline(ls: Server, params: lsp.DocumentSymbolParams) -> list[lsp.DocumentSymbol]:
        text = ls.text(params.text_document.uri)
        places = Positions(text.now.source.text)
        return [_symbol(s, places) for s in answers.symbols(text.now)]

    @made.feature(lsp.TEXT_DOCUMENT_FOLDING_RANGE)
    def fold(ls: Server, params: lsp.FoldingRangeParams) -> list[lsp.FoldingRange]:
        text = ls.text(params.text_document.uri)
        kinds = {True: lsp.FoldingRangeKind.Comment, False: lsp.FoldingRangeKind.Region}
        found = answers.folds(text.now)
        return [lsp.FoldingRange(first - 1, last - 1, kind=kinds[remark]) for first, last, remark in found]

    @made.feature(lsp.TEXT_DOCUMENT_INLAY_HINT)
    def inlay(ls: Server, params: lsp.InlayHintParams) -> list[lsp.InlayHint]:
        text = ls.text(params.text_document.uri)
        places = Positions(text.now.source.text)
        found = [(lsp.Position(*places.of(offset)), label) for offset, label in answers.hints(text.now)]
        shown = params.range
        return [
            lsp.InlayHint(place, label, lsp.InlayHintKind.Type)
            for place, label in found
            if shown.start.line <= place.line <= shown.end.line
        ]

    @made.feature(
        lsp.TEXT_DOCUMENT_SEMANTIC_TOKENS_FULL,
        lsp.SemanticTokensLegend(list(tokens.TYPES), list(tokens.MODIFIERS)),
    )
    def colours(ls: Server, params: lsp.SemanticTokensParams) -> lsp.SemanticTokens:
        text = ls.text(params.text_document.uri)
        return lsp.SemanticTokens(list(_encoded(tokens.colours(text.now), Positions(text.now.source.text))))

    @made.feature(lsp.TEXT_DOCUMENT_FORMATTING)
    def form(ls: Server, params: lsp.DocumentFormattingParams) -> list[lsp.TextEdit]:
        source = ls.text(params.text_document.uri).now.source
        try:
            after = format_source(Source(source.name, source.text))
        except Unreadable:
            return []  # its faults are published
        whole = Span(source, 0, len(source.text))
        return [] if after == source.text else [lsp.TextEdit(_range(whole), after)]

    @made.feature(
        lsp.TEXT_DOCUMENT_CODE_ACTION,
        lsp.CodeActionOptions([lsp.CodeActionKind.QuickFix], resolve_provider=False),
    )
    def actions(ls: Server, params: lsp.CodeActionParams) -> list[lsp.CodeAction | lsp.Command]:
        text = ls.text(params.text_document.uri)
        places = Positions(text.now.source.text)
        first = places.offset(params.range.start.line, params.range.start.character)
        last = places.offset(params.range.end.line, params.range.end.character)
        return [
            action
            for d in text.now.faults
            if d.span.start <= last and first <= d.span.stop
            for action in _actions(d, places)
        ]

    @made.command(EXPLAIN)
    def explain(ls: Server, code: str) -> str:
        return answers.explained(code)

    @made.command(PICTURE)
    def picture(ls: Server, uri: str) -> str:
        return answers.picture(ls.text(uri).now)

    return made


def _actions(d: Diagnostic, places: Positions) -> Iterator[lsp.CodeAction | lsp.Command]:
    """An edit for each remedy of a fault, and a command that gives its page."""
    for number, fix in enumerate(f for f in (d.fix, *d.others) if f is not None):
        yield lsp.CodeAction(
            fix.title,
            lsp.CodeActionKind.QuickFix,
            [_diagnostic(d, places)],
            is_preferred=number == 0 and fix is d.fix,
            edit=lsp.WorkspaceEdit(_edits([fix])),
        )
    yield lsp.Command(f"Explain {d.code}", EXPLAIN, arguments=[d.code])


def _edits(fixes: Iterable[Fix]) -> dict[str, list[lsp.TextEdit]]:
    found: dict[str, list[lsp.TextEdit]] = {}
    for fix in fixes:
        found.setdefault(uri_of(fix.span.source.name), []).append(lsp.TextEdit(_range(fix.span), fix.text))
    return found


def _place(ls: Server, params: Any) -> tuple[_Text, int]:
    text = ls.text(params.text_document.uri)
    places = Positions(text.now.source.text)
    return text, places.offset(params.position.line, params.position.character)


def _symbol(symbol: answers.Symbol, places: Positions) -> lsp.DocumentSymbol:
    return lsp.DocumentSymbol(
        symbol.name,
        _OUTLINED.get(symbol.kind, lsp.SymbolKind.Variable),
        _range(symbol.span, places),
        _range(symbol.name_span, places),
        detail=symbol.detail or None,
        children=[_symbol(inner, places) for inner in symbol.inside],
    )


def _encoded(found: Iterable[tokens.Colour], places: Positions) -> Iterator[int]:
    """Five numbers a token: lines and columns since the one before, its length, its type, its modifiers."""
    before = (0, 0)
    for colour in found:
        line, column = places.of(colour.start)
        _, end = places.of(colour.stop)
        yield line - before[0]
        yield column - before[1] if line == before[0] else column
        yield end - column
        yield tokens.TYPES.index(colour.type)
        yield sum(1 << tokens.MODIFIERS.index(m) for m in colour.modifiers)
        before = (line, column)


def _refused(why: str) -> Exception:
    from pygls.exceptions import JsonRpcInvalidParams

    return JsonRpcInvalidParams(why)
