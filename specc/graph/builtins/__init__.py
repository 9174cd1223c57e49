"""What can't be written in the language itself, one file a group of the language page."""

from specc.graph.builtins import axes, layers, pointwise, reductions, widths
from specc.graph.builtins.signature import BUILTINS, Arguments, Builtin, Option

__all__ = [
    "BUILTINS",
    "Arguments",
    "Builtin",
    "Option",
    "axes",
    "layers",
    "pointwise",
    "reductions",
    "widths",
]
