"""The functions that compiled models call, one file for each family of operations.

A model reads those that it calls, when it first calls them.
"""

from typing import TYPE_CHECKING

from torch import logsumexp

from specc_runtime.devices import transfer
from specc_runtime.ondemand import names_of

# Has a tensor of its own, which nothing that models are called in (as in tracing) should make.
from specc_runtime.ops.slopes import relu_back, sigmoid_back, silu_back, tanh_, tanh_back

if TYPE_CHECKING:
    from specc_runtime.native.tile import TileInC
    from specc_runtime.ops import dense, recurrent, rows, segment
    from specc_runtime.ops.additive import additive_score
    from specc_runtime.ops.attention import attend
    from specc_runtime.ops.catalogue import row_loss
    from specc_runtime.ops.cell import ALL, BOTH, FINAL, NONE, Projected, recur
    from specc_runtime.ops.cells import Cell, InC
    from specc_runtime.ops.contractions import contract_rows, dot_by_sequence
    from specc_runtime.ops.dense import (
        add_product,
        bce,
        bernoulli,
        concat,
        contract,
        cross_entropy,
        dot,
        firsts,
        linear,
        mse,
        pairs,
        seconds,
        stack,
    )
    from specc_runtime.ops.ended import Ended
    from specc_runtime.ops.fans import fan, per_head
    from specc_runtime.ops.fields import embed, embed_bag, lookup, whole
    from specc_runtime.ops.others import across, across_each, from_rows, log_frequency, own, same_key
    from specc_runtime.ops.products import product
    from specc_runtime.ops.reading import at, at_rows, convolve, windows, windows_of_rows
    from specc_runtime.ops.recurrent import scan, scan_along, scan_together, settled
    from specc_runtime.ops.rows import (
        along,
        append,
        chunk,
        expand,
        expand_anew,
        flatten,
        head,
        heads,
        picked,
        ranked,
        rename,
        repeat,
        tail,
        tails,
        top,
        unchunk,
        unroll,
    )
    from specc_runtime.ops.steps_in_c import StepsInC
    from specc_runtime.ops.tile import Factor, by_tile, paired, tiled, weighted_sum
    from specc_runtime.ranked import with_ranked

__all__ = [
    "ALL",
    "BOTH",
    "FINAL",
    "NONE",
    "Cell",
    "Ended",
    "Factor",
    "InC",
    "Projected",
    "StepsInC",
    "TileInC",
    "across",
    "across_each",
    "add_product",
    "additive_score",
    "along",
    "append",
    "at",
    "at_rows",
    "attend",
    "bce",
    "bernoulli",
    "by_tile",
    "chunk",
    "concat",
    "contract",
    "contract_rows",
    "convolve",
    "cross_entropy",
    "dense",
    "dot",
    "dot_by_sequence",
    "embed",
    "embed_bag",
    "expand",
    "expand_anew",
    "fan",
    "firsts",
    "flatten",
    "from_rows",
    "head",
    "heads",
    "linear",
    "log_frequency",
    "logsumexp",
    "lookup",
    "mse",
    "own",
    "paired",
    "pairs",
    "per_head",
    "picked",
    "product",
    "ranked",
    "recur",
    "recurrent",
    "relu_back",
    "rename",
    "repeat",
    "row_loss",
    "rows",
    "same_key",
    "scan",
    "scan_along",
    "scan_together",
    "seconds",
    "segment",
    "settled",
    "sigmoid_back",
    "silu_back",
    "stack",
    "tail",
    "tails",
    "tanh_",
    "tanh_back",
    "tiled",
    "top",
    "transfer",
    "unchunk",
    "unroll",
    "weighted_sum",
    "whole",
    "windows",
    "windows_of_rows",
    "with_ranked",
]

__getattr__ = names_of(
    __name__,
    {
        "..native.tile": ("TileInC",),
        ".": ("dense", "recurrent", "rows", "segment"),
        ".others": ("across", "across_each", "from_rows", "log_frequency", "own", "same_key"),
        ".additive": ("additive_score",),
        ".attention": ("attend",),
        ".catalogue": ("row_loss",),
        ".cell": ("ALL", "BOTH", "FINAL", "NONE", "Projected", "recur"),
        ".cells": ("Cell", "InC"),
        ".contractions": ("contract_rows", "dot_by_sequence"),
        ".dense": (
            "add_product",
            "bce",
            "bernoulli",
            "concat",
            "contract",
            "cross_entropy",
            "dot",
            "firsts",
            "linear",
            "mse",
            "pairs",
            "seconds",
            "stack",
        ),
        ".ended": ("Ended",),
        ".fields": ("embed", "embed_bag", "lookup", "whole"),
        ".fans": ("fan", "per_head"),
        ".products": ("product",),
        ".reading": ("at", "at_rows", "convolve", "windows", "windows_of_rows"),
        ".recurrent": ("scan", "scan_along", "scan_together", "settled"),
        ".rows": (
            "along",
            "append",
            "chunk",
            "expand",
            "expand_anew",
            "flatten",
            "head",
            "heads",
            "picked",
            "ranked",
            "rename",
            "repeat",
            "tail",
            "tails",
            "top",
            "unchunk",
            "unroll",
        ),
        ".steps_in_c": ("StepsInC",),
        ".tile": ("Factor", "by_tile", "paired", "tiled", "weighted_sum"),
        "..ranked": ("with_ranked",),
    },
)
