"""Operations of other packages.

A package says by an entry point of the group `arec.operations` which object defines an operation of its own:

    [project.entry-points."arec.operations"]
    erf = "arec_erf:ERF"

Promises: packages are looked at only when a name is asked for that neither the language nor the spec has, so
that what is installed changes no spec that is sound without it. What is loaded is code that somebody has
installed here, found by its name; no file that is read says what to import.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from specc.frozen import dataclass
from specc.ops import OPS
from specc.ops.definition import OpDef
from specc.packages import OPERATIONS
from specc.packages import offered as _points

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


class PluginError(ValueError):
    """A package whose operation cannot be used; the message names both, and says why."""


@dataclass(frozen=True)
class Package:
    """Where an operation comes from: a distribution's name and its version."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


_loaded: dict[str, Package] = {}


def offered() -> Iterable[str]:
    """Return the operations that installed packages offer."""
    return _points(OPERATIONS).keys()


def operation(name: str) -> OpDef | None:
    """Return the operation of an installed package, None where none has one of this name. Raises
    PluginError."""
    if name not in _loaded:
        among = _points(OPERATIONS).get(name)
        if among is None:
            return None
        OPS[name], _loaded[name] = _load(name, among)
    return OPS[name]


def package(name: str) -> Package | None:
    """Return the package that an operation of a graph comes from; None for the compiler's own."""
    return _loaded.get(name)


def every() -> Mapping[str, OpDef]:
    """Return all operations, those of all installed packages among them. Raises PluginError."""
    for name in offered():
        operation(name)
    return OPS


def _load(name: str, among: tuple[EntryPoint, ...]) -> tuple[OpDef, Package]:
    owners = [_package(point) for point in among]
    if len(set(owners)) > 1:
        raise PluginError(f"`{name}` is an operation of {' and of '.join(map(str, owners))}: remove one")
    owner = owners[0]
    try:
        known = among[0].load()
    except Exception as error:  # whatever the package's code does
        told = f"{type(error).__name__}: {error}"
        raise PluginError(f"the operation `{name}` of {owner} cannot be loaded: {told}") from error
    if fault := _fault(name, known):
        raise PluginError(f"the operation `{name}` of {owner} is not sound: {fault}")
    return known, owner


def _package(point: EntryPoint) -> Package:
    return Package("?", "?") if point.dist is None else Package(point.dist.name, point.dist.version)


def _fault(name: str, known: object) -> str:
    """Return why an object is no definition of an operation; empty if it is one."""
    if not isinstance(known, OpDef):
        return f"{known!r} is no OpDef"
    asked = {
        f"it calls itself `{known.name}`": known.name == name,
        "the language has one of this name": name not in OPS,
        "its name is no lower-case word": name.isidentifier() and name == name.lower(),
        "it lacks `call`, how a spec writes it": known.call is not None,
        "it lacks `lowering`, how it is computed": known.lowering is not None,
        "it lacks `meaning`, the module that says what it computes": bool(known.meaning),
        "an operation of another package has no weights": not known.weights,
        "it lacks a sentence of documentation": bool(known.doc),
    }
    if known.call is not None:
        options = {o.name for o in known.call.options} | ({"axis"} if "over" in known.call.clauses else set())
        asked[f"its call gives {sorted(options)}, its attributes are {sorted(known.attrs)}"] = (
            options == known.attrs.keys()
        )
        other = sorted(known.call.clauses.keys() - {"over", "where"})
        asked[f"it takes the clause `{', '.join(other)}`, which only built-ins do"] = not other
    return next((fault for fault, holds in asked.items() if not holds), "")
