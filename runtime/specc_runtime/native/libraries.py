"""Which libraries something uses, so that they can be put beside a model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from specc_runtime.native import (
    attention,
    build,
    gather,
    paired,
    pairs,
    products,
    scoring,
    self_attention,
    sources,
)


@contextmanager
def used() -> Iterator[dict[str, Path]]:
    """By its name, the file of each library that is used from here to the end, loaded before or not."""
    before = build.loaded()
    build.forget()
    sources.functions.cache_clear()
    attention.library.cache_clear()
    gather.library.cache_clear()
    paired.library.cache_clear()
    pairs.library.cache_clear()
    products.library.cache_clear()
    scoring.library.cache_clear()
    self_attention.library.cache_clear()
    found: dict[str, Path] = {}
    try:
        yield found
    finally:
        found.update(build.loaded())
        build.recall(before)
