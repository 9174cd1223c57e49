"""The part of the kit that multiplies by matrices: by BLAS, if the process has one, and without."""

from __future__ import annotations

PRODUCTS = """\
/* BLAS as Fortran calls it, if the process has one, and how many threads it would use here. */
typedef void gemm(const char *, const char *, const int *, const int *, const int *, const real *,
                  const real *, const int *, const real *, const int *, const real *, real *, const int *);
static gemm *blas_;
static int (*threads_)(void);
void use_blas(void *found) { blas_ = (gemm *)found; }
void use_threads(void *found) { threads_ = (int (*)(void))found; }

static inline real dot_(const real *x, const real *y, int64_t k)
{
    real sum = 0;
    SUMMED(sum) for (int64_t c = 0; c < k; c++) sum += x[c] * y[c];
    return sum;
}

/* y [n, m] = (or +=, with `add`) x [n, k] times w, whose number for output j of channel c is
   w[j * sj + c * sc], of which one stride is 1; plus a bias [m], if there is one. lx, ly: strides of rows. */
KIT void product_(int64_t n, int64_t k, int64_t m, const real *x, int64_t lx, const real *w, int64_t sj,
                     int64_t sc, const real *bias, real *y, int64_t ly, int add)
{
    const int by_blas = blas_ && n > 3 && m > 1 && k > 1;
    if (by_blas && bias)
        for (int64_t i = 0; i < n; i++)
            if (!add) memcpy(y + i * ly, bias, m * sizeof(real));
            else LANES for (int64_t j = 0; j < m; j++) y[i * ly + j] += bias[j];
    if (by_blas) {
        const int n_ = n, k_ = k, m_ = m, x_ = lx, w_ = sc == 1 ? sj : sc, y_ = ly;
        const real one = 1, keep = add || bias;
        blas_(sc == 1 ? "T" : "N", "N", &m_, &n_, &k_, &one, w, &w_, x, &x_, &keep, y, &y_);
        return;
    }
    for (int64_t i = 0; i < n; i++, x += lx, y += ly) {
        if (sc == 1) {
            int64_t j = 0;
            for (; j + 4 <= m; j += 4) {
                const real *a = w + j * sj, *b = a + sj, *c = b + sj, *d = c + sj;
                real p = 0, q = 0, r = 0, s = 0;
                PRAGMA(omp simd reduction(+:p,q,r,s)) for (int64_t l = 0; l < k; l++)
                    p += x[l] * a[l], q += x[l] * b[l], r += x[l] * c[l], s += x[l] * d[l];
                const real found[4] = {p, q, r, s};
                for (int64_t l = 0; l < 4; l++)
                    y[j + l] = found[l] + (add ? y[j + l] : 0) + (bias ? bias[j + l] : 0);
            }
            for (; j < m; j++) y[j] = dot_(x, w + j * sj, k) + (add ? y[j] : 0) + (bias ? bias[j] : 0);
            continue;
        }
        if (!add) memset(y, 0, m * sizeof(real));
        for (int64_t c = 0; c < k; c++) {
            const real a = x[c], *b = w + c * sc;
            LANES for (int64_t j = 0; j < m; j++) y[j] += a * b[j];
        }
        if (bias) LANES for (int64_t j = 0; j < m; j++) y[j] += bias[j];
    }
}

/* A matrix in panels: of a vector's outputs after another, all channels; filled up with 0. */
typedef struct { const real *x; } panels;

KIT const real *in_panels_(memory *m, int64_t k, int64_t outputs, const real *w, int64_t sj, int64_t sc)
{
    real *found = take_(m, WHOLE(outputs) * k, sizeof(real)), *p = found;
    if (!found) return 0;
    const int64_t whole = sj == 1 ? outputs / VECTOR * VECTOR : 0;
    /* Of outputs that lie together some channels of all panels: memory is read in its order. */
    for (int64_t c = 0; whole && c < k; c += 16)
        for (int64_t j = 0; j < whole; j += VECTOR)
            for (int64_t l = c; l < k && l < c + 16; l++)
                memcpy(found + j * k + l * VECTOR, w + j + l * sc, VECTOR * sizeof(real));
    p += whole * k;
    for (int64_t j = whole; j < outputs; j += VECTOR, p += k * VECTOR) {
        const int64_t many = outputs - j < VECTOR ? outputs - j : VECTOR;
        const real *of = w + j * sj;
        if (many < VECTOR) memset(p, 0, k * VECTOR * sizeof(real));
        int64_t c = 0;
        for (; sc == 1 && many == VECTOR && c + VECTOR <= k; c += VECTOR)
            square_(many, of + c, sj, 1, p + c * VECTOR, VECTOR);
        for (; c < k; c++)
            for (int64_t b = 0; b < many; b++) p[c * VECTOR + b] = of[b * sj + c * sc];
    }
    return found;
}

/* Some rows of a panel: of k channels; over what y has, with `add`. n of its outputs are there. */
INLINE void of_panel_(int64_t rows, int64_t k, const real *x, int64_t lx, const real *p, const real *bias,
                      real *y, int64_t ly, int64_t n, int add)
{
    vector sum[6], start = {0};
    if (bias) memcpy(&start, bias, n * sizeof(real));
    for (int64_t r = 0; r < rows; r++) {
        sum[r] = start;
        if (add) {
            vector own = {0};
            memcpy(&own, y + r * ly, n * sizeof(real));
            sum[r] += own;
        }
    }
    for (int64_t c = 0; c < k; c++) {
        const vector of = load_(p + c * VECTOR);
        for (int64_t r = 0; r < rows; r++) sum[r] += x[r * lx + c] * of;
    }
    for (int64_t r = 0; r < rows; r++) memcpy(y + r * ly, &sum[r], n * sizeof(real));
}

/* The same of twelve rows, whose outputs are in half a panel: a half vector takes half the time. */
typedef real half_vector __attribute__((vector_size(32)));
INLINE void of_half_(int64_t k, const real *x, int64_t lx, const real *p, const real *bias, real *y,
                     int64_t ly, int64_t n, int add)
{
    half_vector sum[12], start = {0};
    if (bias) memcpy(&start, bias, n * sizeof(real));
    for (int64_t r = 0; r < 12; r++) {
        half_vector own = {0};
        if (add) memcpy(&own, y + r * ly, n * sizeof(real));
        sum[r] = start + own;
    }
    for (int64_t c = 0; c < k; c++) {
        half_vector of;
        memcpy(&of, p + c * VECTOR, sizeof of);
        for (int64_t r = 0; r < 12; r++) sum[r] += x[r * lx + c] * of;
    }
    for (int64_t r = 0; r < 12; r++) memcpy(y + r * ly, &sum[r], n * sizeof(real));
}

INLINE void rows_of_panel_(int64_t n, int64_t k, const real *x, int64_t lx, const real *p, const real *bias,
                           real *y, int64_t ly, int64_t many, int add)
{
    for (; n >= 12 && 2 * many <= VECTOR; n -= 12, x += 12 * lx, y += 12 * ly)
        of_half_(k, x, lx, p, bias, y, ly, many, add);
    for (; n >= 6; n -= 6, x += 6 * lx, y += 6 * ly) of_panel_(6, k, x, lx, p, bias, y, ly, many, add);
    switch (n) {
    case 1: of_panel_(1, k, x, lx, p, bias, y, ly, many, add); break;
    case 2: of_panel_(2, k, x, lx, p, bias, y, ly, many, add); break;
    case 3: of_panel_(3, k, x, lx, p, bias, y, ly, many, add); break;
    case 4: of_panel_(4, k, x, lx, p, bias, y, ly, many, add); break;
    case 5: of_panel_(5, k, x, lx, p, bias, y, ly, many, add); break;
    }
}

/* Rows and channels at a time: a panel's part stays in the nearest cache, the rows in the next one. */
#define ROWS_ 96
#define CHANNELS_ 256

KIT void by_panels_(int64_t n, int64_t k, int64_t m, const real *x, int64_t lx, const real *p,
                       const real *bias, real *y, int64_t ly, int add)
{
    for (int64_t i = 0; i < n; i += ROWS_, x += ROWS_ * lx, y += ROWS_ * ly)
        for (int64_t c = 0; c < k; c += CHANNELS_)
            for (int64_t j = 0; j < m; j += VECTOR) {
                const int64_t rows = n - i < ROWS_ ? n - i : ROWS_, w = k - c < CHANNELS_ ? k - c : CHANNELS_;
                const real *of = p + j * k + c * VECTOR, *own = bias && !c ? bias + j : 0;
                if (m - j >= VECTOR)
                    rows_of_panel_(rows, w, x + c, lx, of, own, y + j, ly, VECTOR, add || c);
                else
                    rows_of_panel_(rows, w, x + c, lx, of, own, y + j, ly, m - j, add || c);
            }
}

/* As `product_`, of a matrix that is put in panels where it is first worth it. BLAS, which does that for
   each call, is quicker for few rows, and where it has several threads. */
KIT int multiply_(memory *a, panels *p, int64_t n, int64_t k, int64_t m, const real *x, int64_t lx,
                     const real *w, int64_t sj, int64_t sc, const real *bias, real *y, int64_t ly, int add)
{
    const int shared = blas_ && threads_ && n * k * m > (1 << 20) && threads_() > 1;
    if (m < 2 || k < 1 || n < (p->x ? 4 : 48) || shared) {
        product_(n, k, m, x, lx, w, sj, sc, bias, y, ly, add);
        return 0;
    }
    if (!p->x && !(p->x = in_panels_(a, k, m, w, sj, sc))) return 2;
    by_panels_(n, k, m, x, lx, p->x, bias, y, ly, add);
    return 0;
}

/* How many of n rows go through a chain together: at most `most`, about as many each time; all of them where
   BLAS has several threads. */
KIT int64_t at_once_(int64_t n, int64_t most)
{
    if (n <= most || (blas_ && threads_ && threads_() > 1)) return n > 0 ? n : 1;
    const int64_t blocks = (n + most - 1) / most, rows = (n + blocks - 1) / blocks;
    return (rows + 5) / 6 * 6;
}
"""
