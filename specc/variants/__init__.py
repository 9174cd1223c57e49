"""Variants: the models that a spec stands for, by the domains of its params.

Promises: everything here works from the syntax tree and static arithmetic alone, without torch; a variant
is what `--set` can say. Leaves building the variants' graphs to the driver.
"""

from specc.variants.choose import Count, count, covering, every, sample
from specc.variants.load import load_space
from specc.variants.space import Interval, Variant, VariantSpace
from specc.variants.write import write

__all__ = [
    "Count",
    "Interval",
    "Variant",
    "VariantSpace",
    "count",
    "covering",
    "every",
    "load_space",
    "sample",
    "write",
]
