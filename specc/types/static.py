"""Static values: what params, widths and options are, and their arithmetic.

Promises: arithmetic on two static values gives a value or a `StaticFault` with a reason in the
language's terms; never a Python error. Integers stay integers where the result is whole by rule
(`/` of two integers that divide evenly is an integer, else a real number).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from specc.frozen import dataclass

LARGEST = 10**15


class StaticFault(Exception):
    """Why a static expression has no value; the text is for the user."""


@dataclass(frozen=True)
class Symbol:
    """A bare word that stands for itself, such as `interactive` in a domain."""

    name: str

    def __str__(self) -> str:
        return self.name


StaticValue = Any  # int | float | bool | str | Symbol | tuple[StaticValue, ...] | layers


def describe(value: object) -> str:
    """Return a static value as it would be written in a spec."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple):
        return "[" + ", ".join(describe(v) for v in value) + "]"
    return str(value)


def kind_of(value: object) -> str:
    """Return what sort of static value this is, in words."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int):
        return "an integer"
    if isinstance(value, float):
        return "a number"
    if isinstance(value, str):
        return "a text"
    if isinstance(value, tuple):
        return "a list"
    if isinstance(value, Symbol):
        return f"the word `{value}`"
    return "a layer"


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def whole_between(value: object, least: int, most: int | None = None) -> str:
    """Return what to write instead of a value that is no integer between two bounds."""
    if not is_number(value):
        return f"write a number without quotes, such as {least or 1}" if isinstance(value, str) else ""
    assert isinstance(value, int | float)
    if most is not None and value > most:
        return f"write {most:,} at most"
    return f"write {least} or more" if value < least else f"write a whole number, such as {int(value)}"


def real(number: float) -> float:
    """Return a number as a float; for many variants, in each."""
    return number * 1.0


def _divide(a: float, b: float) -> float:
    if b == 0:
        raise StaticFault("division by zero")
    if isinstance(a, int) and isinstance(b, int):
        return a // b if a % b == 0 else a / b
    return a / b


def _modulo(a: float, b: float) -> float:
    if b == 0:
        raise StaticFault("remainder of a division by zero")
    return a % b


def _power(a: float, b: float) -> float:
    if abs(b) > 64 or (a == 0 and b < 0):
        raise StaticFault(f"{describe(a)} ^ {describe(b)} has no sensible value")
    result = a**b
    if isinstance(result, complex):
        raise StaticFault(f"{describe(a)} ^ {describe(b)} is not a real number")
    return result  # type: ignore[no-any-return]


_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": _divide,
    "%": _modulo,
    "^": _power,
}
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def binary(op: str, a: StaticValue, b: StaticValue) -> StaticValue:
    """Return `a op b`. Raises StaticFault with the reason if it has no value."""
    if op in ("==", "!="):
        return (a == b and isinstance(a, bool) == isinstance(b, bool)) == (op == "==")
    if op in ("and", "or"):
        if not (isinstance(a, bool) and isinstance(b, bool)):
            other = b if isinstance(a, bool) else a
            raise StaticFault(f"`{op}` joins conditions, and {describe(other)} is {kind_of(other)}")
        return (a and b) if op == "and" else (a or b)
    if op == "+" and isinstance(a, tuple) and isinstance(b, tuple):
        return a + b
    if not (is_number(a) and is_number(b)):
        other = b if is_number(a) else a
        raise StaticFault(f"`{op}` needs numbers, and {describe(other)} is {kind_of(other)}")
    if op in _ORDER:
        return _ORDER[op](a, b)
    try:
        result = _ARITHMETIC[op](a, b)
    except OverflowError:
        raise StaticFault("the number is too large") from None
    if abs(result) > LARGEST:
        raise StaticFault(f"the number is too large (beyond {LARGEST:,})")
    return result


def unary(op: str, a: StaticValue) -> StaticValue:
    """Return `-a` or `not a`. Raises StaticFault."""
    if op == "not":
        if not isinstance(a, bool):
            raise StaticFault(f"`not` needs a condition, and {describe(a)} is {kind_of(a)}")
        return not a
    if not is_number(a):
        raise StaticFault(f"`-` needs a number, and {describe(a)} is {kind_of(a)}")
    return -a
