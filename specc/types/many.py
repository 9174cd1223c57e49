"""Numbers of many variants at once: what a param is in each of them, and all that is computed from it.

A variant takes the course of the first for as long as nothing that is asked of its numbers has another answer
in it: a comparison, a truth, a length, a text. Then it is told apart, and has to be looked at by itself; what
is computed for it from there on means nothing. (PyTorch's SymInt works so: a guard for each question.)

Promises: no question of Python's can be asked of a `Many` without being answered for all its variants.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from specc.frozen import dataclass

# What an operation on numbers of other kinds or sizes may raise.
_FAILS = (ArithmeticError, TypeError, ValueError)


class Variants:
    """Variants that are looked at together. `apart` holds, by number, those that have left the first's
    course."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.apart: set[int] = set()

    def number(self, values: list[Any]) -> Any:
        """Return a number by variant; a plain one if it is the same in all."""
        first, count = values[0], self.count
        kinds = list(map(type, values))
        if kinds.count(kinds[0]) != count:
            self.apart.update(i for i, kind in enumerate(kinds) if kind is not kinds[0])
        return first if values.count(first) == count else Many(self, values)

    def answer(self, values: list[Any]) -> Any:
        """Return the first variant's answer; those that have another are told apart."""
        first = values[0]
        if values.count(first) != self.count:
            self.apart.update(i for i, value in enumerate(values) if value != first)
        return first


@dataclass(frozen=True)
class Chosen:
    """What a param is set to in some of the variants, by number; in the others it is its default."""

    variants: Variants
    values: Mapping[int, int | float]

    def over(self, default: Any) -> Any:
        """Return the param's number, where the default is this one."""
        values = [*default._values] if type(default) is Many else [default] * self.variants.count
        for index, value in self.values.items():
            values[index] = value
        return self.variants.number(values)


def asked(question: Callable[[Any], bool], number: Any) -> bool:
    """Return the answer to a question about a number, asked of each variant's."""
    if type(number) is not Many:
        return question(number)
    return bool(number._variants.answer([question(value) for value in number._values]))


def nowhere(number: Any) -> bool:
    """Return whether a number is 0 in every variant. This is no question that tells variants apart: both
    answers lead to correct code."""
    return not any(number._values) if type(number) is Many else not number


class Many:
    """A number that is another one in each variant; to the rest of the compiler, a number of the first's
    kind."""

    __slots__ = ("_values", "_variants")

    def __init__(self, variants: Variants, values: list[Any]) -> None:
        self._variants = variants
        self._values = values

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._values[0])


def _each(op: Callable[..., Any], variants: Variants, *sides: list[Any]) -> list[Any]:
    """Return the result of an operation in each variant. Variants in which it fails, though not in the
    first, are told apart; if it fails in the first, those in which it does not are, and its error is raised.
    """
    try:
        return list(map(op, *sides))
    except _FAILS:
        found: dict[int, Any] = {}
    for index in range(variants.count):
        with suppress(*_FAILS):
            found[index] = op(*(side[index] for side in sides))
    if 0 not in found:
        variants.apart.update(found)
        op(*(side[0] for side in sides))
    variants.apart.update(set(range(variants.count)) - set(found))
    return [found.get(index, found[0]) for index in range(variants.count)]


def _binary(op: Callable[[Any, Any], Any], give: str, swapped: bool = False) -> Callable[[Many, Any], Any]:
    def method(self: Many, other: Any) -> Any:
        if type(other) is Many:
            others = other._values
        elif isinstance(other, int | float):
            others = [other] * self._variants.count
        else:
            return NotImplemented
        sides = (others, self._values) if swapped else (self._values, others)
        return getattr(self._variants, give)(_each(op, self._variants, *sides))

    return method


def _unary(op: Callable[[Any], Any], give: str) -> Callable[[Many], Any]:
    def method(self: Many) -> Any:
        return getattr(self._variants, give)(_each(op, self._variants, self._values))

    return method


def _format(self: Many, how: str) -> str:
    return str(self._variants.answer([format(value, how) for value in self._values]))


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow"):
    _op = getattr(operator, _name)
    setattr(Many, f"__{_name}__", _binary(_op, "number"))
    setattr(Many, f"__r{_name}__", _binary(_op, "number", swapped=True))
for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    setattr(Many, f"__{_name}__", _binary(getattr(operator, _name), "answer"))
for _name in ("neg", "pos", "abs"):
    setattr(Many, f"__{_name}__", _unary(getattr(operator, _name), "number"))
for _name, _op in (
    ("bool", bool), ("int", int), ("index", operator.index), ("float", float), ("hash", hash), ("str", str),
    ("repr", repr), ("round", round), ("trunc", int),
):  # fmt: skip
    setattr(Many, f"__{_name}__", _unary(_op, "answer"))
Many.__format__ = _format  # type: ignore[assignment]
