"""What packages of others bring to a model: operations that its code calls, metrics, encodings.

Promises: a package that is missing is told before any code of the model is run, in words. What an artefact
names is looked up by its name among what is installed; nothing is imported but what a package that somebody
installed here offers by an entry point.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from typing import Any, TypeVar

METRICS, ENCODINGS = "arec.metrics", "arec.encodings"
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
T = TypeVar("T")


class PackageError(ValueError):
    """A package whose metric or encoding cannot be used; the message names both, and says why."""


def missing(needed: Iterable[Mapping[str, Any]]) -> list[str]:
    """What a manifest needs of packages that are not installed, a sentence each. Warns of packages that are
    installed in another version than the model was compiled with."""
    found: list[str] = []
    for entry in needed:
        name, package, then = (str(entry.get(key, "")) for key in ("name", "package", "version"))
        if not _NAME.fullmatch(package):
            found.append(f"`{name}` is of a package with the impossible name {package!r}")
            continue
        try:
            now = version(package)
        except PackageNotFoundError:
            found.append(f"`{name}` is of the package {package} {then}, which is not installed here")
            continue
        if now != then:
            warnings.warn(
                f"`{name}` is of the package {package}, which is {now} here and was {then} where the model "
                "was compiled: it may compute something else",
                stacklevel=2,
            )
    return found


@cache
def offered(group: str) -> Mapping[str, tuple[EntryPoint, ...]]:
    """By name the entry points of a group: one, unless several packages offer the same name."""
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=group):
        found[point.name] = (*found.get(point.name, ()), point)
    return found


def loaded(group: str, name: str, kind: type[T]) -> T:
    """The object that an installed package offers by a name. Raises PackageError."""
    first, *others = offered(group).get(name, (None,))
    if first is None:
        raise PackageError(f"no package that is installed here has `{name}` ({group})")
    if others:
        owners = " and ".join(_owner(point) for point in (first, *others))
        raise PackageError(f"{owners} have both `{name}` ({group}): remove one")
    found = _object(first)
    if not isinstance(found, kind):
        raise PackageError(f"`{name}` of {_owner(first)} is {found!r}, and no {kind.__name__}")
    return found


@cache
def _object(point: EntryPoint) -> object:
    try:
        return point.load()
    except Exception as error:  # whatever the package's code does
        told = f"{type(error).__name__}: {error}"
        raise PackageError(f"`{point.name}` of {_owner(point)} cannot be loaded: {told}") from error


def torchrec_from() -> str:
    """The commands that install TorchRec beside this torch: what it asks for itself is fbgemm with CUDA."""
    import torch

    if torch.version.cuda is not None:
        return "pip install 'arec[torchrec]'"
    return (
        "pip install --no-deps torchrec==1.8.0 fbgemm-gpu-cpu==1.8.0 tensordict\n"
        "  pip install cloudpickle pyre-extensions 'pyvers<0.3' tqdm"
    )


def _owner(point: EntryPoint) -> str:
    return "a package" if point.dist is None else f"the package {point.dist.name} {point.dist.version}"
