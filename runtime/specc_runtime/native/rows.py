"""Catch up rows of tables and of their optimizer states, and apply a step to them, in one pass in C.

Promises: the values of train.skipped and of train.rules, up to rounding. The memory of later rows is
prefetched while a row is computed, so that a table larger than any cache takes little more time than a small
one.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from specc_runtime.native.load import AT, NUMBER, load
from specc_runtime.native.say import wanted

# In all texts W is the width and S the number of tensors x [rows, W], the weight and its optimizer
# states. VELOCITY: the first state is a velocity. CENTRED: the last state is the mean of the gradients.
_START = """\
#define AHEAD 12
#define MOST 256
#define EACH PRAGMA(omp simd) for (int64_t c = 0; c < W; c++)
"""
# As train.skipped.Moments. shares, nodes [indices, stride]: points of a sum, `many` before index `late` and
# `few` from there on. first, second: powers of the decay rates. inner, outer: products of the factors that
# weight decay multiplies by, or null without it.
_MOMENTS = """\
typedef struct {
    int64_t steps, stride, late, many, few, block, window;
    const double *shares, *nodes, *first, *second, *inner, *outer;
    double eps;
} history;

static void fetch_history(const history *h, int64_t at)
{
    __builtin_prefetch(h->shares + at * h->stride);
    __builtin_prefetch(h->nodes + at * h->stride);
}

static void carry(const history *h, int64_t at, real *const *x)
{
    real *w = x[0], *m = x[1], *v = x[2];
    const int64_t count = at < h->late ? h->many : h->few;
    const double *nodes = h->nodes + at * h->stride, *shares = h->shares + at * h->stride;
    const int64_t steps = h->steps, end = at + h->window < steps ? at + h->window : steps;
    const double left = h->inner ? h->outer[end / h->block] * h->inner[end] : 1;
    const real kept = h->inner ? h->outer[at / h->block] * h->inner[at] - 1 : 0;
    const real p = h->first[steps - at], s = h->second[steps - at], e = h->eps;
    real root[W], total[W];
    int moves = 0;
    EACH moves |= m[c] != 0;
    EACH total[c] = 0;
    if (moves) {
        EACH root[c] = SQRT(v[c]);
        for (int64_t q = 0; q < count; q++) {
            const real part = shares[q] * left, node = nodes[q];
            EACH total[c] += part / (root[c] * node + e);
        }
    }
    EACH {
        w[c] += kept * w[c] - m[c] * total[c];
        m[c] *= p;
        v[c] *= s;
    }
}
"""
# As train.skipped.Linear. inner, outer: products of the steps' matrices [k, k] on (weight, velocity).
_LINEAR = """\
typedef struct {
    int64_t steps, block;
    const double *inner, *outer, *factors;
} history;

#define K (1 + VELOCITY)
static void fetch_history(const history *h, int64_t at) { __builtin_prefetch(h->inner + at * K * K); }

static void carry(const history *h, int64_t at, real *const *x)
{
    const double *a = h->outer + at / h->block * K * K, *b = h->inner + at * K * K;
    real *w = x[0];
#if VELOCITY
    real *v = x[1];
    double left = a[2] * b[1] + a[3] * b[3];
    left = fabs(left) < 0x1p-64 ? 0 : left;
    const real own = a[0] * b[0] + a[1] * b[2] - 1, gives = a[0] * b[1] + a[1] * b[3];
    const real fed = a[2] * b[0] + a[3] * b[2], kept = left;
    EACH {
        const real before = v[c];
        v[c] = kept * before + fed * w[c];
        w[c] += own * w[c] + gives * before;
    }
#else
    const real own = a[0] * b[0] - 1;
    if (own != 0) EACH w[c] += own * w[c];
#endif
    for (int s = K; s < S; s++) {
        const double left = pow(h->factors[s - K], h->steps - at);
        const real factor = left < 0x1p-64 ? 0 : left;
        EACH x[s][c] *= factor;
    }
}
"""
# By rule, the C of its history and of one step on a row; g is the row's gradient, o the rule's settings.
_RULES = {
    "adam": (
        _MOMENTS,
        """\
    const real a = 1 - o[0], b = o[1], d = 1 - o[1], e = o[2], r = o[3], s = 1 / o[4], k = o[5];
    real *w = x[0], *m = x[1], *v = x[2];
    EACH {
        const real mean = m[c] + a * (g[c] - m[c]), square = b * v[c] + d * g[c] * g[c];
        m[c] = mean, v[c] = square;
        w[c] = k * w[c] - r * mean / (SQRT(square) * s + e);
    }
""",
    ),
    "adagrad": (
        _LINEAR,
        """\
    const real r = o[0], e = o[1];
    real *w = x[0], *v = x[1];
    EACH {
        const real total = v[c] + g[c] * g[c];
        v[c] = total;
        w[c] -= r * g[c] / (SQRT(total) + e);
    }
""",
    ),
    "sgd": (
        _LINEAR,
        """\
    const real r = o[0], d = o[1], momentum = o[2], fresh = o[3], own = o[4], next = o[5];
    real *w = x[0], *v = x[S - 1];
    EACH {
        const real all = g[c] + d * w[c];
#if VELOCITY
        const real velocity = momentum * v[c] + fresh * all;
        v[c] = velocity;
        w[c] -= r * (own * all + next * velocity);
#else
        w[c] -= r * all;
#endif
    }
""",
    ),
    "rmsprop": (
        _LINEAR,
        """\
    const real r = o[0], b = o[1], d = 1 - o[1], e = o[2], momentum = o[3];
    real *w = x[0], *y = x[1], *v = x[1 + VELOCITY], *m = x[S - 1];
    EACH {
        const real square = b * v[c] + d * g[c] * g[c];
        v[c] = square;
#if CENTRED
        const real mean = m[c] + d * (g[c] - m[c]);
        m[c] = mean;
        const real by = g[c] / (SQRT(square - mean * mean) + e);
#else
        const real by = g[c] / (SQRT(square) + e);
#endif
#if VELOCITY
        const real velocity = momentum * y[c] + by;
        y[c] = velocity;
        w[c] -= r * velocity;
#else
        w[c] -= r * by;
#endif
    }
""",
    ),
    "adadelta": (
        _LINEAR,
        """\
    const real r = o[0], b = o[1], d = 1 - o[1], e = o[2];
    real *w = x[0], *v = x[1], *t = x[2];
    EACH {
        const real square = b * v[c] + d * g[c] * g[c];
        const real by = SQRT(t[c] + e) / SQRT(square + e) * g[c];
        v[c] = square;
        t[c] = b * t[c] + d * by * by;
        w[c] -= r * by;
    }
""",
    ),
}
_RULES["adamw"] = _RULES["adam"]
# h: null if no row has steps to catch up. seen [size]: how far each row is in the history. grad: null to only
# catch up. o: the rule's settings. Nothing is changed where a row is outside of 0 .. size - 1 (returns 1), or
# where the rows of a gradient do not ascend (2).
_RUN = """\
typedef struct {
    int64_t n;
    const int64_t *rows;
    int64_t size;
    int32_t *seen;
    const history *h;
    const real *grad;
    const double *o;
    real *held[S];
} table;
_Static_assert(sizeof(table) == 8 * (7 + S), "given as 64-bit numbers");

static void visit(const table *t)
{
    const int64_t n = t->n, *rows = t->rows;
    const history *h = t->h;
    for (int64_t i = 0; i < n; i++) {
        if (h && i + 2 * AHEAD < n) __builtin_prefetch(t->seen + rows[i + 2 * AHEAD], 1);
        if (i + AHEAD < n) {
            const int64_t next = rows[i + AHEAD];
            if (!h || t->grad || t->seen[next] != h->steps)
                for (int s = 0; s < S; s++)
                    for (int64_t c = 0; c < W; c += 64 / (int64_t)sizeof(real))
                        __builtin_prefetch(t->held[s] + next * W + c, 1);
            if (h && t->seen[next] != h->steps) fetch_history(h, t->seen[next]);
        }
        real *x[S];
        for (int s = 0; s < S; s++) x[s] = t->held[s] + rows[i] * W;
        if (h) {
            const int64_t at = t->seen[rows[i]];
            if (at != h->steps) carry(h, at, x);
            t->seen[rows[i]] = (int32_t)(h->steps + (t->grad != 0));
        }
        if (t->grad) move(t->o, t->grad + i * W, x);
    }
}

int run(int64_t count, const table *tables)
{
    for (const table *t = tables; t < tables + count; t++)
        for (int64_t i = 0; i < t->n; i++) {
            if (t->rows[i] < 0 || t->rows[i] >= t->size) return 1;
            if (t->grad && i && t->rows[i] <= t->rows[i - 1]) return 2;
        }
    for (const table *t = tables; t < tables + count; t++) visit(t);
    return 0;
}
"""


class Moments(ctypes.Structure):
    """The C struct of train.skipped.Moments."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in "steps stride late many few block window".split()),
        *((name, ctypes.c_void_p) for name in "shares nodes first second inner outer".split()),
        ("eps", ctypes.c_double),
    )


class Linear(ctypes.Structure):
    """The C struct of train.skipped.Linear."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in "steps block".split()),
        *((name, ctypes.c_void_p) for name in "inner outer factors".split()),
    )


@lru_cache(maxsize=64)
def library(rule: str, kept: tuple[str, ...], width: int, dtype: torch.dtype) -> Any:
    """Return the C function for tables of this width and these states, or None if it cannot be built."""
    single = dtype == torch.float32
    history, move = _RULES[rule]
    given = {
        "W": width,
        "S": 1 + len(kept),
        "VELOCITY": int("momentum_buffer" in kept),
        "CENTRED": int("grad_avg" in kept),
        "SQRT": "sqrtf" if single else "sqrt",
    }
    defined = "".join(f"#define {name} {value}\n" for name, value in given.items())
    moved = "static void move(const double *o, const real *g, real *const *x)\n{\n" + move + "}\n"
    found = load([defined + _START, history, moved, _RUN], dtype, run=[NUMBER, AT])
    return None if found is None else found.run


# Numbers of a table in C before its tensors.
_GIVEN = 7


class Visit(NamedTuple):
    """Rows of a table and of its optimizer state to catch up with a history, if given, and then to update by
    a gradient, if given.

    rows: int64 [n]; with a gradient, which is [n, width], distinct. held: the weight and its states, each
    [size, width]. numbers: the rule's settings.
    """

    rows: Tensor
    held: Sequence[Tensor]
    seen: Tensor | None = None
    history: ctypes.Structure | None = None
    grad: Tensor | None = None
    numbers: tuple[float, ...] = ()

    def kind(self) -> tuple[int, torch.dtype] | None:
        """Return the width and dtype of a table of which a kernel can read all tensors, else None."""
        weight = self.held[0]
        if weight.dim() != 2 or not weight.is_cpu:
            return None
        dtype = weight.dtype
        for x in self.held if self.grad is None else (*self.held, self.grad):
            if x.dtype is not dtype or not x.is_contiguous():
                return None
        return weight.shape[1], dtype


class Pack:
    """Tables of one width on the CPU whose rows are visited together, again and again: where they are, as the
    kernel reads it."""

    def __init__(self, kernel: Any, held: Sequence[tuple[Sequence[Tensor], Tensor]]) -> None:
        self.kernel, self.held = kernel, held
        self.given = np.zeros((len(held), _GIVEN + len(held[0][0])), dtype=np.int64)
        self.given[:, 2] = [tensors[0].shape[0] for tensors, _ in held]
        self.given[:, 3] = [seen.data_ptr() for _, seen in held]
        self.given[:, _GIVEN:] = [[x.data_ptr() for x in tensors] for tensors, _ in held]

    @staticmethod
    def of(rule: str, kept: tuple[str, ...], held: Sequence[tuple[Sequence[Tensor], Tensor]]) -> Pack | None:
        """Return a pack of tables, each with its states and how far its rows are; None if there is no kernel
        for them."""
        kinds = {Visit(seen, tensors).kind() for tensors, seen in held}
        kind = kinds.pop() if len(kinds) == 1 else None
        if kind is None or not wanted(held[0][0][0].device, kind[1]):
            return None
        kernel = library(rule, kept, *kind)
        return None if kernel is None else Pack(kernel, held)

    def catch_up(self, rows: Any, counts: Any, histories: Any) -> None:
        """Bring rows up to date. rows, counts, histories: of each table, where its rows' numbers are, int64,
        and how many; where its history is, 0 for none."""
        given = self.given
        given[:, 0], given[:, 1], given[:, 4] = counts, rows, histories
        given[:, 5] = given[:, 6] = 0
        if self.kernel(len(self.held), given.ctypes.data):
            raise IndexError("a row that is none of its table")

    def step(self, rows: Tensor, sums: Tensor, counts: Sequence[int], histories: Any, numbers: Any) -> None:
        """Bring rows up to date, and update them by a gradient.

        rows: those of all tables, int64 [m], each table's distinct and ascending, and one table's after
        another's; sums: the gradient of each, [m, width]; counts: how many each table has. histories,
        numbers: addresses of a history, 0 for none, and of the rule's settings: one for all tables, or one
        for each.
        """
        given, many = self.given, np.array(counts, dtype=np.int64)
        begins = many.cumsum() - many
        given[:, 0] = many
        given[:, 1] = begins * 8 + rows.data_ptr()
        given[:, 4] = histories
        given[:, 5] = begins * (sums.element_size() * sums.shape[1]) + sums.data_ptr()
        given[:, 6] = numbers
        if self.kernel(len(self.held), given.ctypes.data):
            raise IndexError("a row that is none of its table")


def run(rule: str, kept: tuple[str, ...], visits: Sequence[Visit]) -> list[int]:
    """Visit tables on the CPU, those of a width and dtype in one call. Return the numbers of the visits that
    no kernel makes, and that change nothing: there is none, or rows of a gradient do not ascend.

    Raises IndexError for a row outside of its table.
    """
    left: list[int] = []
    groups: dict[tuple[int, torch.dtype] | None, list[int]] = {}
    for number, visit in enumerate(visits):
        groups.setdefault(visit.kind(), []).append(number)
    for kind, group in groups.items():
        found = kind is not None and wanted(visits[group[0]].held[0].device, kind[1])
        kernel = library(rule, kept, *kind) if kind is not None and found else None
        if kernel is None or not _visited(kernel, [visits[number] for number in group]):
            left += group
    return left


def _visited(kernel: Any, visits: Sequence[Visit]) -> bool:
    given: list[int] = []
    settings: dict[tuple[float, ...], Any] = {}
    rows = [visit.rows.contiguous() for visit in visits]
    for named, visit in zip(rows, visits, strict=True):
        numbers = visit.numbers
        if numbers not in settings:
            settings[numbers] = (ctypes.c_double * len(numbers))(*numbers)
        given += (
            named.shape[0],
            named.data_ptr(),
            visit.held[0].shape[0],
            0 if visit.seen is None else visit.seen.data_ptr(),
            0 if visit.history is None else ctypes.addressof(visit.history),
            0 if visit.grad is None else visit.grad.data_ptr(),
            ctypes.addressof(settings[numbers]),
        )
        given += [x.data_ptr() for x in visit.held]
    found = kernel(len(visits), (ctypes.c_int64 * len(given))(*given))
    if found == 1:
        raise IndexError("a row that is none of its table")
    return bool(found == 0)
