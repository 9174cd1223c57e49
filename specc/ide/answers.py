"""What an editor asks of one place in a text, and what it shows of the whole."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path

from specc.elaborate.sharding import SHARDED
from specc.frozen import dataclass
from specc.ide import calls
from specc.ide.analysis import Analysis, analyse
from specc.ide.names import Declared
from specc.ir.graph import Graph, walk
from specc.names.program import Named, kind_of
from specc.report import Severity
from specc.report.codes import CODES
from specc.source import Span
from specc.syntax import tree
from specc.syntax.print import print_statement

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ON = re.compile(r"\bplace\s+[\w.,\s]+\son\s+\Z")
_WORD = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)?")


@dataclass(frozen=True)
class Hover:
    """Markdown about a range of the text."""

    span: Span
    text: str


def hover(analysis: Analysis, offset: int) -> Hover | None:
    """Return what a place stands for: a name with its kind, type and doc, a call's signature, an expression's
    type; None where there is nothing to say."""
    named = analysis.names.at(offset)
    if named is not None:
        return Hover(named.span, _about(analysis, named.of, named.span))
    for found in _WORD.finditer(analysis.source.text):
        if found.start() <= offset <= found.end():
            span = Span(analysis.source, *found.span())
            if found[0] == SHARDED and _ON.search(analysis.source.text, 0, found.start()):
                return Hover(
                    span, "tables here are divided between the processes that train, where there are several"
                )
            known = calls.callable_of(found[0], analysis.program)
            kind = analysis.type_of(span)
            if known is not None:
                return Hover(span, _code(known.usage) + f"\n\n{known.doc}")
            if kind:
                return Hover(span, _code(f"{found[0]}: {kind}"))
    around = _smallest(analysis, offset)
    return None if around is None else Hover(around, _code(f"{analysis.type_of(around)}"))


def _smallest(analysis: Analysis, offset: int) -> Span | None:
    """The smallest expression around an offset that has a type."""
    within = [(start, stop) for start, stop in analysis.types if start <= offset < stop]
    return Span(analysis.source, *min(within, key=lambda s: s[1] - s[0])) if within else None


def _code(text: str) -> str:
    return f"```arec\n{text}\n```"


def _about(analysis: Analysis, declared: Declared, span: Span) -> str:
    node, name = declared.node, declared.name
    doc = f"\n\n{declared.doc}" if declared.doc else ""
    if isinstance(node, tree.Block) and declared.kind in ("block", "encoder", "attention"):
        at_call = _type_of_call(analysis, span)
        given = f"\n\ngives `{at_call}` here" if at_call else ""
        return _code(f"{node.kind} {calls.of_block(node).usage}") + given + doc
    if declared.kind == "axis":
        return _code(f"axis {name}") + _axis(node) + doc
    if declared.kind == "field" and isinstance(node, tree.Field):
        kind = analysis.type_of(Span(span.source, _begin(analysis, span), span.stop))
        return _code(f"field {name}: {node.encoding.span.text}") + (f"\n\n`{kind}`" if kind else "") + doc
    kind = _type(analysis, declared, span)
    role = analysis.roles.get(name, "") if declared.body is None else ""
    said = f"{declared.kind} {name}" + (f": {kind}" if kind else "")
    once = {"request": "\n\nonce a request", "candidate": "\n\nonce a candidate"}.get(role, "")
    value = analysis.static(name) if declared.body is None else ""
    if isinstance(node, tree.Param | tree.Table | tree.Device):
        said = " ".join(line.strip() for line in print_statement(node) if not line.startswith("#"))
    return _code(said + (f"  # {value}" if value and isinstance(node, tree.Param) else "")) + once + doc


def _begin(analysis: Analysis, span: Span) -> int:
    """Where the attribute begins whose last part is at a span."""
    before = analysis.source.text[: span.start]
    found = re.search(r"[A-Za-z_]\w*\.$", before)
    return span.start if found is None else found.start()


def _type(analysis: Analysis, declared: Declared, span: Span) -> str:
    """The type of a named value, at this place or where it is declared."""
    node = declared.node
    here = analysis.type_of(span)
    value = getattr(node, "value", None)
    if not here and isinstance(value, tree.Node):
        here = analysis.type_of(value.span)
    if not here and isinstance(node, tree.Input):
        here = node.type.span.text
    return here


def _type_of_call(analysis: Analysis, callee: Span) -> str:
    """The type of the call whose callee is at a span."""
    starts = [s for s in analysis.types if s[0] == callee.start and s[1] >= callee.stop]
    return " or ".join(analysis.types[min(starts)]) if starts else ""


def _axis(node: tree.Node | None) -> str:
    match node:
        case tree.AxisDecl(bound=bound) if bound is not None:
            return f"\n\nat most `{bound.span.text}` positions"
        case tree.LearnedAxis(size=size) if size is not None:
            return f"\n\n`{size.span.text}` positions"
    return ""


def definition(analysis: Analysis, offset: int) -> Span | None:
    """Return where the name at a place is declared, which may be in another file."""
    found = analysis.names.at(offset)
    return None if found is None else found.of.span


def references(among: Iterable[Analysis], declared: Declared) -> list[Span]:
    """Return every place in some texts that names one thing."""
    return [span for analysis in among for span in analysis.names.of(declared)]


def renamed(
    analysis: Analysis, among: Iterable[Analysis], offset: int, name: str, own: Iterable[str]
) -> list[Span]:
    """Return the places that a new name for what is at an offset goes to.

    among: the texts in which it may be named. own: the files that may be changed. Raises ValueError, which
    says why not.
    """
    found = analysis.names.at(offset)
    if found is None:
        raise ValueError("there is no name here that is declared anywhere")
    declared = found.of
    if declared.span.source.name not in set(own):
        raise ValueError(
            f"`{declared.name}` is declared in {declared.span.source.name}, which is not yours to change"
        )
    if declared.span.text != declared.name or found.span.text != declared.name:
        raise ValueError(f"`{found.span.text}` is another name for `{declared.name}`: change its `use`")
    if not _NAME.fullmatch(name):
        raise ValueError(f"`{name}` is no name: letters, digits and `_`, and no digit first")
    texts = list(among)
    spans = references(texts, declared)
    for text in texts:
        for span in text.names.of(declared):
            taken = next((d for d in text.names.known_at(span.start) if d.name == name), None)
            if taken is not None and (taken.kind == "axis") == (declared.kind == "axis"):
                raise ValueError(f"`{name}` is a {taken.kind} already, in line {taken.span.line}")
    for text in texts:
        _hold(text, [span for span in spans if span.source is text.source], name)
    return spans


def _hold(before: Analysis, spans: Iterable[Span], name: str) -> None:
    """Raise ValueError if a text would be another model, or faulty, with a new name at some places.

    Some names are asked for by others: `weight` in an attention, an axis by blocks that are called with it.
    """
    text = before.source.text
    for span in sorted(spans, key=lambda s: -s.start):
        text = f"{text[: span.start]}{name}{text[span.stop :]}"
    if text == before.source.text:
        return
    after = analyse(text, Path(before.source.name))
    told = {(d.code, d.message) for d in before.report}
    for fault in after.report:
        if fault.severity is Severity.ERROR and (fault.code, fault.message) not in told:
            raise ValueError(f"the name is asked for by others: {fault.message}, in line {fault.span.line}")
    if before.graph is not None and (after.graph is None or _form(after.graph) != _form(before.graph)):
        raise ValueError("the text would be another model")


def _form(graph: Graph) -> list[tuple[object, ...]]:
    """A graph without the names that a spec gives."""
    nodes = list(walk(graph.nodes))
    number = {n.id: i for i, n in enumerate(nodes)}
    recorded: list[tuple[object, ...]] = [(number.get(a.weight), a.score is None) for a in graph.attentions]
    return recorded + [
        (n.op, *(number[i] for i in n.inputs), n.type.width, len(n.type.axes), len(n.weights)) for n in nodes
    ]


@dataclass(frozen=True)
class Symbol:
    """A declaration, for an outline. span: all of it; name_span: its name."""

    name: str
    kind: str
    detail: str
    span: Span
    name_span: Span
    inside: tuple[Symbol, ...] = ()


def symbols(analysis: Analysis) -> list[Symbol]:
    """Return the declarations of a text, fields and the statements of blocks inside."""
    return [s for item in analysis.file.body for s in _symbols(analysis, item)]


def _symbols(analysis: Analysis, item: tree.Node) -> Iterator[Symbol]:
    ident = getattr(item, "ident", None)
    if isinstance(item, tree.Extends):
        for part in item.body:
            yield from _symbols(analysis, part)
        return
    if isinstance(item, tree.Train):
        word = Span(item.span.source, item.span.start, item.span.start + len("train"))
        yield Symbol("train", "train", "", item.span, word)
        return
    if not isinstance(ident, tree.Ident):
        return
    kind = kind_of(item) if isinstance(item, Named) else "field"
    value = getattr(item, "value", None)
    detail = analysis.type_of(value.span) if isinstance(value, tree.Node) else ""
    parts: tuple[tree.Node, ...] = ()
    if isinstance(item, tree.Space):
        parts, detail = item.fields, f"from {item.role.name}"
    elif isinstance(item, tree.Block):
        parts, detail = item.body, calls.of_block(item).usage.removeprefix(ident.name)
    elif isinstance(item, tree.Field):
        detail = item.encoding.span.text
    inside = tuple(s for part in parts for s in _symbols(analysis, part))
    yield Symbol(ident.name, kind, detail, item.span, ident.span, inside)


def folds(analysis: Analysis) -> list[tuple[int, int, bool]]:
    """Return ranges of lines that can be folded, 1-based, and whether each is of comments."""
    found: list[tuple[int, int, bool]] = []
    waiting = list(analysis.file.body)
    for item in waiting:
        if isinstance(item, tree.Extends):
            waiting.extend(item.body)
        last = analysis.source.position(max(item.span.stop - 1, item.span.start))[0]
        if last > item.span.line:
            found.append((item.span.line, last, False))
    lines = [c.span.line for c in analysis.file.comments if not c.trailing]
    begin = None
    for line, after in zip_longest(lines, lines[1:], fillvalue=-1):
        begin = line if begin is None else begin
        if after != line + 1:
            if line > begin:
                found.append((begin, line, True))
            begin = None
    return sorted(found)


def hints(analysis: Analysis) -> list[tuple[int, str]]:
    """Return the types of bindings, each with the offset behind the name: (offset, ": [t, 64]")."""
    return [
        (item.ident.span.stop, f": {kind}")
        for item in _statements(analysis.file.body)
        if isinstance(item, tree.Binding) and (kind := analysis.type_of(item.value.span))
    ]


def _statements(body: Iterable[tree.Node]) -> Iterator[tree.Node]:
    for item in body:
        yield item
        if isinstance(item, tree.Block | tree.Scan | tree.Extends):
            yield from _statements(item.body)


def picture(analysis: Analysis) -> str:
    """Return the model as SVG, every box with its line as the end of its tooltip; '' while it has faults."""
    if analysis.graph is None:
        return ""
    from specc.passes import prepared
    from specc.passes.placement import place
    from specc.show.scene import scene
    from specc.show.svg import svg

    return svg(scene(place(prepared(analysis.graph))))


def explained(code: str) -> str:
    """Return the page about a diagnostic's code, as Markdown; '' if there is no such code."""
    return CODES[code].text if code in CODES else ""
