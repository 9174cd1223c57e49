"""What can stand at a place in a text: names by kind, fields, options, encodings, axes, choices, keywords."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from specc.elaborate.encodings import ENCODINGS
from specc.elaborate.metrics import METRICS
from specc.elaborate.sharding import SHARDED
from specc.elaborate.spaces import ROLES
from specc.elaborate.training import KEYS, OPTIMIZERS
from specc.frozen import dataclass
from specc.ide import calls
from specc.ide.analysis import Analysis
from specc.ide.names import Declared
from specc.syntax import tree
from specc.syntax.misplaced import HERE

# By the braces around a place the list of the grammar that its statements stand in.
_LISTS = {"file": ":_item", "body": ":_statement", "scan": ":_step"}
KINDS = ("binary", "real", "class", "choice")
_AFTER_AXIS_WORD = re.compile(r"\b(?:over|like)\s+\w*$")
_MEMBER = re.compile(r"\b([A-Za-z_]\w*)\.\w*$")
_ROLE = re.compile(r"\bspace\s+\w+\s*(?:\[[^\]]*\])?\s*from\s+\w*$")
_KIND = re.compile(r"\bpredict\s+\w+\s*:\s*\w*$")
_PLACE = re.compile(r"\bplace\s+(?:[\w.]+\s*,\s*)*[\w.]*$")
_ON = re.compile(r"\bplace\s+[\w.,\s]+\son\s+\w*$")
_ENCODED = re.compile(r"(?:\btable\s+\w+\s*=|^\s*\w+\s*:|[{,]\s*\w+\s*:)\s*\w*$")
_USE = re.compile(r"^\s*(?:use|extends)\s+\w*$")
_OPTION_VALUE = re.compile(r"\b(\w+)\s*=\s*\w*$")
_BEGINS = re.compile(r"^\s*\w*$")


@dataclass(frozen=True)
class Completion:
    """One thing that can stand there. kind: as in `Declared`, or "keyword", "option", "built-in", "value"."""

    label: str
    kind: str
    detail: str = ""
    doc: str = ""
    insert: str = ""


def completions(now: Analysis, sound: Analysis, offset: int) -> list[Completion]:
    """What can stand at an offset of a text, which may be in the middle of a word.

    sound: the analysis of the text when it last had no syntax faults; it knows what a broken text hides.
    """
    text = now.source.text
    line = text[text.rfind("\n", 0, offset) + 1 : offset]
    if "#" in line and line.count('"', 0, line.index("#")) % 2 == 0:
        return []
    if line.count('"') % 2:
        return []
    known = _known(now, sound, offset)
    around = _braces(now, offset)
    found = list(_at(line, around, known, now, sound, offset))
    return list({c.label: c for c in reversed(found)}.values())[::-1]


def _at(
    line: str, around: str, known: list[Declared], now: Analysis, sound: Analysis, offset: int
) -> Iterator[Completion]:
    if member := _MEMBER.search(line):
        yield from _members(member[1], sound)
        return
    if _ON.search(line):
        yield from _of(known, "device")
        yield Completion(SHARDED, "keyword", "tables, divided between the processes that train")
        return
    if _PLACE.search(line):
        yield from _of(known, "table", "learned value", "layer", "binding", "space")
        yield Completion("rest", "keyword", "all that is placed nowhere else")
        return
    if _ROLE.search(line):
        yield from (Completion(role, "keyword") for role in ROLES)
        return
    if _KIND.search(line):
        yield from (Completion(kind, "keyword") for kind in KINDS)
        return
    if _USE.search(line) and sound.program is not None:
        yield from (Completion(name, "library") for name in sound.program.libraries())
        return
    if _AFTER_AXIS_WORD.search(line):
        yield from _of(known, "axis")
        return
    inside = calls.call_at(now.source, offset)
    if around == "train" and inside is None:
        yield from _recipe(line)
        return
    if around == "space" and inside is None and _ENCODED.search(line):
        yield from _encodings(known)
        return
    if re.search(r"\btable\s+\w+\s*=\s*\w*$", line):
        yield from _encodings([])
        return
    if inside is not None:
        yield from _options(inside, line, sound)
    elif _BEGINS.match(line):
        words = sorted(HERE[_LISTS[around]]) if around in _LISTS else ()
        yield from (Completion(word, "keyword") for word in words)
    yield from _values(known, sound)


def _known(now: Analysis, sound: Analysis, offset: int) -> list[Declared]:
    """What can be named there, by the text as it is, then by the text as it was."""
    here = list(now.names.known_at(offset))
    labels = {d.name for d in here}
    return here + [d for d in sound.names.known_at(offset) if d.name not in labels]


def _braces(now: Analysis, offset: int) -> str:
    """In whose braces an offset is: "file", "body", "scan", "space", "train"."""
    text = now.source.text[:offset]
    depth = 0
    for at in range(len(text) - 1, -1, -1):
        if text[at] == "}":
            depth += 1
        elif text[at] == "{":
            if depth == 0:
                head = text[text.rfind("\n", 0, at) + 1 : at]
                word = head.split(maxsplit=1)[0] if head.split() else ""
                if word in ("space", "train", "scan"):
                    return word
                return "file" if word == "extends" else "body"
            depth -= 1
    return "file"


def _of(known: Iterable[Declared], *kinds: str) -> Iterator[Completion]:
    return (Completion(d.name, d.kind, d.kind, d.doc or "") for d in known if d.kind in kinds)


def _members(base: str, sound: Analysis) -> Iterator[Completion]:
    program = sound.program
    if program is None:
        return
    space = program.main.named.get(base)
    if isinstance(space, tree.Space):
        for field in space.fields:
            yield Completion(field.ident.name, "field", field.encoding.span.text)
    library = program.main.uses.get(base)
    for name, item in () if library is None else library.named.items():
        if isinstance(item, tree.Block):
            known = calls.of_block(item)
            yield Completion(name, item.kind, known.usage, known.doc)


def _recipe(line: str) -> Iterator[Completion]:
    option = _OPTION_VALUE.search(line)
    if option is None:
        yield from (Completion(key, "option", insert=f"{key} = ") for key in KEYS)
    elif option[1] == "optimizer":
        yield from (Completion(name, "value", insert=f"{name}(") for name in OPTIMIZERS)
    elif option[1] == "metric":
        yield from (Completion(name, "value") for name in METRICS)


def _encodings(known: Iterable[Declared]) -> Iterator[Completion]:
    yield from _of(known, "table")
    for name in ENCODINGS:
        found = calls.callable_of(name, None)
        assert found is not None
        yield Completion(name, "encoding", found.usage, found.doc, f"{name}(")


def _options(inside: calls.Inside, line: str, sound: Analysis) -> Iterator[Completion]:
    """The options of the call around, or the choices of the one whose value stands there."""
    found = calls.callable_of(inside.name, sound.program)
    option = _OPTION_VALUE.search(line)
    if option is not None:
        yield from _choices(inside.name, option[1], sound)
        return
    for name, default in () if found is None else found.options:
        yield Completion(name, "option", f"{name} = {default}" if default else name, insert=f"{name} = ")
    for word in ("over", "as", "where"):
        yield Completion(word, "keyword")


def _choices(callee: str, option: str, sound: Analysis) -> Iterator[Completion]:
    found = None if sound.program is None else sound.program.block(sound.program.main, callee)
    for static in () if found is None else found[1].statics:
        if static.ident.name == option and isinstance(static.domain, tree.Choices):
            yield from (Completion(item.span.text, "value") for item in static.domain.items)
    from specc.elaborate.builtins.registry import BUILTINS

    known = BUILTINS.get(callee)
    for own in () if known is None else known.options:
        if own.name == option:
            yield from (Completion(choice, "value") for choice in own.choices)


def _values(known: Iterable[Declared], sound: Analysis) -> Iterator[Completion]:
    for declared in known:
        if declared.kind not in ("axis", "field", "prediction", "output", "loss", "device"):
            detail = sound.static(declared.name) if declared.kind == "param" else ""
            yield Completion(declared.name, declared.kind, detail or declared.kind, declared.doc or "")
    for name in calls.names(sound.program):
        found = calls.callable_of(name, sound.program)
        if found is not None:
            yield Completion(name, "built-in", found.usage, found.doc)
