"""Python's collector of cyclic garbage, kept out of what makes many objects that stay."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Without the collector. Imports, checks and compilations make many small objects that stay and few
    cycles; a full collection walks all of torch's objects, too, and takes half as long as a compilation.

    Where modules were imported meanwhile, all that there is counts as old afterwards, without a walk: the
    next collection would find that it stays.
    """
    collecting, modules = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            # What somebody has frozen stays so.
            if len(sys.modules) > modules and not gc.get_freeze_count():
                gc.freeze()
                gc.unfreeze()
            gc.enable()
