"""Every op a graph node can have: one row each, in the order of the language page.

Promises: the passes, `interpret` and the emitter agree on inputs, attributes and weights.
Broadcasting of several inputs is by axis; widths are equal or 1.
"""

from __future__ import annotations

from specc.frozen import dataclass


@dataclass(frozen=True)
class Op:
    """`inputs`: names, `*` for any number, a trailing `?` for optional. `weights` likewise."""

    name: str
    inputs: str
    attrs: str
    weights: str
    doc: str


OPS: dict[str, Op] = {
    op.name: op
    for op in (
        # sources
        Op("input", "", "field", "", "A number or vector field as it was encoded: [axes, n]."),
        Op("embed", "", "field", "table", "The rows of a table that the field's ids name."),
        Op("embed_bag", "", "field mode", "table",
           "A multi-valued field: sum, mean or max over its ids' rows; 0 for none."),
        Op("learned", "", "axes", "value",
           "A free parameter [*sizes or bounds of attrs.axes, width], indexed by position along them."),
        Op("constant", "", "value", "", "A number, width 1, no axes."),
        Op("index", "", "axis", "", "The 0-based position along the axis, as a number, width 1."),
        Op("length", "", "axis", "", "The number of positions of the axis, width 1, axes = its parents."),
        # pointwise
        *(Op(n, "a b", "", "", d) for n, d in (
            ("add", "a + b"), ("sub", "a - b"), ("mul", "a * b"), ("div", "a / b"), ("pow", "a ^ b"),
            ("lt", "1 where a < b, else 0"), ("le", "1 where a <= b, else 0"),
            ("gt", "1 where a > b, else 0"), ("ge", "1 where a >= b, else 0"),
            ("eq", "1 where a == b, else 0"), ("ne", "1 where a != b, else 0"),
            ("and", "1 where both are not 0"), ("or", "1 where one is not 0"))),
        *(Op(n, "x", "", "", d) for n, d in (
            ("not", "1 where x is 0"), ("neg", "-x"), ("exp", "e to the x"), ("log", "natural logarithm"),
            ("sqrt", "square root"), ("abs", "magnitude"), ("tanh", "hyperbolic tangent"),
            ("sigmoid", "1 / (1 + exp(-x))"), ("relu", "max(x, 0)"), ("silu", "x * sigmoid(x)"),
            ("gelu", "x * Phi(x), exact"), ("stop_gradient", "x, with no gradient"))),
        Op("leaky_relu", "x", "slope", "", "x where positive, else slope * x."),
        # widths
        Op("concat", "*", "", "", "Channels side by side; axes broadcast."),
        Op("slice", "x", "start stop", "", "Channels start..stop-1 (made by passes)."),
        Op("split", "x", "axis", "", "Channels to a static axis: [.., n*w] to [.., axis n, w], axis-major."),
        Op("join", "x", "axis", "", "A static axis to channels, axis-major: the inverse of split."),
        Op("dot", "a b", "", "", "Sum of products over channels, width 1."),
        # axes
        Op("stack", "*", "axis", "", "Values of equal width along a new static axis."),
        Op("pairs", "x", "over axis", "",
           "x_i * x_j for all i < j of the static axis `over`, along the static axis `axis`, "
           "in the order (0,1), (0,2), .., (1,2), .."),
        Op("rename", "x", "old axis", "", "The same values along a copy of the axis."),
        Op("init", "x", "old axis", "", "All positions but the last."),
        Op("tail", "x", "old axis", "", "All positions but the first."),
        Op("append", "x y", "old axis second", "",
           "y after x. `second` is None if y is one vector, else the axis of y that is joined."),
        Op("take", "x", "old axis k", "", "The first k positions (fewer if there are fewer)."),
        Op("top", "x score", "old axis k", "",
           "The k positions of highest score, best first; ties go to the earlier. No gradient to score."),
        Op("flatten", "x", "axis", "", "Positions to channels, position-major, zero-filled to the bound."),
        # reductions: attrs.axis is None for channels; an optional second input keeps positions where != 0
        *(Op(n, "x where?", "axis", "", d) for n, d in (
            ("sum", "Sum; 0 over nothing."), ("mean", "Mean; 0 over nothing."),
            ("max", "Largest; 0 over nothing."), ("min", "Smallest; 0 over nothing."),
            ("last", "The last position; 0 over nothing."), ("first", "The first position; 0 over nothing."),
            ("softmax", "exp(x) / sum exp(x) along the axis, 0 at positions left out; keeps the axis."))),
        # layers
        Op("linear", "x", "", "weight bias?", "x W^T + b; weight is (n, in) as in torch."),
        Op("norm", "x", "eps", "scale shift", "Layer norm over channels (Ba et al. 2016)."),
        Op("batch_norm", "x", "eps momentum statistics", "scale? shift? running_mean running_var",
           "Batch norm over examples and positions (Ioffe and Szegedy 2015). attrs.statistics: running "
           "(of the batch in training, else running), batch (of the batch always) or fixed (the stored "
           "ones always, which then never move)."),
        Op("dropout", "x", "p", "", "Zeroes channels at rate p in training, scales the rest by 1/(1-p)."),
        Op("dice", "x", "eps momentum statistics", "slope running_mean running_var",
           "p x + (1-p) a x, p = sigmoid of x normalised without affine (DIN, eq. 8). attrs.statistics "
           "as for batch_norm."),
        Op("prelu", "x", "", "slope", "x where positive, else slope * x, one slope a channel."),
        # losses: per position, width 1
        Op("bce", "a b", "", "", "Binary cross entropy of logit a against target b in [0, 1]."),
        Op("mse", "a b", "", "", "Mean over channels of (a - b)^2."),
        Op("cross_entropy", "a b", "", "", "-log softmax(a)[b]: channels are classes, b (width 1) a class."),
        # recurrence
        Op("scan", "*", "axis backward", "",
           "Walks the axis; inputs are the captures, then the states' starts. "
           "Its value is the first state at each position."),
        Op("scan_out", "scan", "index", "", "State number `index` at each position."),
        Op("capture", "", "index", "", "Inside a region: the scan's input number `index` at this position."),
        Op("state", "", "index", "", "Inside a region: state number `index` before this position."),
        # made by passes
        Op("project", "x", "products", "matrix* bias*",
           "x times blocks of columns of matrices, side by side (ir/products.py)."),
        Op("heads", "x", "axis slabs transposed", "matrix*",
           "At each position of the static axis (None for one) rows of a matrix times x, or `transposed` x "
           "times them; an x without the axis is multiplied by all."),
        Op("attention", "query key value", "query_axis key_axis scale where", "",
           "sum(softmax(scale * dot(query, key), over key_axis) * value, over key_axis); where: `all` keys, "
           "those `until` or `before` the query's position, or all `others`. query_axis None: one query."),
        Op("recurrence", "*", "axis backward", "",
           "A scan whose step has a compiled derivative; the same value as the scan."),
        Op("tiled", "*", "axis", "",
           "A region without states, computed for a few examples at a time; "
           "its one next value is its value."),
        Op("weighted_sum", "weight x", "axis", "", "sum(weight * x, over the axis); the weight has width 1."),
        Op("paired", "a b", "products own", "matrix* bias*",
           "Products of a * b as of `project`, and of a and of b alone where attrs.own has any for them; "
           "with attrs.products None the sum of a * b over channels."),
        Op("lookup", "", "fields modes", "table*",
           "Fields of the same rows side by side: each an embed (its mode None) or an embed_bag."),
        Op("transfer", "x", "device", "", "The same value on another device."),
    )
}  # fmt: skip
