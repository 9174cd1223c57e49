"""What is known of an operation is asked of its definition: no other file keeps a list of names of its own.

Where a pass looks for a pattern, or makes an operation, it names it by a constant of `specc.ops.op`: one
that is misspelt fails at import.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import specc
from specc.interpret.meaning import MEANINGS, means, means_across
from specc.ops import OPS, known, op

HOME = Path(specc.__file__).parent
# Files in which such words are no operations.
OTHER_WORDS = {
    "elaborate/encodings.py": "how a bag's rows become one: `bag(tags, mean)`",
    "syntax/foreign.py": "Python's words (`and`, `or`, `not`), for hints about mistakes",
    "syntax/documents.py": "words of the language (`not`), which the editor explains",
    "syntax/forms.py": "what is called in other libraries, for hints about mistakes",
    "types/many.py": "Python's own operators, whose methods are made in a loop",
}
# Functions whose first or second argument names the operation of a node.
MAKERS = ("add", "put", "Node", "_about")


def named(part: ast.expr) -> bool:
    return isinstance(part, ast.Constant) and isinstance(part.value, str) and part.value in OPS


def literals(tree: ast.Module) -> Iterator[ast.expr]:
    """Texts that name an operation: compared with a node's, matched against it, given to a new node, or in a
    table or set of such names."""
    for part in ast.walk(tree):
        match part:
            case ast.Compare(left=left, comparators=others):
                sides = [left, *others]
                if any(isinstance(s, ast.Attribute) and s.attr == "op" for s in sides):
                    yield from (e for s in sides for e in ast.walk(s) if isinstance(e, ast.expr) and named(e))
            case ast.Match(subject=ast.Attribute(attr="op"), cases=cases):
                patterns = (p for case in cases for p in ast.walk(case.pattern))
                yield from (p.value for p in patterns if isinstance(p, ast.MatchValue) and named(p.value))
            case ast.Call(func=func, args=arguments, keywords=keywords):
                name = func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")
                if name in MAKERS and len(arguments) > 1:
                    yield from (a for a in arguments[:2] if named(a))
                yield from (k.value for k in keywords if k.arg == "op" and named(k.value))
            case ast.Set(elts=parts) | ast.Tuple(elts=parts) | ast.List(elts=parts):
                if len(parts) > 2 and all(map(named, parts)):
                    yield from parts
            case ast.Dict(keys=keys):
                if len(keys) > 2 and all(key is not None and named(key) for key in keys):
                    yield from (key for key in keys if key is not None)


def test_no_file_has_names_of_its_own() -> None:
    found = {
        f"{path.relative_to(HOME)}:{literal.lineno} {ast.unparse(literal)}"
        for path in sorted(HOME.rglob("*.py"))
        if path.parent.name != "ops" and str(path.relative_to(HOME)) not in OTHER_WORDS
        for literal in literals(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert not found


def test_an_unknown_name_fails_where_it_is_entered() -> None:
    for enter in (
        known,
        lambda names: means(*names)(MEANINGS[op.ADD]),
        lambda names: means_across(*names)(None),
    ):
        with pytest.raises(KeyError, match="there is no operation softmux"):
            enter(["softmux"])


def test_every_operation_has_a_constant() -> None:
    constants = {key: value for key, value in vars(op).items() if key.isupper()}
    assert set(constants.values()) == set(OPS)
    assert all(key == value.upper() for key, value in constants.items())
