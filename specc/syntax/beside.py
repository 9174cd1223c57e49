"""What a comment stands beside: so that `# allow W0703` goes for a whole statement, however it is laid out.

Promises: the lines of the innermost statement that a comment ends, or stands above; of one with a body only
those before the body. Leaves what a comment says to `report`.
"""

from __future__ import annotations

from collections.abc import Iterator

from specc.report import Report
from specc.syntax import tree


def notice_comments(file: tree.File, report: Report) -> None:
    """Tell the report of a file's comments."""
    spoken = [comment for comment in file.comments if "allow" in comment.text]
    ranges = list(_ranges(file.body)) if spoken else []
    for comment in spoken:
        line = comment.span.line
        if not comment.trailing:
            source = comment.span.source
            line += 1
            while source.line(line).lstrip().startswith("#"):  # a block of comments is about one statement
                line += 1
        found = [r for r in ranges if (line in r if comment.trailing else r.start == line)]
        lines = min(found, key=len, default=range(line, line + 1))
        report.comment(comment.span, lines)


def _ranges(items: tuple[tree.Node, ...]) -> Iterator[range]:
    for item in items:
        start, stop = item.span.start, item.span.stop
        inside: tuple[tree.Node, ...] = ()
        match item:
            case tree.Block(result=result, body=body):
                stop, inside = result.span.stop, body
            case tree.Scan(axis=axis, body=body):
                stop, inside = axis.span.stop, body
            case tree.Extends(base=base, body=body):
                stop, inside = base.span.stop, body
            case tree.Space(role=role, fields=fields):
                stop, inside = role.span.stop, fields
            case tree.Train(entries=entries):
                stop, inside = start, entries
        position = item.span.source.position
        yield range(position(start)[0], position(max(start, stop - 1))[0] + 1)
        yield from _ranges(inside)
