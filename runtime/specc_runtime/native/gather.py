"""Rows of many tables written side by side, in C: one call for all fields of a value."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from specc_runtime.native.load import AT, NUMBER, load
from specc_runtime.native.say import wanted

# Of fewer tables one call of torch for each is as quick, as measured.
FROM = 3

# A part: a table of `size` rows of `bytes` bytes, an id for each row of the value, and where the part begins
# in the value's first row. next: bytes from one row of the value to the next. Returns 1, and writes nothing,
# if an id is not a row.
_TEXT = """\
#include <string.h>
#define AHEAD 8

typedef struct {
    int64_t size, bytes;
    const char *table;
    const int64_t *ids;
    char *out;
} part;
_Static_assert(sizeof(part) == 8 * 5, "given as 64-bit numbers");

int gather(int64_t count, const part *parts, int64_t rows, int64_t next)
{
    for (const part *p = parts; p < parts + count; p++)
        for (int64_t i = 0; i < rows; i++)
            if (p->ids[i] < 0 || p->ids[i] >= p->size) return 1;
    for (const part *p = parts; p < parts + count; p++) {
        const int64_t bytes = p->bytes;
        for (int64_t i = 0; i < rows; i++) {
            if (i + AHEAD < rows) __builtin_prefetch(p->table + p->ids[i + AHEAD] * bytes);
            if (bytes == 4)
                memcpy(p->out + i * next, p->table + p->ids[i] * 4, 4);
            else
                memcpy(p->out + i * next, p->table + p->ids[i] * bytes, bytes);
        }
    }
    return 0;
}
"""


@cache
def library() -> Any:
    """Return the C function, or None if it cannot be built."""
    found = load([_TEXT], torch.float32, gather=[NUMBER, AT, NUMBER, NUMBER])
    return None if found is None else found.gather


def gather(tables: Sequence[Tensor], ids: Sequence[Tensor], columns: Sequence[int], into: Tensor) -> bool:
    """Write rows of tables [n, w] at ids, int64 [rows], to columns of a value [rows, width], from each of
    `columns` on. Return False, and write nothing, if there is no kernel.

    Raises IndexError for an id that is not a row of its table.
    """
    dtype = into.dtype
    if len(tables) < FROM or not wanted(into.device, dtype) or not into.is_contiguous():
        return False
    kernel = library()
    if kernel is None:
        return False
    rows, width = into.shape
    size, out = into.element_size(), into.data_ptr()
    given: list[int] = []
    held: list[Tensor] = []
    for table, named, column in zip(tables, ids, columns, strict=True):
        if table.dtype is not dtype or named.dtype is not torch.int64 or not table.is_cpu:
            return False
        if not (table.is_contiguous() and named.is_contiguous()):
            table, named = table.contiguous(), named.contiguous()
            held += (table, named)
        count, own = table.shape
        given += (count, own * size, table.data_ptr(), named.data_ptr(), out + column * size)
    if kernel(len(tables), (ctypes.c_int64 * len(given))(*given), rows, width * size):
        raise IndexError("an id is not a row of its table")
    return True
