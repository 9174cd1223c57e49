"""Large tables whose starting values are drawn when somebody first reads them.

Drawing tens of millions of numbers takes longer than compiling a model, and whoever loads weights, looks at
sizes or resizes tables never reads them. Promises: a table draws one number from torch's generator when it is
made, and its values follow from that number alone: they are the same whenever, and by whichever thread or
process, they are drawn. Whoever reads a module's parameters, by its attribute, `parameters()`, `state_dict()`
or otherwise, finds them filled. A table that is made without storage has no values, and `Model.place` leaves
it where it is.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

_LOCK = threading.RLock()


class _Waiting(dict[str, nn.Parameter | None]):
    """A module's parameters, without values yet. What reads them fills them first, and puts a plain dict in
    this one's place."""

    def __init__(self, module: nn.Module, fill: Callable[[], object]) -> None:
        super().__init__(module._parameters)
        self._module = weakref.ref(module)
        self._fill: Callable[[], object] | None = fill

    def filled(self) -> None:
        with _LOCK:
            if self._fill is None:
                return
            self._fill()
            self._fill = None
            module = self._module()
            if module is not None and module.__dict__["_parameters"] is self:
                module.__dict__["_parameters"] = dict(dict.items(self))


def _filling(name: str) -> Callable[..., Any]:
    plain: Callable[..., Any] = getattr(dict, name)

    def method(self: _Waiting, *given: Any, **named: Any) -> Any:
        self.filled()
        return plain(self, *given, **named)

    return method


_READING = """
__getitem__ __setitem__ __delitem__ __contains__ __iter__ __reversed__ __eq__ __or__ __ror__ __ior__ __repr__
__reduce_ex__ get keys values items pop popitem setdefault update clear copy
"""
for _name in _READING.split():
    setattr(_Waiting, _name, _filling(_name))


_bare: list[None] = []


@contextmanager
def bare_tables() -> Iterator[None]:
    """Make tables without storage (on `meta`): for who keeps their rows elsewhere."""
    _bare.append(None)
    try:
        yield
    finally:
        _bare.pop()


def are_bare() -> bool:
    """Return whether tables are made without storage now."""
    return bool(_bare)


def fill_later(module: nn.Module, fill: Callable[[], object]) -> None:
    """Have `fill` give a module's parameters their values before anything reads them."""
    module.__dict__["_parameters"] = _Waiting(module, fill)


def held(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Return a module's own parameters by name, whether they have values yet or not: for what does not read
    these."""
    for name, weight in dict.items(module._parameters):
        if weight is not None:
            yield name, weight
