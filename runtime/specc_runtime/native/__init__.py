"""Kernels in C for what torch does in many small operations.

The steps of a recurrence are short: between two matrix products a dozen operations go over the same few rows.
Here these are one function of C, which goes row by row; the products stay torch's. The compiler wrote it
(`kernels.c` of an artefact): `sources` knows it by its hash, `source` says what it begins with, and `build`
compiles it. `attention` is that of one query, for which torch wants sequences of one length.

Promises: the values of torch, up to rounding. Where there is no C compiler torch does all. `AREC_NATIVE=0` in
the environment does without.
"""

from specc_runtime.native.attention import attend
from specc_runtime.native.build import loaded, offer
from specc_runtime.native.say import wanted
from specc_runtime.native.sources import enter, functions

__all__ = ["attend", "enter", "functions", "loaded", "offer", "wanted"]
