"""Kernels in C for what torch does in many small operations.

The steps of a recurrence are short: between two matrix products a dozen operations go over the same few rows.
Here these are one function of C, which goes row by row; the products stay torch's. `trace` sees what the
emitted code does, `source` writes it as C, `build` compiles that, and `cells` puts it in place of the code.
`attention` is that of one query, for which torch wants sequences of one length.

Promises: the values of torch, up to rounding. Where there is no C compiler, or something that has no
counterpart here, torch does all. `AREC_NATIVE=0` in the environment does without.
"""

from specc_runtime.native.attention import attend
from specc_runtime.native.cells import Sizes, compiled
from specc_runtime.native.say import wanted

__all__ = ["Sizes", "attend", "compiled", "wanted"]
