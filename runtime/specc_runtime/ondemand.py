"""Packages that import a module of theirs when a name of it is first asked for.

Most programs need few of the modules that a package has names from; reading all of them takes longer than
compiling a model.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any


def names_of(package: str, homes: Mapping[str, Iterable[str]]) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package. homes: by the module that has them, relative to the package
    (".rows"), the names that are the package's, too; for ".", modules of its own.

    No name may be that of a module, or the module takes its place once it is imported.
    """
    home = {name: module for module, names in homes.items() for name in names}

    def found(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if home[name] == ".":
            return import_module(f".{name}", package)  # which sets it
        value = getattr(import_module(home[name], package), name)
        vars(sys.modules[package])[name] = value
        return value

    return found
