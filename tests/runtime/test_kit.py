"""The kit of scoring in C: products without BLAS, and memory that serves the next call."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from specc_runtime.native.kit import KIT
from specc_runtime.native.load import AT, NUMBER, load

# One product with a matrix in panels, of a memory that is released.
_TEXT = """\
int once(int64_t n, int64_t k, int64_t m, const real *x, int64_t lx, const real *w, int64_t sj, int64_t sc,
         const real *bias, real *y, int64_t ly, int64_t add)
{
    memory *a = memory_();
    const real *p = in_panels_(a, k, m, w, sj, sc);
    by_panels_(n, k, m, x, lx, p, bias, y, ly, add);
    release_(a);
    return 0;
}

/* The same of rows that are multiplied by the matrix of their segment, the rows of x and y by an index. */
int segments(int64_t n, const int32_t *begins, int64_t w, int64_t m, const real *x, const int32_t *at_x,
             const real *y, const int32_t *at_y, const real *p, const real *q, const real *z, int64_t lz,
             real *out)
{
    memory *a = memory_();
    const real *of = in_panels_(a, w, m, p, w, 1), *own = q ? in_panels_(a, w, m, q, w, 1) : 0;
    const int failed = paired_(a, n, begins, w, m, x, at_x, y, at_y, of, own, z, lz, 0, out);
    release_(a);
    return failed;
}

/* The same of channels that repeat rows: `looked_up` ones as ids have them, and two that are added up. */
int folded(int64_t n, int64_t k, int64_t m, const real *x, const real *w, const real *bias, real *y,
           int64_t ly, int64_t add, const real *table, int64_t rows, const int32_t *ids, int64_t of_table,
           const real *few, const int32_t *at, int64_t most, const real *one, int64_t width,
           const int32_t *begins, const float *share, int64_t mean, int64_t all)
{
    memory *a = memory_();
    panels p[4] = {{0}};
    repeats t;
    if (few_(a, all, ids, rows, of_table, table, &t)) return -1;
    const repeats r[] = {{t.x, of_table, t.at, t.n, 1, of_table, begins, share, mean},
                         {few, width, at, most, 1 + of_table, width},
                         {one, width, 0, 1, 1 + of_table, width}};
    const int failed = folded_(a, p, n, k, m, x, k, w, k, 1, bias, y, ly, add, few ? 3 : 1, few ? r : r + 2);
    release_(a);
    return failed ? -1 : t.n == TOO_MANY ? 0 : (int)t.n;
}

static char *taken(int64_t numbers)
{
    memory *a = memory_();
    char *first = take_(a, numbers, sizeof(real)), *second = take_(a, numbers, sizeof(real));
    memset(first, 1, numbers * sizeof(real)), memset(second, 2, numbers * sizeof(real));
    const int whole = first[numbers * sizeof(real) - 1] == 1 && (int64_t)second % 64 == 0;
    release_(a);
    return whole ? first : 0;
}

/* Whether what a call takes lies where the call before it had it, once that is known; -1 if it overlaps. */
int again(int64_t numbers)
{
    taken(numbers);
    const char *first = taken(numbers), *second = taken(numbers);
    return !first || !second ? -1 : first == second;
}
"""


@pytest.fixture(scope="module")
def library() -> Any:
    return load(
        [KIT, _TEXT],
        torch.float64,
        once=[*[NUMBER] * 3, AT, NUMBER, AT, NUMBER, NUMBER, AT, AT, NUMBER, NUMBER],
        segments=[NUMBER, AT, NUMBER, NUMBER, *[AT] * 7, NUMBER, AT],
        again=[NUMBER],
        folded=[
            *[NUMBER] * 3,
            *[AT] * 4,
            NUMBER,
            NUMBER,
            AT,
            NUMBER,
            AT,
            NUMBER,
            AT,
            AT,
            NUMBER,
            AT,
            NUMBER,
            AT,
            AT,
            NUMBER,
            NUMBER,
        ],
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_turned_a_square_at_a_time(dtype: torch.dtype) -> None:
    """Numbers are moved, and multiplied; of rows that are not there nothing is read."""
    text = """
    void turned(int64_t n, const real *x, int64_t sx, real *y, int64_t sy) { square_(n, x, sx, 2, y, sy); }
    int64_t most() { return VECTOR; }
    """
    found = load([KIT, text], dtype, turned=[NUMBER, AT, NUMBER, AT, NUMBER], most=[])
    most = found.most()
    assert most == 64 // dtype.itemsize
    for n in (1, 3, most):
        x = torch.randn(n, most + 3, dtype=dtype)
        y = torch.zeros(most, most + 5, dtype=dtype)
        found.turned(n, x.data_ptr(), most + 3, y.data_ptr(), most + 5)
        assert torch.equal(y[:, :n], 2 * x[:, :most].T)
        assert not y[:, most:].any()


@pytest.mark.parametrize("n", [0, 1, 5, 6, 97, 200])
@pytest.mark.parametrize(("k", "m"), [(1, 2), (7, 16), (300, 9), (256, 33), (64, 1)])
@pytest.mark.parametrize("turned", [False, True])
def test_products_in_panels(library: Any, n: int, k: int, m: int, turned: bool) -> None:
    torch.manual_seed(n + k + m)
    # Rows with other numbers beside them, which are not touched.
    x, y = torch.randn(n, k + 3, dtype=torch.double), torch.randn(n, m + 2, dtype=torch.double)
    w = torch.randn(k, m, dtype=torch.double) if turned else torch.randn(m, k, dtype=torch.double)
    bias = torch.randn(m, dtype=torch.double)
    strides = (1, m) if turned else (k, 1)
    for add in (0, 1):
        for own in (None, bias):
            out = y.clone()
            library.once(
                n, k, m, x.data_ptr(), k + 3, w.data_ptr(), *strides, None if own is None else own.data_ptr(),
                out.data_ptr(), m + 2, add,
            )  # fmt: skip
            expected = y.clone()
            product = x[:, :k] @ (w if turned else w.T) + (0 if own is None else own)
            expected[:, :m] = product + (y[:, :m] if add else 0)
            assert torch.allclose(out, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("w", "m"), [(5, 3), (16, 33), (19, 1), (8, 20)])
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("added", ["none", "one", "each"])
def test_rows_by_the_matrix_of_their_segment(library: Any, w: int, m: int, own: bool, added: str) -> None:
    torch.manual_seed(w + m)
    lengths = [0, 1, 3, 4, 13, 101, 0]
    n, begins = len(lengths), torch.tensor([0, *lengths]).cumsum(0).int()
    # Every segment is a run of the same rows, which begin somewhere else in each.
    starts = [5, 0, 2, 5, 1, 3, 0]
    at_x = torch.tensor([s + r for s, count in zip(starts, lengths, strict=True) for r in range(count)]).int()
    at_y = torch.randint(0, 3, (n,)).int()
    x, y, p, q, z = (
        torch.randn(*size, dtype=torch.double) for size in ((110, w), (3, w), (m, w), (m, w), (n, m))
    )
    segment = torch.repeat_interleave(torch.arange(n), torch.tensor(lengths))
    rows, factor = x[at_x.long()], y[at_y.long()][segment]
    expected = (rows * factor) @ p.T
    if own:
        expected += rows @ q.T
    if added != "none":
        expected += z[segment] if added == "each" else z[0]
    out = torch.full((sum(lengths), m), torch.nan, dtype=torch.double)
    given = [t.data_ptr() for t in (x, at_x, y, at_y, p)]
    more = (
        q.data_ptr() if own else None,
        None if added == "none" else z.data_ptr(),
        m if added == "each" else 0,
    )
    assert not library.segments(n, begins.data_ptr(), w, m, *given, *more, out.data_ptr())
    assert torch.allclose(out, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n", [0, 1, 5, 97, 300])
@pytest.mark.parametrize("rows", [1, 7, 6000])
@pytest.mark.parametrize("of_table", [3, 40])
@pytest.mark.parametrize("bag", ["", "sum", "mean", "weighted", "none"])
def test_products_of_rows_that_repeat(library: Any, n: int, rows: int, of_table: int, bag: str) -> None:
    """Of a table's, in bags or not, and of a sum with what is the same in all rows; and of that alone."""
    torch.manual_seed(n + rows + of_table)
    width, m = 21, 19
    k = 1 + of_table + width + 2
    made = lambda *sizes: torch.randn(*sizes, dtype=torch.double)  # noqa: E731
    table, few, one, x, w, bias, y = (
        made(*sizes) for sizes in ((rows, of_table), (2, width), (1, width), (n, k), (m, k), (m,), (n, m + 2))
    )
    lengths = torch.randint(0, 3, (n,)) if bag else torch.ones(n, dtype=torch.int64)
    begins = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)]).int()
    ids, at = torch.randint(0, rows, (int(lengths.sum()),)).int(), torch.randint(0, 2, (n,)).int()
    owner = torch.repeat_interleave(torch.arange(n), lengths)
    share = torch.rand(len(ids)) if bag == "weighted" else None
    shares = 1 / lengths[owner] if bag == "mean" else torch.ones(len(ids)) if share is None else share
    looked_up = table[ids.long()] * shares.double().unsqueeze(1)
    x[:, 1 : 1 + of_table] = torch.zeros(n, of_table, dtype=torch.double).index_add(0, owner, looked_up)
    x[:, 1 + of_table : 1 + of_table + width] = one if bag == "none" else few[at.long()] + one
    for own, add in ((None, 0), (None, 1), (bias, 0), (bias, 1)):
        out, expected = y.clone(), y.clone()
        expected[:, :m] = x @ w.T + (y[:, :m] if add else 0) + (0 if own is None else own)
        found = library.folded(
            n, k, m, x.data_ptr(), w.data_ptr(), None if own is None else own.data_ptr(), out.data_ptr(),
            m + 2, add, table.data_ptr(), rows, ids.data_ptr(), of_table,
            None if bag == "none" else few.data_ptr(), at.data_ptr(), 2,
            one.data_ptr(), width, begins.data_ptr() if bag else None,
            None if share is None else share.data_ptr(), int(bag == "mean"), len(ids),
        )  # fmt: skip
        tolerance = 1e-6 if bag == "mean" else 1e-11  # shares of the test are in single precision
        torch.testing.assert_close(out, expected, rtol=tolerance, atol=tolerance)
        distinct = len(ids.unique())
        enough = len(ids) >= 64 and rows <= 16 * len(ids) and 2 * distinct <= len(ids)
        assert found == (distinct if enough else 0)


@pytest.mark.parametrize("numbers", [1, 1000, 2**18])
def test_memory_of_the_next_call(library: Any, numbers: int) -> None:
    assert library.again(numbers) == 1


def test_much_memory_is_given_back(library: Any) -> None:
    assert library.again(2**24) >= 0
    assert library.again(1000) == 1
