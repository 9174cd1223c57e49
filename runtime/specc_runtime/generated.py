"""Modules of generated text: run from memory, and known to tracebacks, `inspect` and torch.compile while
anything that they define is alive.

Promises: a module that nothing refers to leaves no entry in `sys.modules` and none in `linecache`.
"""

from __future__ import annotations

import linecache
import sys
import weakref
from itertools import count
from types import ModuleType
from typing import Any

_numbers = count()


class _Known(ModuleType):
    """What `sys.modules` has of a generated module, without keeping it alive."""

    def __init__(self, module: ModuleType) -> None:
        super().__init__(module.__name__)
        self.__file__ = module.__file__
        self._module = weakref.ref(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module(), name)


def run(source: str, name: str, origin: str) -> ModuleType:
    """The module that a text defines. origin: what tracebacks call it."""
    number = next(_numbers)
    module = ModuleType(f"{name}_{number}")
    file = module.__file__ = f"<{origin}:{number}>"
    # Functions keep the globals alive, and the globals the module.
    vars(module)["__module__"] = module
    weakref.finalize(module, _forget, module.__name__, file)
    # An entry without a time is never compared with the disk.
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    # torch.compile imports the module of a function that it inlines, by name.
    sys.modules[module.__name__] = _Known(module)
    # The compiler's own text: of the spec it holds names that the checker admitted, and numbers.
    exec(compile(source, file, "exec"), vars(module))  # noqa: S102
    return module


def _forget(name: str, file: str) -> None:
    sys.modules.pop(name, None)
    linecache.cache.pop(file, None)
