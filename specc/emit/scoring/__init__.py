"""Print the scoring of a model as C: `forward` and its two parts, each as one function.

Promises: the values of the Python of the same functions, up to rounding, of models in evaluation mode; where
a batch is not what it says, a function ends without a result. The text's first line says what the functions
are given (specc_runtime.native.scoring).
"""

from __future__ import annotations

import json

from specc.emit.function import Unit
from specc.emit.scoring.entry import Entry
from specc.emit.scoring.function import part
from specc.emit.scoring.kernels import print_kernel
from specc.emit.scoring.rows import NotInC
from specc.lower.program import Program

_REQUEST, _CANDIDATE = "request_part", "candidate_part"


def scoring_text(program: Program, unit: Unit) -> str:
    """The C of a program's scoring; empty where something in it has no form in C."""
    parts = program.parts
    if parts is None:
        return ""
    early, late, entry = parts.request, parts.candidate, Entry()
    try:
        request, state = part(unit, entry, print_kernel, _REQUEST, early.blocks, early.results, {})
        candidate, results = part(unit, entry, print_kernel, _CANDIDATE, late.blocks, late.results, state)
    except NotInC:
        return ""
    about = {
        "given": entry.entries,
        "used": {name: sorted(entry.used.get(name, ())) for name in (_REQUEST, _CANDIDATE)},
        "state": list(state.values()),
        # One value may be given under several names.
        "results": {key: results[value] for key, value in zip(late.keys, late.results, strict=True)},
    }
    sizes = f"#define STATE {max(len(state), 1)}\n#define RESULTS {max(len(late.results), 1)}\n"
    return "\n".join([f"// {json.dumps(about)}", sizes, *entry.helpers, request, candidate, _ENTRIES])


# What is found lies in memory that `release` frees: addresses, each with how many rows there are, and that.
_ENTRIES = """\
static int given_back(memory *m, int failed, const made *x, int64_t n, int64_t *found)
{
    if (failed) release_(m);
    for (int64_t i = 0; i < n && !failed; i++)
        found[2 * i] = (int64_t)(intptr_t)x[i].x, found[2 * i + 1] = x[i].n;
    found[2 * n] = failed ? 0 : (int64_t)(intptr_t)m;
    return failed;
}

void release(int64_t m) { release_((memory *)(intptr_t)m); }

int request_part(const int64_t *a, const made *state, int64_t *found)
{
    memory *m = memory_();
    made x[STATE] = {{0}};
    return m ? given_back(m, request_part_(m, a, state, x), x, STATE, found) : 2;
}

int candidate_part(const int64_t *a, const made *state, int64_t *found)
{
    memory *m = memory_();
    made x[RESULTS] = {{0}};
    return m ? given_back(m, candidate_part_(m, a, state, x), x, RESULTS, found) : 2;
}

int forward(const int64_t *a, const made *state, int64_t *found)
{
    memory *m = memory_();
    made x[RESULTS] = {{0}}, own[STATE] = {{0}};
    if (!m) return 2;
    int failed = request_part_(m, a, state, own);
    if (!failed) failed = candidate_part_(m, a, own, x);
    return given_back(m, failed, x, RESULTS, found);
}
"""
