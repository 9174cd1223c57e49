"""Generated modules live as long as what they define, and tracebacks show their lines meanwhile."""

from __future__ import annotations

import copy
import gc
import inspect
import linecache
import sys
import traceback
from typing import Any

import pytest

import specc

SPEC = """model tiny
space ad from candidate { item: ids(10, 4) }
predict click: binary = ad |> mlp([4]) |> linear(1)
"""


def known() -> tuple[set[str], set[str]]:
    """The generated modules in `sys.modules`, and their files in `linecache`."""
    gc.collect()
    modules = {name for name in sys.modules if name.startswith("arec_tiny_")}
    return modules, {name for name in linecache.cache if name.startswith("<tiny:")}


def test_what_is_compiled_leaves_nothing_behind() -> None:
    assert known() == (set(), set())
    for _ in range(5):
        specc.compile(SPEC)
    assert known() == (set(), set())


def test_objects_do_not_grow() -> None:
    def count() -> int:
        for _ in range(10):
            specc.compile(SPEC)
        gc.collect()
        return len(gc.get_objects())

    count()  # what is made once
    before = count()
    # A module is hundreds of objects.
    assert count() - before < 50


def test_lines_are_shown_while_a_copy_is_alive() -> None:
    model: Any = specc.compile(SPEC)
    other = copy.deepcopy(model)
    del model
    assert [len(found) for found in known()] == [1, 1]
    assert "class Tiny" in inspect.getsource(type(other))
    assert getattr(sys.modules[type(other).__module__], "Tiny") is type(other)  # noqa: B009
    with pytest.raises(Exception, match="column") as raised:
        other.forward(None)
    assert 'batch.column("ad.item")' in "".join(traceback.format_exception(raised.value))
    del other, raised
    assert known() == (set(), set())
