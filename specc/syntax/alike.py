"""Characters that look like others: a Cyrillic `a`, a full-width bracket, a no-break space.

Promises: those of one line are reported once, the first with its name and code point, with a fix that
replaces all of them; they are read as what they look like. Leaves letters that look like none of
ours to `foreign`.
"""

from __future__ import annotations

import re
import unicodedata

from specc.report import Fix, Label, Report
from specc.source import Source, Span

# Letters of other alphabets, and the ones of ours that they look like.
_LETTERS = dict(
    zip(
        "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u0501\u051b\u051d\u04bb\u0432\u043a\u043c\u043d\u0442"
        "\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0423\u0425\u0406\u0408\u0405"
        "\u03bf\u03b1\u03bd\u03c1\u03b9\u03ba\u03c4\u03c5\u03c7\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7",
        "aeopcyxijsdqwhbkmhtABEKMHOPCTYXIJSoavpiktuxABEZHIKMNOPTYX",
        strict=True,
    )
)
_SIGNS = {
    "\u2010": "-", "\u2011": "-", "\u2012": "-", "\u2013": "-", "\u2014": "-", "\u2212": "-", "\u2044": "/",
    "\u2215": "/", "\u2217": "*", "\u2223": "|", "\u02d0": ":", "\u2236": ":", "\ua78a": "=", "\u201a": ",",
    "\u3010": "[", "\u3011": "]", "\u3014": "[", "\u3015": "]", "\u3001": ",", "\u037e": ";", "\u02c6": "^",
}  # fmt: skip
_LINE_ENDS = frozenset("\u2028\u2029\x85\x0b")
_INVISIBLE = frozenset("\u200b\u200c\u200d\u2060\u00ad\ufeff\u200e\u200f\u061c\ufe0f\ufe0e")
_SIGNS_OF_OURS = frozenset("()[]{},:;=+-*/%^<>.")
_OUTSIDE_TEXTS = re.compile(r'"(?:[^"\\\n]|\\.)*"|#[^\n]*|[^\x00-\x7f]|\x0b')


def invisible(char: str) -> bool:
    """Return whether a character has no width at all."""
    return char in _INVISIBLE


def meant_by(char: str) -> str | None:
    """Return the sign, letter, blank or line end that a character looks like; None for ordinary ones."""
    if char in _LINE_ENDS:
        return "\n"
    if char.isascii():
        return None
    if char in _INVISIBLE:
        return ""
    if char in _LETTERS:
        return _LETTERS[char]
    if char in _SIGNS:
        return _SIGNS[char]
    if char.isspace():
        return " "
    if char.isdecimal():
        return str(unicodedata.decimal(char))
    plain = unicodedata.normalize("NFKC", char)
    wide = unicodedata.east_asian_width(char) in ("F", "H") or "MATHEMATICAL" in unicodedata.name(char, "")
    if len(plain) == 1 and plain.isascii() and wide and (plain.isalnum() or plain in _SIGNS_OF_OURS):
        return plain
    return None


def skeleton(word: str) -> str | None:
    """Return a word with look-alikes replaced, or None where that gives no name and no number."""
    plain = "".join(char if char.isascii() else meant_by(char) or "" for char in word)
    if any(not char.isascii() and meant_by(char) is None for char in word):
        return None
    return plain if not plain or plain.isidentifier() or plain.isdecimal() else None


def without_accents(word: str) -> str:
    """Return a word with its letters' accents left off, or '' where more than accents is
    strange about it."""
    plain = unicodedata.normalize("NFKD", word.replace("\u00df", "ss"))
    plain = "".join(char for char in plain if not unicodedata.combining(char))
    return plain if plain.isascii() and plain.isidentifier() else ""


def shown(written: str) -> str:
    """Return a character as a message shows it: itself, and unless it is on every keyboard, its number and
    name."""
    char = written[0]
    if char.isascii() and char.isprintable():
        return f"`{written}`"
    name = unicodedata.name(char, "")
    number = f"U+{ord(char):04X} {name}".rstrip()
    visible = char.isprintable() and not char.isspace() and char not in _INVISIBLE
    return f"`{written}` ({number})" if visible else number


def look_alikes(source: Source, start: int, told: int, report: Report) -> int:
    """Report those of a line from a character on, unless they have been; gives where the line ends."""
    if start < told:
        return told
    text = source.text
    end = text.find("\n", start)
    end = len(text) if end < 0 else end
    found = [
        (match.start(), instead)
        for match in _OUTSIDE_TEXTS.finditer(text, start, end)
        if len(match[0]) == 1 and (instead := meant_by(match[0])) is not None
    ]
    first, instead = found[0]
    last = found[-1][0] + 1
    written, at = "", first
    for place, sign in found:
        written += text[at:place] + sign
        at = place + 1
    one = len(found) == 1
    named = {" ": "a blank", "\n": "the end of a line", "": "nothing at all"}.get(instead, f"`{instead}`")
    report.error(
        "E0101",
        f"{shown(text[first])} means nothing here",
        Span(source, first, first + 1),
        label=f"looks like {named}",
        secondary=tuple(Label(Span(source, at, at + 1), f"and {shown(text[at])}") for at, _ in found[1:]),
        why="it looks alike, and is another character",
        help=(f"write {named} instead" if instead.strip() else f"write {named} in its place")
        if one
        else "write the plain characters instead",
        fix=Fix(
            Span(source, first, last), written, "write the plain characters" if not one else f"write {named}"
        ),
    )
    return end
