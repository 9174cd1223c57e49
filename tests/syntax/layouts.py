"""The same spec in other layouts, and trees that nobody wrote: what the formatter is tested on."""

from __future__ import annotations

import random
import re
from typing import Any

from hypothesis import strategies as st

from specc.report import Report
from specc.source import Source
from specc.syntax import tree
from specc.syntax.layout import lay_out
from specc.syntax.lexer import lex

_BRACKETS = {"(": 1, "[": 1, ")": -1, "]": -1}


def shaken(text: str, chance: random.Random, comments: int = 0) -> str:
    """The same tokens and comments, otherwise spaced; with so many comments more, at most.

    Blank lines stay where they are, and comments beside what they stand beside.
    """
    report = Report()
    source = Source("<test>", text)
    tokens = [
        t for t in lay_out(lex(source, report).tokens, len(text)).tokens if t.kind not in ("_NL", "$END")
    ]
    out = [text[: tokens[0].start]]
    inside = ["{"]  # pretend: the file is a body
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        out.append(token.text)
        if token.kind in ("(", "[", "{"):
            inside.append(token.kind)
        elif token.kind in (")", "]", "}"):
            inside.pop()
        gap = text[token.stop : following.start if following else len(text)]
        bracketed = inside[-1] != "{"
        if following is None:
            out.append(gap)
            continue
        ends_line = bracketed or token.kind in ("{", ",") or following.kind in ("|>", "}")
        if "#" in gap or ("\n" in gap and not ends_line):
            gap = re.sub(r"\n[ \t]*(?=\S|$)", lambda _: "\n" + _blanks(chance), gap)
        elif not ("\n" in gap and token.kind == "{") and ends_line and chance.random() < 0.3:
            gap = chance.choice(["\n", " \n\t"]) + _blanks(chance)
        elif "\n" not in gap or bracketed or following.kind == "|>":
            gap = _blanks(chance) or (" " if gap or _touch(token.text, following.text) else "")
        if comments and ends_line and "#" not in gap and chance.random() < 0.05:
            comments -= 1
            own = "\n" * (chance.random() < 0.5)
            gap = f"{own}  # remark {comments}\n{_blanks(chance)}"
        out.append(gap)
    return "".join(out)


def _blanks(chance: random.Random) -> str:
    return chance.choice(["", " ", "  ", "\t", "    "])


def _touch(left: str, right: str) -> bool:
    return re.match(r"\w", left[-1]) is not None and re.match(r"[\w.]", right[0]) is not None


# ------------------------------------------------------------------- trees

NAMES = st.sampled_from(["a", "b", "gate", "interests", "a_rather_long_name_of_something"])
IDENTS = NAMES.map(tree.Ident)
REFS = NAMES.map(tree.Ref)
NUMBERS = st.one_of(
    st.integers(0, 10**6).map(lambda n: tree.Number(n, str(n))),
    st.floats(0, 1e6, allow_subnormal=False).map(lambda x: tree.Number(x, repr(x))),
)
TEXTS = st.text(st.sampled_from('ab "\\\n\t#é'), max_size=6).map(tree.Text)
ATOMS = st.one_of(REFS, NUMBERS, TEXTS, st.booleans().map(tree.Bool), st.builds(tree.Attribute, REFS, IDENTS))
OPERATORS = st.sampled_from(["+", "-", "*", "/", "%", "^", "==", "!=", "<", "<=", ">", ">=", "and", "or"])


def _tuples(items: st.SearchStrategy[Any], least: int = 0, most: int = 4) -> st.SearchStrategy[Any]:
    return st.lists(items, min_size=least, max_size=most).map(tuple)


def _arguments(exprs: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.builds(tree.Positional, exprs),
        st.builds(tree.Keyword, IDENTS, exprs),
        st.builds(tree.Over, IDENTS, st.none() | IDENTS, st.none() | exprs),
        st.builds(tree.As, IDENTS),
        st.builds(tree.By, exprs),
        st.builds(tree.To, IDENTS, IDENTS),
        st.builds(tree.From, TEXTS),
    )


def _wider(exprs: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    calls = st.builds(
        tree.Call, st.one_of(REFS, st.builds(tree.Attribute, REFS, IDENTS)), _tuples(_arguments(exprs))
    )
    return st.one_of(
        calls,
        st.builds(tree.List, _tuples(exprs)),
        st.builds(tree.Index, REFS | st.builds(tree.Index, REFS, exprs), exprs),
        st.builds(tree.Unary, st.sampled_from(["-", "not"]), exprs),
        st.builds(tree.Binary, OPERATORS, exprs, exprs),
        st.builds(tree.If, exprs, exprs, exprs),
        st.builds(tree.Pipe, exprs, st.one_of(calls, REFS)),
    )


EXPRS = st.recursive(ATOMS, _wider, max_leaves=14)
DOMAINS = st.one_of(st.builds(tree.Choices, _tuples(EXPRS, 1)), st.builds(tree.Range, EXPRS, EXPRS))
TYPES = st.builds(tree.TypeExpr, _tuples(IDENTS, 0, 2), EXPRS)
DOCS = st.one_of(st.none(), st.sampled_from(["one line", "two\nlines", "a gap\n\n  and more"]))


def _statement(node: Any, *parts: Any) -> st.SearchStrategy[Any]:
    return st.builds(node, *parts, doc=DOCS)


BINDINGS = _statement(tree.Binding, IDENTS, EXPRS) | _statement(tree.Unpack, _tuples(IDENTS, 2), EXPRS)
LAYERS = _statement(tree.Layer, IDENTS, EXPRS)
LEARNED = _statement(
    tree.Learned,
    IDENTS,
    _tuples(st.builds(tree.LearnedAxis, IDENTS, st.none() | EXPRS), 0, 2),
    EXPRS,
    st.none() | EXPRS,
)
REQUIRES = _statement(tree.Require, EXPRS, st.none() | TEXTS)
STATES = _tuples(st.builds(tree.State, IDENTS, EXPRS, st.none() | EXPRS), 1, 3)
STEPS = _tuples(st.one_of(BINDINGS, LAYERS, _statement(tree.Next, IDENTS, EXPRS)))
SCANS = _statement(tree.Scan, STATES, IDENTS, st.booleans(), STEPS)
BODIES = _tuples(
    st.one_of(BINDINGS, _statement(tree.Return, _tuples(EXPRS, 1, 3)), SCANS, LAYERS, LEARNED, REQUIRES), 0, 5
)
BLOCKS = _statement(
    tree.Block,
    st.sampled_from(["block", "encoder", "attention"]),
    IDENTS,
    _tuples(st.builds(tree.Input, IDENTS, TYPES), 0, 3),
    _tuples(st.builds(tree.Static, IDENTS, st.none() | EXPRS, st.none() | DOMAINS), 0, 3),
    _tuples(TYPES, 1, 3),
    BODIES,
)
AXES = st.one_of(
    st.builds(tree.AxisDecl, IDENTS, EXPRS),
    st.builds(tree.AxisDecl, IDENTS, st.none(), st.just(True)),
)
SPACES = _statement(
    tree.Space,
    IDENTS,
    _tuples(AXES, 0, 2),
    IDENTS,
    _tuples(st.builds(tree.Field, IDENTS, EXPRS, st.none() | TEXTS)),
)
KINDS = st.one_of(REFS, st.builds(tree.Call, REFS, st.just((tree.Positional(tree.Number(3, "3")),))))
PLACED = st.one_of(IDENTS, st.just(tree.Ident("user.id")))
SIMPLE = st.one_of(
    _statement(tree.Use, IDENTS, st.none() | IDENTS, st.none() | IDENTS),
    _statement(tree.Param, IDENTS, EXPRS, st.none() | DOMAINS),
    REQUIRES,
    _statement(tree.Table, IDENTS, EXPRS),
    SPACES,
    LEARNED,
    LAYERS,
    BLOCKS,
    BINDINGS,
    _statement(tree.Predict, IDENTS, KINDS, EXPRS, st.none() | TEXTS),
    _statement(tree.Loss, IDENTS, EXPRS),
    _statement(tree.Device, IDENTS, TEXTS),
    _statement(tree.Place, _tuples(PLACED), IDENTS),
    _statement(tree.Train, _tuples(st.builds(tree.Entry, IDENTS, EXPRS))),
)
DROPS = _statement(tree.Drop, _tuples(IDENTS, 1))
EXTENDS = _statement(tree.Extends, IDENTS, _tuples(st.one_of(SIMPLE, DROPS), 0, 3))
FILES = st.builds(
    tree.File,
    st.sampled_from([None, 1]),
    st.sampled_from(["model", "library"]),
    IDENTS,
    st.builds(lambda base, body: (base, *body) if base else body, st.none() | EXTENDS, _tuples(SIMPLE, 0, 6)),
    doc=DOCS,
)
