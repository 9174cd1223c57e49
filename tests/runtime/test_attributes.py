"""Tensors carry no messages: what an operation has to tell another is a value, or an argument in the text."""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from specc.testing import random_batch
from specc_runtime import ops
from tests.oracle.subjects import compiled
from tests.specs.small import small

RUNTIME = Path(ops.__file__).parents[1]
# Of what attributes are set by name: a class while it is made.
NAMED = {"model.py": {"cls"}, "frozen.py": {"cls"}, "unfilled.py": {"_Waiting"}}


@pytest.mark.parametrize("name", ["dien", "din", "bst"])
def test_nothing_is_kept_in_attributes_of_tensors(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Tensor] = []

    def seen(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            found = function(*args, **options)
            made.extend(x for x in (found if isinstance(found, tuple) else (found,)) if isinstance(x, Tensor))
            return found

        return call

    for of in ("embed", "lookup", "recur", "paired", "product", "attend", "expand", "weighted_sum"):
        monkeypatch.setattr(ops, of, seen(getattr(ops, of)))
    model = compiled(small(name), "default")
    batch = random_batch(model.manifest, 3, seed=1, longest=4, full=True)
    model.loss(batch).backward()
    assert made
    assert not [vars(x) for x in (*made, *model.parameters()) if vars(x)]


def test_no_attribute_of_the_runtime_goes_by_a_name_at_run_time() -> None:
    """That is how attributes were put on tensors."""
    found = [
        f"{path.relative_to(RUNTIME)}:{node.lineno}"
        for path in sorted(RUNTIME.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "setattr"
        and ast.unparse(node.args[0]) not in NAMED.get(path.name, ())
    ]
    assert not found
