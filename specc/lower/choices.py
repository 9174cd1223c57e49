"""Kernels that are chosen once a batch is there, by how much there is of it.

Promises: the one place that says from where on. A lowered program states it, the emitted text hands it to
the runtime, which compares, and the planner asks the program. Where the machine has no C compiler the other
kernel is taken, whatever the size.
"""

from __future__ import annotations

from specc.frozen import dataclass


@dataclass(frozen=True)
class Choice:
    """A kernel that is taken from `least` numbers on, counted in something; else `otherwise` is. of: what is
    counted, where it is not numbers."""

    kernel: str
    least: int
    counted: str
    otherwise: str
    of: str = "numbers"

    def holds(self, numbers: float) -> bool:
        return numbers >= self.least

    def __str__(self) -> str:
        has = "has" if self.counted.startswith("a ") else "have"
        return (
            f"{self.kernel} where {self.counted} {has} {self.least} {self.of} or more, else {self.otherwise}"
        )


# Of a batch of 32 histories torch has some calls for each block of sequences of like length, or for each
# step, which take longer than what they compute. Smaller ones come one at a time: of these to compile a
# kernel once takes longer than it saves.
ATTENTION_IN_C = Choice("in C", 2**14, "the keys", "in torch, over sequences of like length")
SELF_ATTENTION_IN_C = Choice("in C", 2**14, "the keys", "in torch, over sequences of like length")
# A matrix for each of the other factor's rows, which is in the way where it is larger than a core's cache.
PAIRED_IN_C = Choice("in C, a matrix a segment", 2**14, "the rows", "in torch, a few rows at a time")
LARGEST_OF_A_SEGMENT = 2**15
PAIRS_IN_C = Choice("in C", 2**14, "the products of all pairs", "in torch")
# Below that to go from request to request takes longer than it saves.
ATTENTION_BY_REQUEST = Choice(
    "of the history once a request", 4, "requests", "of each candidate's sequence", of="candidates each"
)
# In single precision on one thread BLAS takes 1.3 to 1.5 times as long; to call C takes longer than torch. A
# vector's channels are computed at once, so that it is in vain where there are few.
PRODUCTS_IN_C = Choice("in C", 2**21, "a product", "in torch", of="multiplications")
NARROWEST_IN_C = 8
STEPS_IN_C = Choice("in C", 2**14, "the values of its steps", "in torch")

# What is computed of a request's candidates grows with how many they are. In pieces of this size (in single
# precision 8 megabytes) calling torch takes next to no time, and some values of a piece are in the cache.
CANDIDATES_IN_PIECES = Choice(
    "in pieces, without gradients on a CPU", 2**21, "the largest of their values", "all at once"
)

# Rows of a value that a recurrence multiplies by its matrix at once, at least: few enough to be in the cache
# when the steps read them.
AT_ONCE = 1024

# Numbers of the largest value in a tile: in single precision a megabyte, which stays in a core's cache. Of
# smaller tiles there are so many that calling torch takes the time.
_TILE = 2**18


def tile_rows(numbers: int) -> int:
    """How many rows a tile has. numbers: how many a row has where it has most."""
    return max(_TILE // max(numbers, 1), 1)


# Numbers of the values that a block of rows has in a chain: in single precision half a megabyte, so that they
# stay in a core's cache beside what they are multiplied by.
_BLOCK = 2**17
# As many rows as the kit multiplies at a time.
_ROWS = 96
# Numbers of all matrices of a chain, which each of its blocks reads: less than a megabyte.
MATRICES_OF_A_BLOCK = 3 * 2**16


def block_rows(numbers: int) -> int:
    """How many rows at most go through a chain together. numbers: of a row, of all values."""
    return max(_BLOCK // max(numbers, 1) // _ROWS, 1) * _ROWS
