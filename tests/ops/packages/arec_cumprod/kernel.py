"""`cumprod` over packed rows."""

from torch import Tensor

from specc_runtime.layout import Axis, Rows


def cumprod(x: Tensor, rows: Rows, axis: Axis) -> Tensor:
    """Running products along an axis. x: [rows.count, ...]."""
    out = rows.without(axis)
    segment, position = rows.index(out).to(x.device), rows.position(axis).to(x.device)
    padded = x.new_ones(out.count, axis.bound, *x.shape[1:]).index_put((segment, position), x)
    return padded.cumprod(1)[segment, position]
