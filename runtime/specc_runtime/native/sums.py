"""Gradients of lookups summed by table row, in C: one call for all tables of a width.

Promises: each table's distinct rows, ascending; of each the sum of its entries in the order of the lookups,
up to rounding what torch's embedding_bag gives. An entry takes 32 bytes while the call lasts, 36 or 40 where
entries are weighted.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from specc_runtime.native.load import AT, NUMBER, load
from specc_runtime.native.say import wanted

if TYPE_CHECKING:
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]

# More rows, or entries of one table, do not fit in half of a sorted number.
MOST = 2**31
# In C, of a use.
NUMBERS = 9

# A use: n ids of rows of a table, and upstream gradients, `next` numbers from one row to the next. lengths
# [rows], if given: so many ids have the same row of gradients; otherwise each has its own. weights [n], if
# given: what each id's gradient is multiplied with; mean: it is divided by the length. Uses are in the order
# of tables. `prepare` sorts the entries of each table by row and entry (keys), notes the gradient and share
# of each, and counts distinct rows; it returns 1 where an id is no row of its table. room: for the entries of
# one table. `add` writes distinct rows and sums.
_TEXT = """\
#include <string.h>
#define AHEAD 8

typedef struct {
    int64_t table, n, rows, next, mean;
    const int64_t *ids, *lengths;
    const real *weights, *grad;
} use;
_Static_assert(sizeof(use) == 8 * 9, "given as 64-bit numbers");

static void sort_(uint64_t *keys, uint64_t *room, int64_t n, int64_t size)
{
    if (n <= 48) {
        for (int64_t i = 1; i < n; i++) {
            const uint64_t key = keys[i];
            int64_t j = i;
            for (; j && keys[j - 1] > key; j--) keys[j] = keys[j - 1];
            keys[j] = key;
        }
        return;
    }
    int bits = 1;
    while (bits < 31 && (int64_t)1 << bits < size) bits++;
    const int most = n < 2048 ? 8 : 11, passes = (bits + most - 1) / most;
    const int digit = (bits + passes - 1) / passes;
    const uint64_t mask = ((uint64_t)1 << digit) - 1;
    uint64_t *from = keys, *to = room;
    for (int pass = 0; pass < passes; pass++) {
        const int shift = 32 + pass * digit;
        int64_t begins[2048];
        memset(begins, 0, (mask + 1) * sizeof(int64_t));
        for (int64_t i = 0; i < n; i++) begins[from[i] >> shift & mask]++;
        for (int64_t d = 0, total = 0; d <= (int64_t)mask; d++) {
            const int64_t many = begins[d];
            begins[d] = total;
            total += many;
        }
        for (int64_t i = 0; i < n; i++) to[begins[from[i] >> shift & mask]++] = from[i];
        uint64_t *other = from;
        from = to, to = other;
    }
    if (from != keys) memcpy(keys, from, n * sizeof(uint64_t));
}

int prepare(int64_t count, const use *uses, const int64_t *sizes, uint64_t *keys, uint64_t *room,
            const real **grads, real *shares, int64_t *entries, int64_t *distinct)
{
    const use *end = uses + count;
    for (const use *u = uses; u < end;) {
        const int64_t table = u->table, size = sizes[table];
        int64_t n = 0;
        for (; u < end && u->table == table; u++) {
            int64_t row = 0, left = u->lengths && u->rows ? u->lengths[0] : 1;
            for (int64_t i = 0; i < u->n; i++, n++) {
                const int64_t id = u->ids[i];
                if (id < 0 || id >= size) return 1;
                if (u->lengths)
                    while (!left) left = u->lengths[++row];
                else
                    row = i;
                keys[n] = (uint64_t)id << 32 | (uint64_t)n;
                grads[n] = u->grad + row * u->next;
                if (shares) {
                    const int64_t of = u->mean && u->lengths ? u->lengths[row] : 1;
                    shares[n] = u->weights ? u->weights[i] : 1 / (real)of;
                }
                if (u->lengths) left--;
            }
        }
        sort_(keys, room, n, size);
        int64_t found = 0;
        for (int64_t i = 0; i < n; i++) found += !i || keys[i] >> 32 != keys[i - 1] >> 32;
        entries[table] = n;
        distinct[table] = found;
        keys += n, grads += n;
        if (shares) shares += n;
    }
    return 0;
}

void add(int64_t count, int64_t w, const uint64_t *keys, const real *const *grads, const real *shares,
         const int64_t *entries, int64_t *rows, real *sums)
{
    for (int64_t t = 0; t < count; t++) {
        const int64_t n = entries[t];
        for (int64_t i = 0; i < n; i++) {
            if (i + AHEAD < n) __builtin_prefetch(grads[(uint32_t)keys[i + AHEAD]]);
            const int64_t at = (uint32_t)keys[i];
            const real *g = grads[at];
            if (!i || keys[i] >> 32 != keys[i - 1] >> 32) {
                *rows++ = (int64_t)(keys[i] >> 32);
                sums += w;
                if (shares) {
                    const real share = shares[at];
                    PRAGMA(omp simd) for (int64_t c = 0; c < w; c++) sums[c - w] = share * g[c];
                } else {
                    PRAGMA(omp simd) for (int64_t c = 0; c < w; c++) sums[c - w] = g[c];
                }
            } else if (shares) {
                const real share = shares[at];
                PRAGMA(omp simd) for (int64_t c = 0; c < w; c++) sums[c - w] += share * g[c];
            } else {
                PRAGMA(omp simd) for (int64_t c = 0; c < w; c++) sums[c - w] += g[c];
            }
        }
        keys += n, grads += n;
        if (shares) shares += n;
    }
}
"""


class Read(NamedTuple):
    """Rows of a table that a value was read from, and the upstream gradient of it.

    table: its number among those of a call. ids: int64 [n]. grad: contiguous [rows, width of the value]; the
    table's columns begin at `column`. lengths: int64 [rows], how many ids each of its rows has; without, one.
    mean: whether these were averaged. weights: what each was multiplied by, [n].
    """

    table: int
    ids: Tensor
    grad: Tensor
    column: int
    lengths: Tensor | None
    mean: bool
    weights: Tensor | None


@lru_cache(maxsize=2)
def library(dtype: torch.dtype) -> Any:
    """Return the C functions, or None if they cannot be built."""
    return load([_TEXT], dtype, prepare=[NUMBER, *[AT] * 8], add=[NUMBER, NUMBER, *[AT] * 6])


def summed(
    reads: Sequence[Read], sizes: Sequence[int], width: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor, list[int]] | None:
    """Return the distinct rows of all tables [size, width] that are read, one table after another, the sum of
    the gradients of each, [m, width], and how many are of each table; None if there is no kernel. reads: in
    the order of tables.

    Raises IndexError for an id that is not a row of its table.
    """
    if not reads or not wanted(reads[0].grad.device, dtype) or max(sizes) > MOST:
        return None
    if library(dtype) is None:
        return None
    given: list[int] = []
    held: list[Tensor] = []
    weighted, total, most, own, before = False, 0, 0, 0, -1
    for table, ids, grad, column, lengths, mean, weights in reads:
        if ids.dtype is not torch.int64 or grad.dtype is not dtype:
            return None
        if not ids.is_contiguous():
            held.append(ids := ids.contiguous())
        n, (rows, step) = ids.shape[0], grad.shape
        at = grad.data_ptr() + column * grad.element_size()
        given += (table, n, rows, step, mean, ids.data_ptr())
        if lengths is None and weights is None:
            given += (0, 0, at)
        else:
            weighted |= mean or weights is not None
            counts = None if lengths is None else lengths.to(torch.int64).contiguous()
            shares = None if weights is None else weights.to(dtype).contiguous()
            held += [x for x in (counts, shares) if x is not None]
            given += (*(0 if x is None else x.data_ptr() for x in (counts, shares)), at)
        total += n
        own = own + n if table == before else n
        most, before = max(most, own), table
    if most > MOST:
        return None
    return run(
        np.array(given, np.int64).reshape(-1, NUMBERS),
        np.array(sizes, np.int64),
        width,
        dtype,
        total,
        most,
        weighted,
    )


def run(
    uses: Ints, sizes: Ints, width: int, dtype: torch.dtype, total: int, most: int, weighted: bool
) -> tuple[Tensor, Tensor, list[int]]:
    """Return what `summed` does, of reads as the kernel has them, [n, NUMBERS], and tables' sizes. total: how
    many ids there are; most: how many of one table; weighted: whether any is weighted or averaged."""
    kernel = library(dtype)
    many = len(sizes)
    room = torch.empty(2 * total + most, dtype=torch.int64, device="cpu")
    share = torch.empty(total if weighted else 0, dtype=dtype, device="cpu")
    found = np.zeros((2, many), dtype=np.int64)  # entries, distinct rows
    keys, entries = room.data_ptr(), found.ctypes.data
    rest = (keys + 8 * total, share.data_ptr() if weighted else None, entries)
    if kernel.prepare(
        len(uses), uses.ctypes.data, sizes.ctypes.data, keys, keys + 16 * total, *rest, entries + 8 * many
    ):
        raise IndexError("an id is not a row of its table")
    distinct: list[int] = found[1].tolist()
    of_all = sum(distinct)
    named = torch.empty(of_all, dtype=torch.int64, device="cpu")
    sums = torch.empty(of_all, width, dtype=dtype, device="cpu")
    kernel.add(many, width, keys, *rest, named.data_ptr(), sums.data_ptr())
    return named, sums, distinct
