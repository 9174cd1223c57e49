"""What kernels compute, by their names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.executor import reading

FORMS: dict[str, Callable[..., Any]] = dict(reading.FORMS)


def form(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter what kernels compute."""

    def enter(computed: Callable[..., Any]) -> Callable[..., Any]:
        FORMS.update(dict.fromkeys(names, computed))
        return computed

    return enter
