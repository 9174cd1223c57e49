"""Attention of every position over its sequence, in C: sequence by sequence, head by head, without padding.

    w = softmax(scale * dot(q, k)),  out = sum of w v

Promises: the values and first-order gradients of that definition, up to rounding; where a query sees no key
the result is 0. Saves nothing for backward but what it is given.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from specc_runtime.native import small
from specc_runtime.native.load import AT, NUMBER, load, real
from specc_runtime.ops.autocast import in_single

# Which keys a query sees: all, those up to its own position, those before it, all but its own.
SIGHTS = ("all", "until", "before", "others")
# Queries that are computed at a time.
QUERIES = 48

# One sequence forward, as scoring in C (specc_runtime.native.kit) has it, too. H: the number of heads. HK and
# HV: those of keys and values, H or 1 (shared). D and E: their widths. A: queries at a time, whole vectors.
# These are known where it is called.
SEQUENCE = """\
/* How many keys a query sees, of l, or one behind the last that it sees. */
INLINE int64_t seen_(int64_t own, int64_t l, int64_t sight)
{
    const int64_t until = sight == 1 ? own + 1 : sight == 2 ? own : l;
    return until < l ? until : l;
}

/* Whether a query does not see a key. */
INLINE int hides_(int64_t key, int64_t own, int64_t sight)
{
    return sight == 1 ? key > own : sight == 2 ? key >= own : sight == 3 ? key == own : 0;
}

/* Scores s [z, w] of z keys by w queries, whole vectors, the first of which is at `first`: to their exp, up
   to a factor of each query; 0 where a key is not seen. by [w]: 1 / a query's sum, or 0 if it sees none. */
INLINE void shared_out_(int64_t z, int64_t w, int64_t first, int64_t sight, real *s, real *by)
{
    for (int64_t c = 0; c < w; c += VECTOR, first += VECTOR) {
        real top[VECTOR], total[VECTOR];
        LANES for (int64_t i = 0; i < VECTOR; i++) top[i] = -INFINITY, total[i] = 0;
        for (int64_t j = 0; j < z; j++)
            LANES for (int64_t i = 0; i < VECTOR; i++) {
                const real x = hides_(j, first + i, sight) ? -INFINITY : s[j * w + c + i];
                top[i] = x > top[i] ? x : top[i];
            }
        LANES for (int64_t i = 0; i < VECTOR; i++) top[i] = top[i] == -INFINITY ? 0 : top[i];
        for (int64_t j = 0; j < z; j++)
            LANES for (int64_t i = 0; i < VECTOR; i++) {
                const real x = exp_(s[j * w + c + i] - top[i]), p = hides_(j, first + i, sight) ? 0 : x;
                s[j * w + c + i] = p;
                total[i] += p;
            }
        LANES for (int64_t i = 0; i < VECTOR; i++) by[c + i] = total[i] == 0 ? 0 : 1 / total[i];
    }
}

/* q [n, H, D], k [l, HK, D], v [l, HV, E]; out [n, H, E]. Keys are rows, and queries lanes. room: numbers,
   (HK * D + HV * E' + A) * l + A * (H * D + E' + 1) with E' whole vectors. */
INLINE void of_sequence_(int64_t H, int64_t HK, int64_t HV, int64_t D, int64_t E, int64_t A, int64_t n,
                         int64_t l, real scale, int64_t sight, const real *q, const real *k, const real *v,
                         real *out, real *room)
{
    const int64_t EP = WHOLE(E);
    real *qt = room, *by = qt + H * D * A, *y = by + A, *s = y + A * EP;
    real *vp = s + A * l, *kp = vp + HV * EP * l;
    if (!l) {
        memset(out, 0, n * H * E * sizeof(real));
        return;
    }
    /* Each head by itself, of rows that are read one after another: those of one head are far apart. */
    for (int64_t j = 0; j < l; j++)
        for (int64_t h = 0; h < HK; h++) packed_(1, D, D, k + (j * HK + h) * D, D, 1, kp + (h * l + j) * D);
    for (int64_t j = 0; j < l; j++)
        for (int64_t h = 0; h < HV; h++) packed_(1, E, EP, v + (j * HV + h) * E, E, 1, vp + (h * l + j) * EP);
    for (int64_t r = 0; r < n; r += A) {
        const int64_t m = n - r < A ? n - r : A, w = WHOLE(m), z = seen_(r + m - 1, l, sight);
        for (int64_t j = 0; j < m; j += VECTOR) { /* lanes behind them are not read */
            const real *x = q + (r + j) * H * D;
            const int64_t many = m - j < VECTOR ? m - j : VECTOR;
            int64_t c = 0;
            for (; c + VECTOR <= H * D; c += VECTOR) square_(many, x + c, H * D, scale, qt + c * w + j, w);
            for (; c < H * D; c++)
                for (int64_t i = 0; i < many; i++) qt[c * w + j + i] = x[i * H * D + c] * scale;
        }
        for (int64_t h = 0; h < H; h++) {
            const real *kh = kp + (HK > 1 ? h : 0) * l * D, *vh = vp + (HV > 1 ? h : 0) * l * EP;
            times_(z, D, w, kh, D, 1, qt + h * D * w, w, s, w, 0);
            shared_out_(z, w, r, sight, s, by);
            times_(m, z, EP, s, 1, w, vh, EP, y, EP, 0);
            real *o = out + (r * H + h) * E;
            for (int64_t j = 0; j < m; j++, o += H * E)
                for (int64_t c = 0; c < E; c += VECTOR) {
                    const vector x = load_(y + j * EP + c) * by[j];
                    memcpy(o + c, &x, (E - c < VECTOR ? E - c : VECTOR) * sizeof(real));
                }
        }
    }
}
"""

# The same sizes; DP and EP: D and E up to whole vectors.
_TEXT = """\
/* Scores to weights, of n queries from position `first` on, for keys up to m, whole vectors; 0 where a key is
   not seen. */
static void shares_(int64_t n, int64_t first, int64_t l, int64_t m, int64_t stride, int64_t sight, real *s)
{
    for (int64_t r = 0; r < n; r++, s += stride) {
        const int64_t own = first + r, seen = seen_(own, l, sight), hidden = sight == 3 && own < l;
        real top = -INFINITY, total = 0;
        for (int64_t j = seen; j < m; j++) s[j] = -INFINITY;
        if (hidden) s[own] = -INFINITY;
        if (seen - hidden < 1) {
            memset(s, 0, m * sizeof(real));
            continue;
        }
        PRAGMA(omp simd reduction(max:top)) for (int64_t j = 0; j < m; j++) top = s[j] > top ? s[j] : top;
        LANES for (int64_t j = 0; j < m; j++) s[j] = exp_(s[j] - top);
        /* exp_ of -inf is tiny, not 0. */
        for (int64_t j = seen; j < m; j++) s[j] = 0;
        if (hidden) s[own] = 0;
        PRAGMA(omp simd reduction(+:total)) for (int64_t j = 0; j < m; j++) total += s[j];
        const real by = 1 / total;
        LANES for (int64_t j = 0; j < m; j++) s[j] *= by;
    }
}

INLINE void added_(int64_t n, int64_t w, int64_t wide, const real *x, real *y, int64_t stride)
{
    for (int64_t r = 0; r < n; r++)
        LANES for (int64_t c = 0; c < w; c++) y[r * stride + c] += x[r * wide + c];
}

/* begins_q, begins_k [n + 1]: the first query and key of each sequence. */
void forward(int64_t n, const int64_t *begins_q, const int64_t *begins_k, real scale, int64_t sight,
             const real *q, const real *k, const real *v, real *out, real *room)
{
    for (int64_t i = 0; i < n; i++) {
        const int64_t from = begins_q[i], b = begins_k[i];
        of_sequence_(H, HK, HV, D, E, A, begins_q[i + 1] - from, begins_k[i + 1] - b, scale, sight,
                     q + from * H * D, k + b * HK * D, v + b * HV * E, out + from * H * E, room);
    }
}

/* dk and dv, which may be the same buffer, are 0 on entry. */
void backward(int64_t n, const int64_t *begins_q, const int64_t *begins_k, real scale, int64_t sight,
              const real *q, const real *k, const real *v, const real *d, real *dq, real *dk, real *dv,
              real *room)
{
    for (int64_t i = 0; i < n; i++) {
        const int64_t from = begins_q[i], to = begins_q[i + 1], b = begins_k[i], l = begins_k[i + 1] - b;
        const int64_t wide = WHOLE(l);
        real *kt = room, *vt = kt + D * wide, *kp = vt + E * wide, *dkp = kp + DP * wide;
        real *dvp = dkp + DP * wide, *qp = dvp + EP * wide, *gp = qp + A * DP, *y = gp + A * EP;
        real *s = y + A * DP, *ds = s + A * wide;
        if (!l) memset(dq + from * H * D, 0, (to - from) * H * D * sizeof(real));
        for (int64_t h = 0; l && to > from && h < H; h++) {
            const int64_t hk = HK > 1 ? h : 0, hv = HV > 1 ? h : 0;
            if (HK > 1 || !h) turned_(l, D, wide, k + (b * HK + h) * D, HK * D, kt);
            if (HK > 1 || !h) packed_(l, D, DP, k + (b * HK + h) * D, HK * D, 1, kp);
            if (HV > 1 || !h) turned_(l, E, wide, v + (b * HV + h) * E, HV * E, vt);
            memset(dkp, 0, DP * l * sizeof(real));
            memset(dvp, 0, EP * l * sizeof(real));
            for (int64_t r = from; r < to; r += A) {
                const int64_t m = to - r < A ? to - r : A;
                const int64_t z = seen_(r + m - 1 - from, l, sight), w = WHOLE(z);
                packed_(m, D, DP, q + (r * H + h) * D, H * D, scale, qp);
                packed_(m, E, EP, d + (r * H + h) * E, H * E, 1, gp);
                times_(m, D, w, qp, DP, 1, kt, wide, s, wide, 0);
                shares_(m, r - from, l, w, wide, sight, s);
                times_(m, E, w, gp, EP, 1, vt, wide, ds, wide, 0);
                times_(z, m, EP, s, 1, wide, gp, EP, dvp, EP, 1);
                for (int64_t j = 0; j < m; j++) {
                    const real *p = s + j * wide;
                    real *x = ds + j * wide, mean = 0;
                    PRAGMA(omp simd reduction(+:mean)) for (int64_t c = 0; c < w; c++) mean += p[c] * x[c];
                    LANES for (int64_t c = 0; c < w; c++) x[c] = p[c] * (x[c] - mean);
                }
                times_(z, m, DP, ds, 1, wide, qp, DP, dkp, DP, 1);
                times_(m, z, DP, ds, wide, 1, kp, DP, y, DP, 0);
                for (int64_t j = 0; j < m; j++)
                    LANES for (int64_t c = 0; c < D; c++)
                        dq[((r + j) * H + h) * D + c] = y[j * DP + c] * scale;
            }
            added_(l, D, DP, dkp, dk + (b * HK + hk) * D, HK * D);
            added_(l, E, EP, dvp, dv + (b * HV + hv) * E, HV * E);
        }
    }
}
"""


# Of sequences whose last rows are apart: rows begins[i] .. begins[i + 1] of x, and then row i of `end`. Each
# is put together where it is read at once, and its gradients are taken apart there.
ENDED = """\
INLINE void put_(int64_t l, int64_t w, const real *x, const real *end, real *y)
{
    memcpy(y, x, (l - 1) * w * sizeof(real));
    memcpy(y + (l - 1) * w, end, w * sizeof(real));
}

INLINE void taken_(int64_t l, int64_t w, const real *y, real *x, real *end)
{
    memcpy(x, y, (l - 1) * w * sizeof(real));
    memcpy(end, y + (l - 1) * w, w * sizeof(real));
}

/* room: H * D + HK * D + HV * E numbers more a position than for one sequence. */
void forward_ended(int64_t n, const int64_t *begins, real scale, int64_t sight, const real *q, const real *qe,
                   const real *k, const real *ke, const real *v, const real *ve, real *out, real *room)
{
    for (int64_t i = 0; i < n; i++) {
        const int64_t b = begins[i], l = begins[i + 1] - b + 1;
        real *q_ = room, *k_ = q_ + l * H * D, *v_ = k_ + l * HK * D;
        put_(l, H * D, q + b * H * D, qe + i * H * D, q_);
        put_(l, HK * D, k + b * HK * D, ke + i * HK * D, k_);
        put_(l, HV * E, v + b * HV * E, ve + i * HV * E, v_);
        of_sequence_(H, HK, HV, D, E, A, l, l, scale, sight, q_, k_, v_, out + (b + i) * H * E,
                     v_ + l * HV * E);
    }
}

/* dv is null where the keys are the values. room: twice as many numbers more. */
void backward_ended(int64_t n, const int64_t *begins, real scale, int64_t sight, const real *q,
                    const real *qe, const real *k, const real *ke, const real *v, const real *ve,
                    const real *d, real *dq, real *dqe, real *dk, real *dke, real *dv, real *dve, real *room)
{
    for (int64_t i = 0; i < n; i++) {
        const int64_t b = begins[i], l = begins[i + 1] - b + 1, whole[2] = {0, l};
        real *q_ = room, *k_ = q_ + l * H * D, *v_ = k_ + l * HK * D, *dq_ = v_ + l * HV * E;
        real *dk_ = dq_ + l * H * D, *dv_ = dv ? dk_ + l * HK * D : dk_, *rest = dk_ + l * (HK * D + HV * E);
        put_(l, H * D, q + b * H * D, qe + i * H * D, q_);
        put_(l, HK * D, k + b * HK * D, ke + i * HK * D, k_);
        put_(l, HV * E, v + b * HV * E, ve + i * HV * E, v_);
        memset(dk_, 0, l * (HK * D + HV * E) * sizeof(real));
        backward(1, whole, whole, scale, sight, q_, k_, v_, d + (b + i) * H * E, dq_, dk_, dv_, rest);
        taken_(l, H * D, dq_, dq + b * H * D, dqe + i * H * D);
        taken_(l, HK * D, dk_, dk + b * HK * D, dke + i * HK * D);
        if (dv) taken_(l, HV * E, dv_, dv + b * HV * E, dve + i * HV * E);
    }
}
"""


@lru_cache(maxsize=64)
def library(heads: int, keys: int, values: int, width: int, value_width: int, dtype: torch.dtype) -> Any:
    """Return the library with `forward` and `backward` for these sizes, or None if it cannot be built."""
    sizes = {"H": heads, "HK": keys, "HV": values, "D": width, "E": value_width, "A": QUERIES}
    sizes |= {"DP": small.whole(width), "EP": small.whole(value_width)}
    text = "".join(f"#define {name} {size}\n" for name, size in sizes.items()) + _TEXT
    start, one = [NUMBER, AT, AT, real(dtype), NUMBER], [NUMBER, AT, real(dtype), NUMBER]
    return load(
        [small.TEXT, SEQUENCE, text, ENDED],
        dtype,
        forward=[*start, *[AT] * 5],
        backward=[*start, *[AT] * 8],
        forward_ended=[*one, *[AT] * 8],
        backward_ended=[*one, *[AT] * 14],
    )


def attend_all(
    query: Tensor,
    key: Tensor,
    value: Tensor | None,
    asked: Tensor,
    known: Tensor,
    scale: float,
    where: str,
) -> Tensor | None:
    """Return the attention of queries over the positions of their sequence: [queries, heads, e].

    query [queries, heads, d], key [positions, heads or 1, d], value [positions, heads or 1, e]; if value is
    None the keys are the values. asked, known, int64 [n]: how many queries and keys each sequence has; the
    sequences follow each other. where: one of SIGHTS.

    Returns None if there are no kernels.
    """
    values = key if value is None else value
    kernel = library(
        query.shape[1], key.shape[1], values.shape[1], query.shape[2], values.shape[2], query.dtype
    )
    if kernel is None:
        return None
    begins = [torch.nn.functional.pad(x.cumsum(0), (1, 0)) for x in (asked, known)]
    longest = small.whole(int(known.max()))
    given = (begins, longest, scale, SIGHTS.index(where))
    found: Tensor = _Attention.apply(kernel, given, query, key, value)  # type: ignore[no-untyped-call]
    return found


def room(query: Tensor, key: Tensor, value: Tensor, longest: int, more: int = 0) -> Tensor:
    """Return memory for one sequence and some of its queries, and for `more` numbers a position."""
    d, e = small.whole(query.shape[2]), small.whole(value.shape[2])
    heads, own = query.shape[1] * d, key.shape[1] * d + value.shape[1] * e
    own += 3 * d + 2 * e + 2 * QUERIES + more
    return query.new_empty(longest * own + QUERIES * (heads + 2 * d + 2 * e))


@in_single
class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, library: Any, given: Any, query: Tensor, key: Tensor, value: Tensor | None
    ) -> Tensor:
        (asked, known), longest, scale, sight = given
        query, key = query.contiguous(), key.contiguous()
        values = key if value is None else value.contiguous()
        out = query.new_empty(*query.shape[:2], values.shape[2])
        tensors = (query, key, values, out, room(query, key, values, longest))
        places = (asked.data_ptr(), known.data_ptr())
        library.forward(len(asked) - 1, *places, scale, sight, *(x.data_ptr() for x in tensors))
        ctx.library, ctx.given, ctx.alone = library, given, value is None
        ctx.save_for_backward(query, key, values)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        (asked, known), longest, scale, sight = ctx.given
        query, key, value = ctx.saved_tensors
        d_query, d_key = torch.empty_like(query), torch.zeros_like(key)
        d_value = d_key if ctx.alone else torch.zeros_like(value)
        own = room(query, key, value, longest)
        tensors = (query, key, value, grad.contiguous(), d_query, d_key, d_value, own)
        places = (asked.data_ptr(), known.data_ptr())
        ctx.library.backward(len(asked) - 1, *places, scale, sight, *(x.data_ptr() for x in tensors))
        return None, None, d_query, d_key, None if ctx.alone else d_value
