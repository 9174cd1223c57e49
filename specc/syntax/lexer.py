"""From text to tokens and comments.

Promises: every character is accounted for; what means nothing is reported (E0101, E0104) and read as what was
most likely meant, or passed over, so that the rest of the line is still read. A word is a NAME here: whether
it is a keyword depends on where it stands, which only the parser knows. Leaves line ends and brackets to
`layout`.
"""

from __future__ import annotations

import re
from dataclasses import field
from functools import cache

from specc.frozen import dataclass
from specc.report import Fix, Report
from specc.source import Source, Span
from specc.syntax import tree
from specc.syntax.table import table
from specc.syntax.token import SAME_LINE, Token

__all__ = ["SAME_LINE", "Lexed", "Token", "lex"]
_TAB = 4  # columns; only for comparing how far lines are indented


@dataclass
class Lexed:
    """`docs` has the comment block directly above a line, by the offset of the line's first token.

    `skipped` has the offsets of what was passed over: a fault right after it is no other fault.
    """

    tokens: list[Token] = field(default_factory=list)
    comments: list[tree.Comment] = field(default_factory=list)
    docs: dict[int, str] = field(default_factory=dict)
    skipped: list[int] = field(default_factory=list)


@cache
def _pattern() -> re.Pattern[str]:
    known = table()
    named = {key: known.patterns[key] for key in ("NAME", "NUMBER", "STRING", "COMMENT")}
    parts = [f"(?P<{key}>{value})" for key, value in named.items()]
    parts.append("(?P<PUNCTUATION>" + "|".join(re.escape(p) for p in known.punctuation) + ")")
    parts += [r"(?P<NEWLINE>\n)", r'(?P<OPEN_TEXT>"[^\n]*)', r"(?P<OTHER>.)"]
    return re.compile(r"[ \t\r\f\ufeff]*(?:" + "|".join(parts) + ")?", re.ASCII)


# Thousands parted by commas (a group that begins with 0 is no number of its own), and a decimal comma.
_GROUPED = r"(?=[0-9,]*,0)[1-9][0-9]{0,2}(?:,[0-9]{3})+(?![0-9._eE]|,[0-9])|0,0[0-9]*(?![0-9._eE]|,[0-9])"
# A text that lacks its end, up to what closes the statement behind it.
_ENDS_TEXT = r'"[\w./-]+(?=\s*[,)}\]][\s,)}\]]*(?:#|$))'
_BEGINS_FOREIGN = ("//", "/*", "--", '""')


def lex(source: Source, report: Report) -> Lexed:
    """Return the tokens and comments of a text, without line ends."""
    out = Lexed()
    text = source.text
    match = _pattern().match
    add = out.tokens.append
    position, line, line_start, first = 0, 1, 0, True
    told = 0  # up to where look-alikes are reported
    above: list[str] = []  # the comment block that ends on the line above
    last_comment = 0  # the line it ends on
    size = len(text)
    while position < size:
        found = match(text, position)
        assert found is not None
        kind = found.lastgroup
        if kind is None:  # blanks up to the end
            break
        start, position = found.span(kind)
        if kind == "NEWLINE":
            line, line_start, first = line + 1, position, True
            continue
        if kind == "COMMENT":
            written = found[kind].rstrip()
            out.comments.append(
                tree.Comment(written, not first, span=Span(source, start, start + len(written)))
            )
            if first:
                if last_comment != line - 1:
                    above = []
                above.append(written[2:] if written.startswith("# ") else written[1:])
                last_comment = line
            continue
        if text.startswith(_BEGINS_FOREIGN, start):
            from specc.syntax.foreign import foreign_comment

            if (stop := foreign_comment(source, start, first, report)) > start:
                line += text.count("\n", start, stop)
                line_start = max(line_start, text.rfind("\n", start, stop) + 1)
                position = stop
                continue
        meant = None
        if kind == "OTHER":
            from specc.syntax.foreign import strange

            before_it = out.tokens[-1] if out.tokens and out.tokens[-1].stop == start else None
            found_it = strange(source, start, before_it, told, report)
            meant, position, told = found_it.token, found_it.stop, found_it.told
            if found_it.begins_line:
                line_start, first = position, True
            if meant is not None and meant.kind == "STRING":
                out.skipped.append(start)  # that no text can stand here is the same fault
            if meant is None:
                if not found_it.read:
                    out.skipped.append(start)
                continue
            if meant.start < start:  # a name goes on with what is no letter here
                out.tokens[-1] = meant._replace(indent=out.tokens[-1].indent)
                continue
        elif (
            kind == "NUMBER"
            and text.startswith(",", position)
            and (grouped := re.compile(_GROUPED).match(text, start))
        ):
            position = grouped.end()
            meant = Token(
                "NUMBER", _with_commas(Span(source, start, position), report), start, position, SAME_LINE
            )
        if first:
            before = text[line_start:start]
            indent = len(before.expandtabs(_TAB)) if "\t" in before else start - line_start
            if above and last_comment == line - 1:
                out.docs[start] = "\n".join(above)
            above, first = [], False
        else:
            indent = SAME_LINE
        word = found[kind]
        if meant is not None:
            add(meant._replace(indent=indent))
        elif kind == "PUNCTUATION":
            add(Token(word, word, start, position, indent))
        elif kind == "OPEN_TEXT":
            ends = re.match(_ENDS_TEXT, word)
            word = ends[0] if ends is not None else word.rstrip()
            position = start + len(word)
            _open_text(Span(source, start, position), report)
            out.skipped.append(position)
            text_in_it = word[1:].replace("\\", "")
            add(Token("STRING", f'"{text_in_it}"', start, start + len(word), indent))
        else:
            add(Token(kind, word, start, position, indent))
    return out


def _open_text(span: Span, report: Report) -> None:
    report.error(
        "E0104",
        "this text is not closed",
        span,
        label='no `"` before the end of the line',
        why="a text stands on one line, in double quotes",
        help='end it with `"`',
        fix=Fix(Span(span.source, span.stop, span.stop), '"', 'end it with `"`'),
    )


def _with_commas(span: Span, report: Report) -> str:
    """Return what is meant by `50,000` or `0,001`, reported."""
    written = span.text
    decimal = written.startswith("0,")
    meant = written.replace(",", "." if decimal else "_")
    report.error(
        "E0103",
        f"`{written}` is no number",
        span,
        label="read as one number",
        why="a comma parts arguments; a fraction stands behind a point, and `_` may stand between digits",
        help=f"write `{meant}`",
        fix=Fix(span, meant, f"write `{meant}`"),
    )
    return meant
