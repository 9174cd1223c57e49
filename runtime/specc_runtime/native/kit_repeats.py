"""The part of the kit that multiplies rows that repeat once each, and adds their products where they are."""

from __future__ import annotations

REPEATS = """\
/* Of a value, `width` channels from `start` on. Row i of the value is there row at[i] of x [n, ...], whose
   rows are `lx` apart; row 0 where `at` is null. Of bags it is the sum of rows at[j], j from begins[i] up to
   begins[i + 1], each times its share; without shares their sum, or mean. Several with the same channels are
   added up. */
typedef struct {
    const real *x; int64_t lx; const int32_t *at; int64_t n, start, width;
    const int32_t *begins; const float *share; int64_t mean;
} repeats;
#define MOST_REPEATS 32
#define TOO_MANY ((int64_t)1 << 40)

/* Of fewer ids to find the distinct ones takes longer than it saves. To read a product and to add it takes as
   long as so many multiplications, if it is in the nearest caches or not. */
#define LEAST_IDS 64
#define NEAR 8
#define FAR 32

/* The distinct rows of a table that n ids name, and of each id which of them it is, if these are at most half
   as many as the ids; else TOO_MANY rows. Where a table is large finding them would take too long. */
KIT int few_(memory *m, int64_t n, const int32_t *ids, int64_t rows, int64_t w, const real *table,
             repeats *found)
{
    *found = (repeats){.x = table, .n = TOO_MANY};
    if (n < LEAST_IDS || rows > 16 * n) return 0;
    INTS(place, rows);
    INTS(at, n);
    int32_t many = 0;
    memset(place, 0, rows * sizeof(int32_t));
    for (int64_t i = 0; i < n; i++) {
        if (!place[ids[i]]) {
            place[ids[i]] = ++many;
            if (2 * (int64_t)many > n) return 0;
        }
        at[i] = place[ids[i]] - 1;
    }
    REALS(own, many * w);
    for (int64_t id = 0; id < rows; id++)
        if (place[id]) memcpy(own + (place[id] - 1) * w, table + id * w, w * sizeof(real));
    found->x = own, found->at = at, found->n = many;
    return 0;
}

/* y [m] += a row of products for row i of a value. */
INLINE void add_(int64_t m, const real *product, const repeats *of, int64_t i, real *y)
{
    if (!of->begins) {
        const real *z = product + of->at[i] * m;
        LANES for (int64_t c = 0; c < m; c++) y[c] += z[c];
        return;
    }
    const int32_t begin = of->begins[i], end = of->begins[i + 1];
    for (int32_t j = begin; j < end; j++) {
        const real by = of->share ? (real)of->share[j] : of->mean ? 1 / (real)(end - begin) : 1;
        const real *z = product + of->at[j] * m;
        LANES for (int64_t c = 0; c < m; c++) y[c] += by * z[c];
    }
}

/* As `multiply_`. Channels whose rows repeat are multiplied once for each row that there is, where this is
   less work than to add the products up: r [count], by their channels in order. p: count + 1 panels. */
KIT int folded_(memory *a, panels *p, int64_t n, int64_t k, int64_t m, const real *x, int64_t lx,
                const real *w, int64_t sj, int64_t sc, const real *bias, real *y, int64_t ly, int add,
                int64_t count, const repeats *r)
{
    real *product[MOST_REPEATS], *same = 0;
    const repeats *of[MOST_REPEATS];
    int64_t terms = 0, runs = 0, done = 0, from[MOST_REPEATS + 1], to[MOST_REPEATS + 1];
    for (int64_t g = 0, next; g < count; g = next) {
        int64_t rows = 0, cost = 0;
        for (next = g; next < count && r[next].start == r[g].start; next++) {
            rows += r[next].n;
            if (r[next].n == 1 && !r[next].at) continue;
            cost += (r[next].begins ? r[next].begins[n] : n) * (r[next].n * m > 1 << 18 ? FAR : NEAR);
        }
        if (2 * rows > n || (n - rows) * r[g].width < cost) continue;
        if (done < r[g].start) from[runs] = done, to[runs++] = r[g].start;
        done = r[g].start + r[g].width;
        panels own = {0};
        for (int64_t t = g; t < next; t++) {
            if (r[t].n == 1 && !r[t].at) { /* the same for all rows, as the bias is */
                if (!same) {
                    if (!(same = take_(a, m, sizeof(real)))) return 2;
                    if (bias) memcpy(same, bias, m * sizeof(real));
                    else memset(same, 0, m * sizeof(real));
                    bias = same;
                }
                product_(1, r[g].width, m, r[t].x, r[t].lx, w + r[g].start * sc, sj, sc, 0, same, m, 1);
                continue;
            }
            int64_t s = 0;
            while (s < terms && (of[s]->at != r[t].at || of[s]->n != r[t].n)) s++;
            const int more = s < terms;
            if (!more) {
                if (!(product[terms] = take_(a, r[t].n * m, sizeof(real)))) return 2;
                of[terms++] = r + t;
            }
            if (multiply_(a, &own, r[t].n, r[g].width, m, r[t].x, r[t].lx, w + r[g].start * sc, sj, sc,
                          0, product[s], m, more)) return 2;
        }
    }
    if (!terms && !same) return multiply_(a, p, n, k, m, x, lx, w, sj, sc, bias, y, ly, add);
    if (done < k) from[runs] = done, to[runs++] = k;
    /* Rows are quicker copied one by one than read panel by panel. So many stay in the cache from one product
       to the next; threads of BLAS want all. */
    const int64_t most = threads_ && threads_() > 1 ? n : ROWS_;
    for (int64_t i = 0; i < n; i += most, x += most * lx, y += most * ly) {
        const int64_t rows = n - i < most ? n - i : most;
        for (int64_t j = 0; j < rows; j++) {
            real *o = y + j * ly;
            const int copied = !add && terms && !of[0]->begins;
            if (copied) memcpy(o, product[0] + of[0]->at[i + j] * m, m * sizeof(real));
            else if (!add && (terms || !runs)) memset(o, 0, m * sizeof(real));
            for (int64_t s = copied; s < terms; s++) add_(m, product[s], of[s], i + j, o);
            if (bias && !runs) LANES for (int64_t c = 0; c < m; c++) o[c] += bias[c];
        }
        for (int64_t d = 0; d < runs; d++)
            if (multiply_(a, p + d, rows, to[d] - from[d], m, x + from[d], lx, w + from[d] * sc, sj, sc,
                          d ? 0 : bias, y, ly, add || terms || d)) return 2;
    }
    return 0;
}
"""
