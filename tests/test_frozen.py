"""Our frozen dataclasses are the standard library's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import FrozenInstanceError, field, fields, replace
from typing import Any

import pytest

from specc import frozen

Decorator = Callable[..., Any]


def classes(dataclass: Decorator) -> tuple[Any, Any, Any]:
    @dataclass(frozen=True, kw_only=True)
    class Node:
        span: int = field(default=0, compare=False, repr=False)

    @dataclass(frozen=True)
    class Call(Node):
        """A call."""

        name: str
        args: tuple[Any, ...] = ()
        found: dict[str, int] = field(default_factory=dict)
        cache: list[int] = field(default_factory=list, init=False, compare=False)

        def __post_init__(self) -> None:
            self.cache.append(len(self.args))

    @dataclass(frozen=True)
    class Empty(Node):
        pass

    return Node, Call, Empty


@pytest.fixture(params=[dataclasses.dataclass, frozen.dataclass], ids=["standard", "ours"])
def made(request: pytest.FixtureRequest) -> tuple[Any, Any, Any]:
    return classes(request.param)


def test_what_is_made(made: tuple[Any, Any, Any]) -> None:
    _, call, empty = made
    x = call("f", (1, 2), span=3)
    assert (x.name, x.args, x.found, x.cache, x.span) == ("f", (1, 2), {}, [2], 3)
    assert repr(x).split("Call")[-1] == "(name='f', args=(1, 2), found={}, cache=[2])"
    assert repr(empty(span=1)).endswith("Empty()")
    assert [f.name for f in fields(x)] == ["span", "name", "args", "found", "cache"]
    assert call("f").found is not call("f").found
    assert call.__doc__ == "A call."
    match x:
        case call(name, args):
            assert (name, args) == ("f", (1, 2))
    with pytest.raises(TypeError, match="name"):
        call()
    with pytest.raises(TypeError):
        call("f", (), {}, 3)


def test_equality(made: tuple[Any, Any, Any]) -> None:
    node, call, empty = made
    assert call("f", (1,), span=3) == call("f", (1,), span=4)
    assert call("f", (1,)) != call("f", (2,))
    assert empty() == empty(span=2)
    assert empty() != node()
    assert call("f") != "f"
    assert hash(empty()) == hash(empty(span=2))
    assert len({node(), node(span=1), empty()}) == 2


def test_a_copy_with_changes(made: tuple[Any, Any, Any]) -> None:
    _, call, _ = made
    x = replace(call("f", (1,), span=3), name="g")
    assert (x.name, x.args, x.span) == ("g", (1,), 3)


@pytest.mark.parametrize("dataclass", [dataclasses.dataclass, frozen.dataclass], ids=["standard", "ours"])
def test_what_is_written_by_hand_stays(dataclass: Decorator) -> None:
    @dataclass(frozen=True)
    class Set:
        items: tuple[int, ...]

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Set) and set(self.items) == set(other.items)

        def __hash__(self) -> int:
            return hash(frozenset(self.items))

        def __repr__(self) -> str:
            return "a set"

    assert Set((1, 2)) == Set((2, 1))
    assert len({Set((1, 2)), Set((2, 1))}) == 1
    assert repr(Set(())) == "a set"


def test_nothing_changes(made: tuple[Any, Any, Any]) -> None:
    _, call, _ = made
    x = call("f")
    with pytest.raises(FrozenInstanceError, match="name"):
        x.name = "g"
    with pytest.raises(FrozenInstanceError, match="name"):
        del x.name


@pytest.mark.parametrize("dataclass", [dataclasses.dataclass, frozen.dataclass], ids=["standard", "ours"])
def test_one_that_changes(dataclass: Decorator) -> None:
    @dataclass
    class Count:
        name: str
        found: list[int] = field(default_factory=list)
        number: int = 0

    x = Count("a")
    x.number += 1
    assert (x.name, x.found, x.number) == ("a", [], 1)
    assert x == Count("a", [], 1)
    assert x != Count("b", [], 1)
    assert repr(x).endswith("Count(name='a', found=[], number=1)")
    with pytest.raises(TypeError):
        hash(x)
