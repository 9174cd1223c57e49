"""`dataclass`, as the standard library's, with classes that are made when they are first used.

Making the compiler's two hundred classes, each with methods of its own, was a quarter of the time of a first
compilation. Objects of these classes are not made in code that torch.compile traces.
Promises: `@dataclass`, with `frozen`, `eq` and `kw_only`, gives what `dataclasses.dataclass` gives
(fields, `replace`, `match`, equality, hash, repr, `FrozenInstanceError`); only `__init__` is made for each
class, all else is written once. A frozen class inherits from no frozen class that was made otherwise. What a
class has of a field (its default) is there once the class is made: when its first object is, or when its
fields are asked for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import MISSING, FrozenInstanceError
from functools import cache
from operator import attrgetter
from threading import RLock
from types import CodeType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(cls=None, /, *, frozen=False, eq=True, **options):
        if cls is None:
            return lambda cls: dataclass(cls, frozen=frozen, eq=eq, **options)
        cls.__doc__ = cls.__doc__ or cls.__name__  # or its signature would be looked for
        methods = {"__repr__": _repr}
        if frozen:
            methods |= {"__setattr__": _refuse, "__delattr__": _refuse}
        if eq:
            methods |= {"__eq__": _eq, "__hash__": _hash if frozen else None}
        methods |= {name: _Later(name, cls, frozen, options) for name in _MADE}
        for name, method in methods.items():
            if cls.__dict__.get(name) is None:  # what is written by hand stays
                setattr(cls, name, method)
        return cls


_MADE = ("__dataclass_fields__", "__match_args__", "_compared", "__init__")
_making = RLock()


class _Later:
    """An attribute of a class: asked for, it makes the class."""

    def __init__(self, name: str, cls: type, frozen: bool, options: Mapping[str, Any]) -> None:
        self.name, self.cls, self.frozen, self.options = name, cls, frozen, options

    def __get__(self, instance: object, owner: type) -> Any:
        with _making:
            if self.cls.__dict__[self.name] is self:
                self.make()
        made = getattr(self.cls, self.name)
        return made if instance is None or self.name != "__init__" else MethodType(made, instance)

    def make(self) -> None:
        cls: Any = self.cls
        dataclasses.dataclass(cls, init=False, repr=False, eq=False, match_args=False, **self.options)
        fields = dataclasses.fields(cls)
        compared = [f.name for f in fields if f.compare]
        made = {
            "__match_args__": tuple(f.name for f in fields if f.init and not f.kw_only),
            "_compared": attrgetter(*compared) if compared else type,
            "__init__": _initializer(cls, self.frozen),
        }
        for name, value in made.items():
            if isinstance(cls.__dict__[name], _Later):
                setattr(cls, name, value)


def _initializer(cls: type, frozen: bool) -> Any:
    """`__init__`, which takes the fields in their order and sets them."""
    known: dict[str, Any] = {"_set": object.__setattr__, "_MISSING": MISSING}
    form, renamed, places, named = [], {}, [], {}
    for number, field in enumerate(dataclasses.fields(cls)):
        made = field.default_factory is not MISSING
        form.append((field.init, made, field.kw_only))
        renamed[f"_{number}"] = field.name
        known[f"_make_{number}"] = field.default_factory
        default = MISSING if made else field.default
        if field.init and (made or default is not MISSING):
            if field.kw_only:
                named[field.name] = default
            else:
                places.append(default)
    code = _initializer_code(tuple(form), frozen, hasattr(cls, "__post_init__"))
    code = code.replace(
        co_varnames=tuple(renamed.get(name, name) for name in code.co_varnames),
        co_names=tuple(renamed.get(name, name) for name in code.co_names),
        co_consts=tuple(renamed.get(name, name) for name in code.co_consts),
    )
    function = FunctionType(code, known, "__init__", tuple(places))
    function.__kwdefaults__ = named
    function.__qualname__ = f"{cls.__qualname__}.__init__"
    return function


@cache
def _initializer_code(form: tuple[tuple[bool, bool, bool], ...], frozen: bool, after: bool) -> CodeType:
    """The code of `__init__` for fields `_0`, `_1`, …, the same for all classes of this form.

    form: of each field whether it is a parameter, whether a factory makes its default, and whether it is
    given by name only. after: whether there is a `__post_init__`.
    """
    places: list[str] = []
    named: list[str] = []
    lines: list[str] = []
    for number, (given, made, by_name) in enumerate(form):
        name, value = f"_{number}", f"_{number}"
        if made:
            make = f"_make_{number}()"
            value = f"{make} if {name} is _MISSING else {name}" if given else make
        if given:
            (named if by_name else places).append(name)
        if given or made:
            lines.append(f"    _set(self, {name!r}, {value})" if frozen else f"    self.{name} = {value}")
    if after:
        lines.append("    self.__post_init__()")
    parameters = ", ".join(["self", *places, *(["*", *named] if named else [])])
    found: dict[str, Any] = {}
    exec(f"def __init__({parameters}):\n" + "\n".join(lines or ["    pass"]), found)  # noqa: S102
    code: CodeType = found["__init__"].__code__
    return code


def _repr(self: Any) -> str:
    shown = (f"{f.name}={getattr(self, f.name)!r}" for f in dataclasses.fields(self) if f.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _eq(self: Any, other: Any) -> Any:
    return self._compared(self) == self._compared(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash(self._compared(self))


def _refuse(self: Any, name: str, *value: object) -> NoReturn:
    raise FrozenInstanceError(f"cannot change {name!r} of a {type(self).__name__}")
