"""`dataclass`, as the standard library's, with classes made in a quarter of the time.

Making the compiler's hundred classes was a third of the time of a first compilation.
Promises: `@dataclass`, with `frozen`, `eq` and `kw_only`, gives what `dataclasses.dataclass` gives
(fields, `replace`, `match`, equality, hash, repr, `FrozenInstanceError`); only `__init__` is made for each
class, all else is written once. A frozen class inherits from no frozen class that was made otherwise.
"""

from __future__ import annotations

import dataclasses
from dataclasses import MISSING, Field, FrozenInstanceError
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(cls=None, /, *, frozen=False, eq=True, **options):
        if cls is None:
            return lambda cls: dataclass(cls, frozen=frozen, eq=eq, **options)
        cls.__doc__ = cls.__doc__ or cls.__name__  # or its signature would be looked for
        cls = dataclasses.dataclass(cls, init=False, repr=False, eq=False, **options)
        methods = {"__init__": _initializer(cls, frozen), "__repr__": _repr}
        if frozen:
            methods |= {"__setattr__": _refuse, "__delattr__": _refuse}
        if eq:
            names = [f.name for f in dataclasses.fields(cls) if f.compare]
            cls._compared = attrgetter(*names) if names else type
            methods |= {"__eq__": _eq, "__hash__": _hash if frozen else None}
        for name, method in methods.items():
            if cls.__dict__.get(name) is None:  # what is written by hand stays
                setattr(cls, name, method)
        return cls


def _initializer(cls: type, frozen: bool) -> Any:
    """`__init__`, which takes the fields in their order and sets them."""
    known: dict[str, Any] = {"_set": object.__setattr__, "_MISSING": MISSING}
    places: list[str] = []
    named: list[str] = []
    lines: list[str] = []
    for field in dataclasses.fields(cls):
        name, value = field.name, field.name
        if field.default_factory is not MISSING:
            known[f"_make_{name}"] = field.default_factory
            value = f"_make_{name}() if {name} is _MISSING else {name}" if field.init else f"_make_{name}()"
        if field.init:
            (named if field.kw_only else places).append(name + _default(field, known))
        if field.init or field.default_factory is not MISSING:
            lines.append(f"    _set(self, {name!r}, {value})" if frozen else f"    self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        lines.append("    self.__post_init__()")
    parameters = ", ".join(["self", *places, *(["*", *named] if named else [])])
    # Of names that the class declares.
    exec(f"def __init__({parameters}):\n" + "\n".join(lines or ["    pass"]), known)  # noqa: S102
    return known["__init__"]


def _default(field: Field[Any], known: dict[str, Any]) -> str:
    if field.default_factory is not MISSING:
        return "=_MISSING"
    if field.default is MISSING:
        return ""
    known[f"_default_{field.name}"] = field.default
    return f"=_default_{field.name}"


def _repr(self: Any) -> str:
    shown = (f"{f.name}={getattr(self, f.name)!r}" for f in dataclasses.fields(self) if f.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _eq(self: Any, other: Any) -> Any:
    return self._compared(self) == self._compared(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash(self._compared(self))


def _refuse(self: Any, name: str, *value: object) -> NoReturn:
    raise FrozenInstanceError(f"cannot change {name!r} of a {type(self).__name__}")
