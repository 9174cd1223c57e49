"""Documents with optional line breaks, and how they become lines.

Promises: a group stands on one line if it fits the width and nothing in it forces a break; otherwise all of
its own breaks are taken, and its inner groups decide for themselves. Comments do not count towards the
width. Leaves to `print` what a document looks like, and to `align` what stands below what.

This is Wadler's "A prettier printer", with a remark: a comment at the end of a line, which ends it.
"""

from __future__ import annotations

from typing import TypeAlias

from specc.frozen import dataclass

WIDTH = 100
STEP = 2  # columns of one indentation


@dataclass(frozen=True)
class Break:
    """A possible line end; `flat` is what stands there on one line, None where that is no choice."""

    flat: str | None


@dataclass(frozen=True)
class Either:
    """One text where its group is on one line, another where it is broken."""

    flat: str
    broken: str


@dataclass(frozen=True)
class Remark:
    """A comment at the end of a line."""

    text: str


@dataclass(frozen=True)
class Indent:
    body: Doc


@dataclass(frozen=True)
class Group:
    """`forced` groups are broken whatever their width; `width` is the last column on one line."""

    body: Doc
    forced: bool
    width: int


Doc: TypeAlias = str | tuple["Doc", ...] | Break | Either | Remark | Indent | Group

SPACE = Break(" ")
SOFT = Break("")
HARD = Break(None)


@dataclass(frozen=True)
class Line:
    """One line of the result: its code, indentation included, and the comment at its end."""

    code: str
    remark: str = ""


def group(*parts: Doc, width: int = WIDTH) -> Group:
    return Group(parts, forces(parts), width)


def forces(doc: Doc) -> bool:
    """Return whether the document cannot stand on one line."""
    match doc:
        case Break(flat=flat):
            return flat is None
        case Remark():
            return True
        case Indent(body=body):
            return forces(body)
        case Group(forced=forced):
            return forced
        case tuple():
            return any(map(forces, doc))
        case _:
            return False


def lines(doc: Doc, indent: int = 0) -> list[Line]:
    """Return the document's lines, laid out from a column on."""
    out: list[Line] = []
    code, remark = " " * indent, ""
    stack: list[tuple[int, bool, Doc]] = [(indent, True, doc)]
    while stack:
        at, broken, part = stack.pop()
        match part:
            case str():
                if remark and part.strip():  # nothing stands behind a comment
                    out.append(Line(code.rstrip(), remark))
                    code, remark = " " * at, ""
                code += part
            case tuple():
                stack += [(at, broken, piece) for piece in reversed(part)]
            case Indent(body=body):
                stack.append((at + STEP, broken, body))
            case Either(flat=flat, broken=other):
                code += other if broken else flat
            case Remark(text=text):
                remark = text
            case Break(flat=flat):
                if broken or flat is None:
                    out.append(Line(code.rstrip(), remark))
                    code, remark = " " * at, ""
                else:
                    code += flat
            case Group(body=body, forced=forced, width=width):
                opened = broken and (forced or not _fits(width - len(code), body, stack))
                stack.append((at, opened, body))
    out.append(Line(code.rstrip(), remark))
    return out


def _fits(room: int, doc: Doc, rest: list[tuple[int, bool, Doc]]) -> bool:
    """Return whether a document on one line, and what follows up to the next break, fits the room."""
    stack: list[tuple[bool, Doc]] = [(False, doc)]
    behind = len(rest)
    while room >= 0:
        if not stack:
            if not behind:
                return True
            behind -= 1
            _, broken, part = rest[behind]
        else:
            broken, part = stack.pop()
        match part:
            case str():
                room -= len(part)
            case tuple():
                stack += [(broken, piece) for piece in reversed(part)]
            case Indent(body=body):
                stack.append((broken, body))
            case Either(flat=flat, broken=other):
                room -= len(other if broken else flat)
            case Remark():
                return True
            case Break(flat=flat):
                if broken or flat is None:
                    return True
                room -= len(flat)
            case Group(body=body):  # one that follows may still be broken
                stack.append((broken, body))
    return False
