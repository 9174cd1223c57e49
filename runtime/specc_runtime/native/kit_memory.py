"""The part of the kit that has the memory of one call."""

from __future__ import annotations

MEMORY = """\
#include <stdlib.h>

/* Compiled once, however many call it. */
#define KIT static __attribute__((noinline, unused))

/* Memory of one call, freed at once. What a call has needed is kept for the next one, up to MOST_KEPT bytes:
   the system hands out pages by setting them to 0. */
#define MOST_KEPT ((size_t)1 << 27)
typedef struct block { struct block *next; } block;
typedef struct { block *blocks; char *free; size_t left, whole; } memory;
static memory *kept_;

/* A value that a function made: its rows, and how many there are. */
typedef struct { const real *x; int64_t n; } made;

KIT memory *memory_(void)
{
    memory *m = __atomic_exchange_n(&kept_, (memory *)0, __ATOMIC_ACQ_REL);
    return m ? m : calloc(1, sizeof(memory));
}

KIT char *start_(block *b) { return (char *)(((uintptr_t)b + 127) / 64 * 64); }

KIT void *take_(memory *m, int64_t numbers, size_t size)
{
    size_t bytes = ((size_t)(numbers > 0 ? numbers : 1) * size + 127) / 64 * 64;
    if (bytes > m->left) {
        size_t least = m->blocks || m->whole < (1 << 20) ? 1 << 20 : m->whole;
        size_t room = bytes > least ? bytes : least;
        block *b = malloc(room + 128);
        if (!b) return 0;
        m->whole = m->blocks ? m->whole + room : room;
        b->next = m->blocks;
        m->blocks = b;
        m->free = start_(b);
        m->left = room;
    }
    void *found = m->free;
    m->free += bytes;
    m->left -= bytes;
    return found;
}

/* Free all memory; of the next call that needs as much it is one block. */
KIT void release_(memory *m)
{
    const int one = m->blocks && !m->blocks->next;
    for (block *b = m->blocks, *next; b && !(one && m->whole <= MOST_KEPT); b = next) {
        next = b->next;
        free(b);
        m->blocks = next;
    }
    if (m->whole > MOST_KEPT) m->whole = 0;
    m->free = m->blocks ? start_(m->blocks) : 0;
    m->left = m->blocks ? m->whole : 0;
    m = __atomic_exchange_n(&kept_, m, __ATOMIC_ACQ_REL);
    for (block *b = m ? m->blocks : 0, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    free(m);
}

#define REALS(name, n) real *name = take_(m, n, sizeof(real)); if (!name) return 2
#define INTS(name, n) int32_t *name = take_(m, n, sizeof(int32_t)); if (!name) return 2
#define SUMMED(x) PRAGMA(omp simd reduction(+:x))
"""
