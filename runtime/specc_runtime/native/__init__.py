"""Kernels in C, for work that takes torch many small operations.

One step of a recurrence is short: between two matrix products, a dozen operations pass over the same few
rows. Here they are fused into C that handles a row at a time, and all steps are one call; the matrix products
are those of panels (`products`) or, on several threads, of the BLAS that torch calls (`blas`). The compiler
wrote that C (`kernels.c` in an artefact): `sources` finds it by its hash, `source` holds the text that every
C file begins with, and `build` compiles and loads it. `attention` is the attention of a single query,
`self_attention` that of every position, which torch supports only for sequences of equal length, and
`ended_attention` that of a history and what ends it.

Promises: the values of torch, up to rounding. Without a C compiler, torch computes everything.
`AREC_NATIVE=0` in the environment switches the kernels off.
"""

from typing import TYPE_CHECKING

from specc_runtime.ondemand import names_of

if TYPE_CHECKING:
    from specc_runtime.native.attention import attend
    from specc_runtime.native.build import loaded, offer
    from specc_runtime.native.ended_attention import attend_ended
    from specc_runtime.native.libraries import used
    from specc_runtime.native.say import wanted
    from specc_runtime.native.self_attention import attend_all
    from specc_runtime.native.sources import enter, functions

__all__ = ["attend", "attend_all", "attend_ended", "enter", "functions", "loaded", "offer", "used", "wanted"]

__getattr__ = names_of(
    __name__,
    {
        ".attention": ("attend",),
        ".build": ("loaded", "offer"),
        ".ended_attention": ("attend_ended",),
        ".libraries": ("used",),
        ".say": ("wanted",),
        ".self_attention": ("attend_all",),
        ".sources": ("enter", "functions"),
    },
)
