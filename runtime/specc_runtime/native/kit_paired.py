"""The part of the kit that multiplies rows by a matrix of their segment, as `paired` in training does."""

from __future__ import annotations

# Segments of fewer rows multiply each row by y first: their matrix would be more work than it saves.
PAIRED = """\
#define FEW 4

/* out [rows, N] = P (x * y) + Q x + z: rows begins[i] .. begins[i + 1] with row i of y and z. P, Q [N, W] in
   panels; Q may be null. at_x: the row of x that each row is, one after another in a segment; at_y, at_z: of
   each segment, its row; null: its own number. lz: the stride of z, 0 if it has one row; it may be null. */
INLINE int paired_(memory *m, int64_t n, const int32_t *begins, int64_t W, int64_t N, const real *x,
                   const int32_t *at_x, const real *y, const int32_t *at_y, const real *P, const real *Q,
                   const real *z, int64_t lz, const int32_t *at_z, real *out)
{
    REALS(own, W * VECTOR);
    REALS(product, FEW * W);
    if (!P) return 2;
    for (int64_t i = 0; i < n; i++) {
        const int64_t b = begins[i], l = begins[i + 1] - b;
        if (!l) continue;
        const real *of = x + (at_x ? at_x[b] : b) * W, *by = y + (at_y ? at_y[i] : i) * W;
        const real *add = z ? z + (at_z ? at_z[i] : i) * lz : 0;
        real *into = out + b * N;
        const int one = l >= FEW;
        if (!one)
            for (int64_t r = 0; r < l; r++)
                LANES for (int64_t c = 0; c < W; c++) product[r * W + c] = of[r * W + c] * by[c];
        for (int64_t j = 0; j < N; j += VECTOR) {
            const real *p = P + j * W, *q = Q ? Q + j * W : 0, *bias = add ? add + j : 0;
            const int64_t many = N - j < VECTOR ? N - j : VECTOR;
            if (!one) {
                rows_of_panel_(l, W, product, W, p, bias, into + j, N, many, 0);
                if (q) rows_of_panel_(l, W, of, W, q, 0, into + j, N, many, 1);
                continue;
            }
            for (int64_t c = 0; c < W; c++) {
                const vector plain = q ? load_(q + c * VECTOR) : (vector){0};
                const vector found = by[c] * load_(p + c * VECTOR) + plain;
                memcpy(own + c * VECTOR, &found, sizeof found);
            }
            rows_of_panel_(l, W, of, W, own, bias, into + j, N, many, 0);
        }
    }
    return 0;
}
"""
