"""The formatter: every spec has one canonical form, and this is where it is written down.

Promises: the same tree and the same comments; formatting again changes nothing; what cannot be read is not
touched (`Unreadable`). A file's layout follows from its tree, its comments and its single blank lines alone.

The form: two columns of indentation, at most 100 columns, a statement on one line if it fits. Pipes of
several stages are broken beyond 85 columns, a stage a line; brackets beyond 100, an item a line. Fields and
settings in `{ }` stand on one line if they fit, else one a line; bodies of blocks always one a line. The `=`,
`in` and comments of neighbouring lines of a kind stand below each other. Blank lines are kept, at most one
in a row; there is one after the header and around each block.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from itertools import pairwise

from specc.frozen import dataclass
from specc.report import Report
from specc.source import Source
from specc.syntax import align, tree
from specc.syntax.comments import Comments
from specc.syntax.parse import parse
from specc.syntax.pretty import STEP, WIDTH, Doc, Line, lines
from specc.syntax.renew import renewed
from specc.syntax.statements import Holder, Item, Statements

_DEPTH = 20_000
_EDITION = re.compile(r"^[ \t\ufeff]*edition\b", re.MULTILINE)


class Unreadable(Exception):
    """The text has faults; `report` holds them."""

    def __init__(self, report: Report) -> None:
        super().__init__("the text cannot be read")
        self.report = report


class NotTheSame(AssertionError):
    """The formatted text would mean something else: a defect of this module, and the text stays as it is."""


def format_source(source: Source | str) -> str:
    """Return the canonical form of a spec's text. Raises Unreadable."""
    if isinstance(source, str):
        source = Source("<text>", source)
    report = Report()
    file = parse(source, report)
    if report.has_errors:
        raise Unreadable(report)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, _DEPTH))
    try:
        file = renewed(file)
        text = _Printer(file, source).text()
    finally:
        sys.setrecursionlimit(limit)
    _verify(file, text)
    return text


def print_file(file: tree.File) -> str:
    """Return the text of a tree that nobody wrote; its docs become comments."""
    return _Printer(file, None).text()


def print_statement(item: tree.Statement) -> list[str]:
    """Return the lines of a statement by itself, without its doc and comments."""
    body, _ = _Printer(tree.File(None, "model", tree.Ident(""), ()), None).stack(
        (replace(item, doc=None),), 0, 0, 0
    )
    return [line.code for line in body]


def _verify(file: tree.File, text: str) -> None:
    report = Report()
    again = parse(Source("<formatted>", text), report)
    comments = sorted(c.text for c in file.comments) == sorted(c.text for c in again.comments)
    if report.has_errors or not comments or not same(file, again):
        raise NotTheSame("the formatted text does not read as the text it was made from")


def same(a: object, b: object) -> bool:
    """Return whether two trees are equal, however deep they are."""
    pairs = [(a, b)]
    while pairs:
        left, right = pairs.pop()
        if isinstance(left, tree.Node):
            if type(left) is not type(right):
                return False
            pairs += [(getattr(left, f.name), getattr(right, f.name)) for f in fields(left) if f.compare]
        elif isinstance(left, tuple):
            if not isinstance(right, tuple) or len(left) != len(right):
                return False
            pairs += zip(left, right, strict=True)
        elif left != right or type(left) is not type(right):
            return False
    return True


# ------------------------------------------------------------------- layout


@dataclass
class _Element:
    """A comment on its own line (no item), or a statement, with the cells that its first line consists of."""

    lines: list[Line]
    first: int  # lines of the source
    last: int
    item: Item | None = None
    cells: tuple[str, ...] = ()
    blank: bool = False  # a blank line before it

    @property
    def kind(self) -> str:
        return "Binding" if isinstance(self.item, tree.Next) else type(self.item).__name__


class _Printer:
    """`source` is None for a tree that nobody wrote: its blank lines and comments are made up."""

    def __init__(self, file: tree.File, source: Source | None) -> None:
        self.file = file
        self.source = source
        self.comments = Comments(file.comments if source else ())
        self.statements = Statements(self.comments)

    def text(self) -> str:
        file, out = self.file, list[Line]()
        header = file.ident.span.start
        start = 0
        if self.source is None:
            out += _made_up(file.doc, 0)
        if file.edition is not None:
            found = _EDITION.search(self.source.text) if self.source else None
            start = found.start() if found else 0
            out += self.before(0, start)
            taken = self.comments.take(start, header)
            remark = taken.pop(0).text if taken and taken[0].trailing else ""
            out += [Line(f"edition {file.edition}", remark), *self.own_lines(taken, header)]
        else:
            out += self.before(0, header)
        body, remark = self.stack(file.body, file.ident.span.stop, file.span.stop, 0)
        out.append(Line(f"{file.kind} {file.ident.name}", remark))
        if body and isinstance(file.body[0], tree.Extends) and body[0].code.startswith("extends"):
            out += body  # what a model extends goes with its name
        elif body:
            out += [Line(""), *body]
        return "\n".join(align.remarks(out)) + "\n"

    def before(self, start: int, stop: int) -> list[Line]:
        return self.own_lines(self.comments.take(start, stop), stop)

    def own_lines(self, taken: list[tree.Comment], stop: int) -> list[Line]:
        """Return comments with the blank lines between them and before what begins at `stop`."""
        out: list[Line] = []
        last = 0
        for comment in taken:
            if out and comment.span.line - last > 1:
                out.append(Line(""))
            out.append(Line(comment.text))
            last = comment.span.line
        if out and self.line(stop) - last > 1:
            out.append(Line(""))
        return out

    def line(self, offset: int) -> int:
        return self.source.position(offset)[0] if self.source else 0

    # ----------------------------------------------------------- statements

    def stack(self, items: Sequence[Item], start: int, stop: int, indent: int) -> tuple[list[Line], str]:
        """Return items one below the other, and the comment that stands behind what is before them."""
        elements: list[_Element] = []
        opener = ""
        end = start
        for item in items:
            opener += self.comment_elements(elements, self.comments.take(end, item.span.start), indent)
            if self.source is None and isinstance(item, tree.Statement):
                elements += [_Element([line], 0, 0) for line in _made_up(item.doc, indent)]
            elements += self.elements(item, indent)
            end = item.span.stop
        opener += self.comment_elements(elements, self.comments.take(end, stop), indent)
        self.part(elements, indent)
        return list(_joined(elements, indent)), opener

    def comment_elements(self, elements: list[_Element], taken: list[tree.Comment], indent: int) -> str:
        """Return comments after the last element: the first may stand behind it, or behind the opening
        brace."""
        opener = ""
        if taken and taken[0].trailing:
            if not elements:
                opener = taken.pop(0).text
            elif not elements[-1].lines[-1].remark:
                last = elements[-1]
                last.lines[-1] = replace(last.lines[-1], remark=taken.pop(0).text)
        for comment in taken:
            line = comment.span.line
            elements.append(_Element([Line(" " * indent + comment.text)], line, line))
        return opener

    def elements(self, item: Item, indent: int) -> Iterator[_Element]:
        """Yield an item, below the comments inside it that found no place of their own."""
        span = item.span
        first, last = self.line(span.start), self.line(max(span.start, span.stop - 1))
        laid, cells = self.lay(item, indent)
        left = self.comments.take(span.start, span.stop)
        if left and left[-1].trailing and not laid[-1].remark:
            laid[-1] = replace(laid[-1], remark=left.pop().text)
        for comment in left:
            yield _Element([Line(" " * indent + comment.text)], first, first)
        yield _Element(laid, first, last, item, cells)

    def lay(self, item: Item, indent: int) -> tuple[list[Line], tuple[str, ...]]:
        """Return the item's lines, and the cells of the first one."""
        if isinstance(item, tree.Block | tree.Scan | tree.Extends):
            return self.hold(item, indent)
        if not isinstance(item, tree.Space | tree.Train):
            return _cells(self.statements.cells(item), indent)
        body = self.statements.body(item)
        if not self.comments.any(item.span.start, body.stop):
            inside = [self.statements.cells(entry) for entry in body.items]
            entries = [piece for entry in inside for piece in (", ", *_spaced(entry))][1:]
            braces = ("{ ", *entries, " }") if entries else ("{ }",)
            laid, cells = _cells((*self.statements.head(item), braces), indent)
            if len(laid) == 1 and len(laid[0].code) <= WIDTH:
                return laid, cells
        return self.hold(item, indent)

    def hold(self, item: Holder, indent: int) -> tuple[list[Line], tuple[str, ...]]:
        """Return an item with its body on lines of its own."""
        cells = self.statements.head(item)
        head = lines(_spaced(cells), indent)
        body = self.statements.body(item)
        inside, remark = self.stack(body.items, body.start, body.stop, indent + STEP)
        if not inside and not remark:
            laid = [*head[:-1], Line(head[-1].code + " { }")]
        else:
            opened = Line(head[-1].code + " {", remark)
            laid = [*head[:-1], opened, *inside, Line(" " * indent + "}")]
        if len(head) > 1:
            return laid, ()
        return laid, (*(lines(cell)[0].code for cell in cells), laid[0].code[len(head[0].code) + 1 :])

    # ---------------------------------------------------------- blank lines

    def part(self, elements: list[_Element], indent: int) -> None:
        """Decide where blank lines are."""
        for before, element in pairwise(elements):
            if self.source is not None:
                element.blank = element.first - before.last > 1
            elif indent == 0 and before.item is not None:
                element.blank = element.item is None or element.kind != before.kind
        for index, element in enumerate(elements):
            if isinstance(element.item, tree.Block | tree.Extends):
                if index + 1 < len(elements):
                    elements[index + 1].blank = True
                while index and elements[index - 1].item is None and not elements[index].blank:
                    index -= 1
                elements[index].blank = index > 0


def _joined(elements: list[_Element], indent: int) -> Iterator[Line]:
    """Yield all lines, neighbours of a kind aligned."""
    index = 0
    while index < len(elements):
        stop = index + 1
        while (
            stop < len(elements)
            and elements[index].cells
            and elements[stop].cells
            and elements[stop].kind == elements[index].kind
            and not elements[stop].blank
        ):
            stop += 1
        run = elements[index:stop]
        if len(run) > 1:
            for element, code in zip(run, align.columns([e.cells for e in run], indent), strict=True):
                element.lines[0] = replace(element.lines[0], code=" " * indent + code)
        for element in run:
            if element.blank:
                yield Line("")
            yield from element.lines
        index = stop


def _spaced(cells: Sequence[Doc]) -> tuple[Doc, ...]:
    return tuple(piece for cell in cells for piece in (" ", cell))[1:]


def _cells(cells: Sequence[Doc], indent: int) -> tuple[list[Line], tuple[str, ...]]:
    laid = lines(_spaced(cells), indent)
    if len(laid) > 1:
        return laid, _parted(laid[0], cells, indent)
    return laid, tuple(lines(cell)[0].code for cell in cells)


def _parted(first: Line, cells: Sequence[Doc], indent: int) -> tuple[str, ...]:
    """Return the first of several lines as two cells, if the first cell is wholly on it."""
    cell = lines(cells[0])[0].code
    rest = first.code[indent + len(cell) + 1 :]
    return (cell, rest) if len(cells) > 1 and first.code[indent:].startswith(cell + " ") else ()


def _made_up(doc: str | None, indent: int) -> list[Line]:
    """Return the comment that a doc was read from."""
    if doc is None:
        return []
    return [Line(" " * indent + f"# {line}".rstrip()) for line in doc.split("\n")]
