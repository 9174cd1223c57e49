"""The packages of others that a compiled model calls: whether they are installed here.

Promises: a package that is missing is told before any code of the model is run, in words. What an artefact
names is looked up among what is installed, by its name, and nothing is imported for it.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


def missing(operations: Iterable[Mapping[str, Any]]) -> list[str]:
    """What of the operations in a manifest lacks its package, a sentence each. Warns of packages that are
    installed in another version than the model was compiled with."""
    found: list[str] = []
    for entry in operations:
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
