"""What can be called: signatures of built-ins, encodings and blocks; and the call around a place."""

from __future__ import annotations

import re
from collections.abc import Iterator

from specc.elaborate.builtins.registry import BUILTINS
from specc.elaborate.builtins.signature import written
from specc.elaborate.encoding_options import OF_FIELDS, OF_TABLES
from specc.elaborate.encodings import ENCODINGS
from specc.elaborate.training import OPTIMIZERS
from specc.frozen import dataclass
from specc.names.program import Program
from specc.ops.definition import REQUIRED
from specc.report import Report
from specc.source import Source
from specc.syntax import tree
from specc.syntax.lexer import lex
from specc.syntax.print import print_statement

_USAGE = {
    "ids": ("ids(n, width)", "Integers from 0 on, each a row of a table of n."),
    "vocab": ("vocab(max, width)", "Keys that are learned from the training data, at most so many."),
    "hash": ("hash(n, width)", "Keys hashed into n rows."),
    "bucket": ("bucket(edges, width)", "A number's bucket; or `bucket(log2, n, width)`."),
    "time": ("time(part, width)", "A part of a timestamp: minute, hour, weekday, day, week, month, quarter."),
    "number": ("number(scale)", "A number; scale: none, standard, minmax or log1p."),
    "vector": ("vector(n)", "A list of n numbers."),
    "bag": ("bag(of, mode)", "Several keys at once, their rows' mean, sum or max."),
    "cross": ("cross(a, b, …; hash(n, width))", "A combination of fields as one key."),
}


@dataclass(frozen=True)
class Callable:
    """Something that can be called. parts: its arguments as written in `usage`, in order.

    options: those that are given by name, with what stands for their default.
    """

    name: str
    usage: str
    doc: str
    options: tuple[tuple[str, str], ...] = ()

    @property
    def parts(self) -> tuple[tuple[int, int], ...]:
        """Where each argument stands in `usage`."""
        start = self.usage.find("(") + 1
        found, depth, begin = [], 0, start
        for at in range(start, len(self.usage)):
            char = self.usage[at]
            if char in "([{":
                depth += 1
            elif char in ")]}" and depth:
                depth -= 1
            elif char in ",;)" and not depth:
                found.append((begin, at))
                begin = at + 1
                if char == ")":
                    break
        return tuple((a + len(self.usage[a:b]) - len(self.usage[a:b].lstrip()), b) for a, b in found if a < b)


def callable_of(name: str, program: Program | None) -> Callable | None:
    """What a name stands for where it is called; None if it can't be."""
    if program is not None:
        base, _, member = name.partition(".")
        module = program.main
        if member:
            library = module.uses.get(base)
            block = None if library is None else library.named.get(member)
        else:
            found = program.block(module, name)
            block = None if found is None else found[1]
        if isinstance(block, tree.Block):
            return of_block(block)
    if name in BUILTINS:
        known = BUILTINS[name]
        options = tuple((o.name, "" if o.default is REQUIRED else written(o.default)) for o in known.options)
        return Callable(name, known.usage, known.doc, options)
    if name in _USAGE:
        usage, doc = _USAGE[name]
        own = (*OF_FIELDS, *(OF_TABLES if name not in ("number", "vector") else ()))
        return Callable(name, usage, doc, tuple((option, "") for option in own))
    if name in OPTIMIZERS:
        own = tuple(OPTIMIZERS[name])
        return Callable(name, f"{name}({', '.join(own)})", "An optimizer.", tuple((o, "") for o in own))
    return None


def of_block(block: tree.Block) -> Callable:
    """A block's signature, on one line, and its doc."""
    lines = [line for line in print_statement(block) if not line.startswith("#")]
    # A block that has nothing in it yet is one line.
    head = lines[: next(i for i, line in enumerate(lines) if line.endswith(("{", "{ }"))) + 1]
    text = re.sub(r" \{( \})?$", "", " ".join(line.strip() for line in head))
    text = re.sub(r"(?<=\() |,? (?=\))", "", text).removeprefix(f"{block.kind} ")
    statics = tuple((s.ident.name, "" if s.default is None else s.default.span.text) for s in block.statics)
    return Callable(block.ident.name, text, block.doc or "", statics)


def names(program: Program | None) -> Iterator[str]:
    """The names of all built-ins and all blocks of the standard library."""
    yield from BUILTINS
    if program is not None:
        yield from program.prelude_names


assert set(_USAGE) == set(ENCODINGS)


@dataclass(frozen=True)
class Inside:
    """The call that a place in a text is in. argument: which of its arguments, from 0; piped: whether it gets
    its first input from a pipe."""

    name: str
    argument: int
    piped: bool


def call_at(source: Source, offset: int) -> Inside | None:
    """The innermost call whose brackets are open at an offset, in any text, broken ones too."""
    open_: list[tuple[str, int, bool] | None] = []  # callee, commas so far, piped; None for other brackets
    tokens = [t for t in lex(Source(source.name, source.text[:offset]), Report()).tokens if t.start < offset]
    for i, token in enumerate(tokens):
        if token.kind == "(":
            words: list[str] = []
            at = i - 1
            while at >= 0 and (tokens[at].kind == "NAME" or tokens[at].text == "."):
                if words and tokens[at].kind == "NAME" and words[-1] != ".":
                    break
                words.append(tokens[at].text)
                at -= 1
            name = "".join(reversed(words))
            open_.append((name, 0, at >= 0 and tokens[at].text == "|>") if name else None)
        elif token.kind in ("[", "{"):
            open_.append(None)
        elif token.kind in (")", "]", "}"):
            if open_:
                open_.pop()
        elif token.kind in (",", ";") and open_ and open_[-1] is not None:
            name, count, piped = open_[-1]
            open_[-1] = (name, count + 1, piped)
    while open_ and open_[-1] is None:
        open_.pop()
    if not open_ or open_[-1] is None:
        return None
    return Inside(*open_[-1])
