"""What compiled models are made of, one file a family of operations."""

from specc_runtime.devices import transfer
from specc_runtime.ops import dense, recurrent, rows, segment
from specc_runtime.ops.across import across, log_frequency, own, same_key
from specc_runtime.ops.attention import attend
from specc_runtime.ops.cell import (
    ALL,
    FINAL,
    NONE,
    Cell,
    InC,
    Projected,
    recur,
    relu_back,
    sigmoid_back,
    silu_back,
    tanh_,
    tanh_back,
)
from specc_runtime.ops.dense import add_product, bce, concat, cross_entropy, dot, mse, pairs, stack
from specc_runtime.ops.fields import embed, embed_bag, lookup
from specc_runtime.ops.heads import fan, per_head
from specc_runtime.ops.products import product
from specc_runtime.ops.recurrent import scan, scan_along, scan_together, settled
from specc_runtime.ops.rows import (
    along,
    append,
    expand,
    flatten,
    head,
    heads,
    rename,
    repeat,
    tail,
    tails,
    top,
    unroll,
)
from specc_runtime.ops.tile import Factor, paired, tiled, weighted_sum

__all__ = [
    "ALL",
    "FINAL",
    "NONE",
    "Cell",
    "Factor",
    "InC",
    "Projected",
    "across",
    "add_product",
    "along",
    "append",
    "attend",
    "bce",
    "concat",
    "cross_entropy",
    "dense",
    "dot",
    "embed",
    "embed_bag",
    "expand",
    "fan",
    "flatten",
    "head",
    "heads",
    "log_frequency",
    "lookup",
    "mse",
    "own",
    "paired",
    "pairs",
    "per_head",
    "product",
    "recur",
    "recurrent",
    "relu_back",
    "rename",
    "repeat",
    "rows",
    "same_key",
    "scan",
    "scan_along",
    "scan_together",
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
    "unroll",
    "weighted_sum",
]
