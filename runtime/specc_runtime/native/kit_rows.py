"""The part of the kit that works out which row belongs to which (specc_runtime.layout, in C)."""

from __future__ import annotations

ROWS = """\
#define MOST 2000000000

/* Lengths as int32; null if one is negative or more than `most`. */
KIT int32_t *lengths_(memory *m, int64_t n, const int64_t *given, int64_t most)
{
    int32_t *found = take_(m, n, sizeof(int32_t));
    for (int64_t i = 0; found && i < n; i++) {
        if (given[i] < 0 || given[i] > most) return 0;
        found[i] = (int32_t)given[i];
    }
    return found;
}

KIT int32_t *alike_(memory *m, int64_t n, int32_t value)
{
    int32_t *found = take_(m, n, sizeof(int32_t));
    for (int64_t i = 0; found && i < n; i++) found[i] = value;
    return found;
}

/* 0 .. n - 1. */
KIT int32_t *counting_(memory *m, int64_t n)
{
    int32_t *found = take_(m, n, sizeof(int32_t));
    for (int64_t i = 0; found && i < n; i++) found[i] = (int32_t)i;
    return found;
}

/* x + y (if there is a y) + by, at least 0 and at most `most`. */
KIT int32_t *change_(memory *m, int64_t n, const int32_t *x, const int32_t *y, int32_t by, int32_t most)
{
    int32_t *found = take_(m, n, sizeof(int32_t));
    for (int64_t i = 0; found && i < n; i++) {
        const int32_t sum = x[i] + (y ? y[i] : 0) + by;
        found[i] = sum < 0 ? 0 : sum > most ? most : sum;
    }
    return found;
}

/* Ids as int32; null if one is no row of a table of `rows`. */
KIT int32_t *ids_(memory *m, int64_t n, const int64_t *given, int64_t rows)
{
    return lengths_(m, n, given, rows - 1 < MOST ? rows - 1 : MOST);
}

KIT int32_t *picked_(memory *m, int64_t n, const int32_t *of, const int32_t *index)
{
    int32_t *found = take_(m, n, sizeof(int32_t));
    for (int64_t i = 0; found && i < n; i++) found[i] = of[index[i]];
    return found;
}

/* The first row of each of n rows' runs, and the end of the last: [n + 1]. Null if there are too many. */
KIT int32_t *begins_(memory *m, int64_t n, const int32_t *lengths)
{
    int32_t *found = take_(m, n + 1, sizeof(int32_t));
    int64_t total = 0;
    for (int64_t i = 0; found && i < n; i++) {
        found[i] = (int32_t)total;
        if ((total += lengths[i]) > MOST) return 0;
    }
    if (found) found[n] = (int32_t)total;
    return found;
}

KIT int32_t *owners_(memory *m, int64_t n, const int32_t *begins)
{
    int32_t *found = take_(m, begins[n], sizeof(int32_t));
    for (int64_t i = 0; found && i < n; i++)
        for (int32_t j = begins[i]; j < begins[i + 1]; j++) found[j] = (int32_t)i;
    return found;
}

KIT int32_t *places_(memory *m, int64_t n, const int32_t *begins)
{
    int32_t *found = take_(m, begins[n], sizeof(int32_t));
    for (int64_t i = 0; found && i < n; i++)
        for (int32_t j = begins[i]; j < begins[i + 1]; j++) found[j] = j - begins[i];
    return found;
}

/* Row and position as a row of the combination with one axis more, of whose `rows` runs `begins` says where
   they are. A position that is not there gives some number. */
KIT int32_t *located_(memory *m, int64_t n, const int32_t *row, int64_t rows, const int32_t *begins,
                         const int32_t *place)
{
    int32_t *found = take_(m, n, sizeof(int32_t));
    for (int64_t i = 0; found && i < n; i++) {
        const int32_t at = row[i] < 0 ? 0 : row[i] >= rows ? (int32_t)rows - 1 : row[i];
        found[i] = (rows ? begins[at] : 0) + place[i];
    }
    return found;
}

/* Positions of an appended axis as rows of x followed by rows of y. */
KIT int32_t *appended_(memory *m, int64_t n, const int32_t *place, const int32_t *length, int64_t rows_x,
                          const int32_t *from_x, const int32_t *from_y)
{
    int32_t *found = take_(m, n, sizeof(int32_t));
    for (int64_t i = 0; found && i < n; i++)
        found[i] = place[i] < length[i] ? from_x[i] : (int32_t)rows_x + from_y[i];
    return found;
}

KIT int32_t *less_(memory *m, int64_t n, const int32_t *x, const int32_t *y, int32_t by)
{
    int32_t *found = take_(m, n, sizeof(int32_t));
    for (int64_t i = 0; found && i < n; i++) found[i] = x[i] - (y ? y[i] : 0) - by;
    return found;
}

/* Rows step by step, the longest sequences first. order [n]: the sequences; active [longest]: how many have
   each step; row [rows]: by step and place in the order, the row. */
typedef struct { int64_t longest; int32_t *order, *active, *row; } steps;

KIT int steps_(memory *m, int64_t n, const int32_t *length, int64_t rows, const int32_t *sequence,
                  const int32_t *place, int backward, steps *found)
{
    int64_t longest = 0;
    for (int64_t i = 0; i < n; i++) longest = length[i] > longest ? length[i] : longest;
    INTS(order, n);
    INTS(rank, n);
    INTS(active, longest + 1);
    INTS(begins, longest + 2);
    INTS(row, rows);
    for (int64_t t = 0; t <= longest; t++) begins[t] = 0;
    for (int64_t i = 0; i < n; i++) begins[longest - length[i]]++;
    for (int64_t t = 0, total = 0; t <= longest; t++) {
        const int32_t many = begins[t];
        begins[t] = (int32_t)total;
        total += many;
        active[longest - t] = (int32_t)total; /* as long as that, or longer */
    }
    for (int64_t i = 0; i < n; i++) order[rank[i] = begins[longest - length[i]]++] = (int32_t)i;
    for (int64_t t = 0; t < longest; t++) active[t] = active[t + 1];
    begins[0] = 0;
    for (int64_t t = 0; t < longest; t++) begins[t + 1] = begins[t] + active[t];
    for (int64_t i = 0; i < rows; i++) {
        const int32_t of = sequence[i], step = backward ? length[of] - 1 - place[i] : place[i];
        row[begins[step] + rank[of]] = (int32_t)i;
    }
    *found = (steps){longest, order, active, row};
    return 0;
}
"""
