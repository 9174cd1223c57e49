"""Catch up rows of a table and of its optimizer state, and apply a step to them, in one pass in C.

Promises: the values of train.skipped and of train.rules, up to rounding. The memory of later rows is
prefetched while a row is computed, so that a table larger than any cache takes little more time than a small
one.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from specc_runtime.native import build, source
from specc_runtime.native.say import say, wanted

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
# catch up; otherwise `rows` are distinct. Returns 0, or 1 if a row is outside of 0 .. size - 1.
_RUN = """\
int run(int64_t n, const int64_t *rows, int64_t size, real *const *held, int32_t *seen, const history *h,
        const real *grad, const double *o)
{
    for (int64_t i = 0; i < n; i++)
        if (rows[i] < 0 || rows[i] >= size) return 1;
    for (int64_t i = 0; i < n; i++) {
        if (h && i + 2 * AHEAD < n) __builtin_prefetch(seen + rows[i + 2 * AHEAD], 1);
        if (i + AHEAD < n) {
            const int64_t next = rows[i + AHEAD];
            if (!h || grad || seen[next] != h->steps)
                for (int s = 0; s < S; s++)
                    for (int64_t c = 0; c < W; c += 64 / (int64_t)sizeof(real))
                        __builtin_prefetch(held[s] + next * W + c, 1);
            if (h && seen[next] != h->steps) fetch_history(h, seen[next]);
        }
        real *x[S];
        for (int s = 0; s < S; s++) x[s] = held[s] + rows[i] * W;
        if (h) {
            const int64_t at = seen[rows[i]];
            if (at != h->steps) carry(h, at, x);
            seen[rows[i]] = (int32_t)(h->steps + (grad != 0));
        }
        if (grad) move(o, grad + i * W, x);
    }
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
    try:
        found = build.library(source.file([defined + _START, history, moved, _RUN], single)).run
    except build.Failed as e:
        say(str(e))
        return None
    whole, pointer = ctypes.c_int64, ctypes.c_void_p
    found.argtypes = [whole, pointer, whole, *[pointer] * 5]
    found.restype = ctypes.c_int
    return found


def run(
    rule: str,
    kept: tuple[str, ...],
    rows: Tensor,
    held: Sequence[Tensor],
    seen: Tensor | None = None,
    history: ctypes.Structure | None = None,
    grad: Tensor | None = None,
    numbers: Sequence[float] = (),
) -> bool:
    """Catch rows of a table and its optimizer state up with a history, if given, then apply a step with a
    gradient, if given. Return False, and change nothing, if there is no kernel.

    rows: int64 [n]; distinct if there is a gradient, which is [n, width]. held: the weight and its states,
    each [size, width]. Raises IndexError for a row outside of the table.
    """
    weight = held[0]
    if weight.dim() != 2 or not wanted(weight.device, weight.dtype):
        return False
    others = held if grad is None else [*held, grad]
    if not all(x.is_contiguous() and x.dtype == weight.dtype for x in others):
        return False
    kernel = library(rule, kept, weight.shape[1], weight.dtype)
    if kernel is None:
        return False
    rows = rows.contiguous()
    failed = kernel(
        len(rows),
        rows.data_ptr(),
        len(weight),
        (ctypes.c_void_p * len(held))(*(x.data_ptr() for x in held)),
        None if seen is None else seen.data_ptr(),
        None if history is None else ctypes.addressof(history),
        None if grad is None else grad.data_ptr(),
        (ctypes.c_double * len(numbers))(*numbers),
    )
    if failed:
        raise IndexError(f"a row that is not one of the {len(weight)} of a table")
    return True
