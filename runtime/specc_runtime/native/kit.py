"""What the C of a model's scoring (specc.emit.scoring) calls: memory, rows, products, layers, loops.

Promises: every function works on memory that its caller gives. Rows are numbered by int32. A model's text
names these functions, so that what one of them does never changes; another need gets another name.
"""

from __future__ import annotations

from specc_runtime.native import self_attention, small
from specc_runtime.native.kit_memory import MEMORY
from specc_runtime.native.kit_paired import PAIRED
from specc_runtime.native.kit_products import PRODUCTS
from specc_runtime.native.kit_repeats import REPEATS
from specc_runtime.native.kit_rows import ROWS

_LAYERS = """\
KIT void layer_norm_(int64_t n, int64_t w, const real *x, const real *scale, const real *shift, double eps,
                        real *y)
{
    for (int64_t i = 0; i < n; i++, x += w, y += w) {
        real mean = 0, square = 0;
        SUMMED(mean) for (int64_t c = 0; c < w; c++) mean += x[c];
        mean /= w;
        SUMMED(square) for (int64_t c = 0; c < w; c++) square += (x[c] - mean) * (x[c] - mean);
        const real by = (real)(1 / sqrt(square / w + eps));
        LANES for (int64_t c = 0; c < w; c++) y[c] = (x[c] - mean) * by * scale[c] + shift[c];
    }
}

KIT void batch_norm_(int64_t n, int64_t w, const real *x, const real *mean, const real *variance,
                        const real *scale, const real *shift, double eps, real *y)
{
    for (int64_t i = 0; i < n; i++, x += w, y += w)
        LANES for (int64_t c = 0; c < w; c++) {
            const real by = 1 / (real)sqrt(variance[c] + (real)eps), z = (x[c] - mean[c]) * by;
            y[c] = scale ? z * scale[c] + shift[c] : z;
        }
}

/* by, less [w]: 1 / sqrt(variance + eps), mean times that. */
KIT void dice_(int64_t n, int64_t w, const real *x, const real *mean, const real *variance,
                  const real *slope, double eps, real *by, real *less, real *y)
{
    for (int64_t c = 0; c < w; c++)
        by[c] = 1 / (real)sqrt(variance[c] + (real)eps), less[c] = mean[c] * by[c];
    for (int64_t i = 0; i < n; i++, x += w, y += w)
        LANES for (int64_t c = 0; c < w; c++) {
            const real p = sigmoid_(x[c] * by[c] - less[c]);
            y[c] = (p + (1 - p) * slope[c]) * x[c];
        }
}

/* Softmax over the middle one of x [n, k, w]. */
KIT void softmax_(int64_t n, int64_t k, int64_t w, const real *x, real *y)
{
    for (int64_t i = 0; i < n; i++, x += k * w, y += k * w)
        for (int64_t c = 0; c < w; c++) {
            real top = -INFINITY, total = 0;
            for (int64_t j = 0; j < k; j++) top = x[j * w + c] > top ? x[j * w + c] : top;
            LANES for (int64_t j = 0; j < k; j++) y[j * w + c] = exp_(x[j * w + c] - top);
            for (int64_t j = 0; j < k; j++) total += y[j * w + c];
            for (int64_t j = 0; j < k; j++) y[j * w + c] /= total;
        }
}
"""

_ATTENTION = """\
/* Attention of the queries of a group over the keys that they share. sight: 0 all, 1 up to its own place, 2
   before it, 3 all but it. q [n, h, d], k [l, hk, d], v [l, hv, e], s: room for n * h * l; y [n, h, e]. */
KIT void attend_(int64_t n, int64_t l, int64_t h, int64_t hk, int64_t hv, int64_t d, int64_t e, real scale,
                    int sight, const real *q, const real *k, const real *v, real *s, real *y)
{
    if (!l) {
        memset(y, 0, n * h * e * sizeof(real));
        return;
    }
    if (hk == 1) product_(n * h, d, l, q, d, k, d, 1, 0, s, l, 0);
    for (int64_t b = 0; hk > 1 && b < h; b++)
        product_(n, d, l, q + b * d, h * d, k + b * d, h * d, 1, 0, s + b * l, h * l, 0);
    for (int64_t i = 0; i < n * h; i++) {
        real *x = s + i * l, top = -INFINITY, total = 0;
        const int64_t at = i / h;
        if (sight)
            for (int64_t j = 0; j < l; j++)
                if (sight == 1 ? j > at : sight == 2 ? j >= at : j == at) x[j] = -INFINITY;
        for (int64_t j = 0; j < l; j++) top = x[j] > top ? x[j] : top;
        if (top == -INFINITY) {
            memset(x, 0, l * sizeof(real));
            continue;
        }
        LANES for (int64_t j = 0; j < l; j++) x[j] = exp_(scale * (x[j] - top));
        SUMMED(total) for (int64_t j = 0; j < l; j++) total += x[j];
        LANES for (int64_t j = 0; j < l; j++) x[j] /= total;
        /* exp_ of -inf is tiny, not 0. */
        if (sight)
            for (int64_t j = 0; j < l; j++)
                if (sight == 1 ? j > at : sight == 2 ? j >= at : j == at) x[j] = 0;
    }
    if (hv == 1) product_(n * h, l, e, s, l, v, 1, e, 0, y, e, 0);
    for (int64_t b = 0; hv > 1 && b < h; b++)
        product_(n, l, e, s + b * l, h * l, v + b * e, 1, h * e, 0, y + b * e, h * e, 0);
}

/* Whether rows at an index, or at `first` and those after it, lie one after another; the first of them. */
KIT int64_t run_(const int32_t *index, int64_t first, int64_t n)
{
    if (!index) return first;
    for (int64_t i = 1; i < n; i++)
        if (index[first + i] != index[first] + i) return -1;
    return n ? index[first] : 0;
}

/* Attention by sequence: of n, with queries begins_q[i] .. begins_q[i + 1] (one each, if it is null), over
   keys begins_k[i] .. begins_k[i + 1]. at_k, at_v: the rows of keys and values, if they are repeated.
   Sequences of one query each that share their keys are a group. */
INLINE int attention_(memory *m, int64_t n, const int32_t *begins_q, const int32_t *begins_k, int64_t h,
                      int64_t hk, int64_t hv, int64_t d, int64_t e, real scale, int sight, const real *q,
                      const real *k, const int32_t *at_k, const real *v, const int32_t *at_v, real *y)
{
    int64_t most = 0;
    for (int64_t i = 0; i < n; i++)
        most = begins_k[i + 1] - begins_k[i] > most ? begins_k[i + 1] - begins_k[i] : most;
    const int64_t own = (hk * d + hv * WHOLE(e) + QUERIES) * most + QUERIES * (h * d + WHOLE(e) + 1);
    const int64_t room = begins_q ? own : h * most + (1 << 15);
    REALS(s, room);
    REALS(own_k, most * hk * d);
    REALS(own_v, most * hv * e);
    for (int64_t i = 0; i < n;) {
        const int64_t b = begins_k[i], l = begins_k[i + 1] - b;
        const int64_t rk = run_(at_k, b, l), rv = run_(at_v, b, l);
        int64_t end = i + 1;
        if (!begins_q && rk >= 0 && rv >= 0 && at_k && at_v)
            while (end < n && (end + 1 - i) * h * most <= room && begins_k[end + 1] - begins_k[end] == l
                   && run_(at_k, begins_k[end], l) == rk && run_(at_v, begins_k[end], l) == rv) end++;
        const real *keys = k + rk * hk * d, *values = v + rv * hv * e;
        if (rk < 0) {
            for (int64_t j = 0; j < l; j++)
                memcpy(own_k + j * hk * d, k + at_k[b + j] * hk * d, hk * d * sizeof(real));
            keys = own_k;
        }
        if (rv < 0) {
            for (int64_t j = 0; j < l; j++)
                memcpy(own_v + j * hv * e, v + at_v[b + j] * hv * e, hv * e * sizeof(real));
            values = own_v;
        }
        if (begins_q)
            of_sequence_(h, hk, hv, d, e, QUERIES, begins_q[i + 1] - begins_q[i], l, scale, sight,
                         q + begins_q[i] * h * d, keys, values, y + begins_q[i] * h * e, s);
        else
            attend_(end - i, l, h, hk, hv, d, e, scale, sight, q + i * h * d, keys, values, s, y + i * h * e);
        i = end;
    }
    return 0;
}

/* Rows of w numbers: row i is row at[i] of x, which has `rows`, or of those that come after them, `end`; with
   no `at` it is row i of x. */
typedef struct { const real *x, *end; const int32_t *at; int64_t rows, w; } picked;

/* Some of them, one after another: where they are, or copied. */
INLINE const real *together_(picked p, int64_t first, int64_t n, real *room)
{
    for (int64_t i = 0; p.at && i < n; i++) {
        const int64_t at = p.at[first + i];
        const real *x = at < p.rows ? p.x + at * p.w : p.end + (at - p.rows) * p.w;
        memcpy(room + i * p.w, x, p.w * sizeof(real));
    }
    return p.at ? room : p.x + first * p.w;
}

/* As `attention_` with several queries a sequence, of rows that are put together sequence by sequence. */
INLINE int ended_attention_(memory *m, int64_t n, const int32_t *begins_q, const int32_t *begins_k, int64_t h,
                            int64_t hk, int64_t hv, int64_t d, int64_t e, real scale, int sight, picked q,
                            picked k, picked v, real *y)
{
    int64_t most = 0, asked = 0;
    for (int64_t i = 0; i < n; i++) {
        most = begins_k[i + 1] - begins_k[i] > most ? begins_k[i + 1] - begins_k[i] : most;
        asked = begins_q[i + 1] - begins_q[i] > asked ? begins_q[i + 1] - begins_q[i] : asked;
    }
    REALS(s, (hk * d + hv * WHOLE(e) + QUERIES) * most + QUERIES * (h * d + WHOLE(e) + 1));
    REALS(own_q, asked * q.w);
    REALS(own_k, most * k.w);
    REALS(own_v, most * v.w);
    for (int64_t i = 0; i < n; i++) {
        const int64_t from = begins_q[i], many = begins_q[i + 1] - from;
        const int64_t b = begins_k[i], l = begins_k[i + 1] - b;
        of_sequence_(h, hk, hv, d, e, QUERIES, many, l, scale, sight, together_(q, from, many, own_q),
                     together_(k, b, l, own_k), together_(v, b, l, own_v), y + from * h * e, s);
    }
    return 0;
}
"""

KIT = "\n".join([
    small.TEXT, self_attention.SEQUENCE, MEMORY, ROWS, PRODUCTS, REPEATS,
    PAIRED, _LAYERS,
    f"#define QUERIES {self_attention.QUERIES}", _ATTENTION,
])  # fmt: skip
