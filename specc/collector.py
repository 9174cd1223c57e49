"""Python's collector of cyclic garbage, kept out of what makes many objects that stay."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Without the collector. Imports, checks and compilations make many small objects that stay and few
    cycles; a full collection walks all of torch's objects, too, and takes half as long as a compilation."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
