"""Additive attention's scores (Bahdanau et al. 2015): v . activation(a + b), where one of the two is of the
query and the other of a key.

Promises: the values and gradients of the layer of the activation of the sum. In C nothing is as large as all
pairs of a query and a key but their scores.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from specc_runtime.layout import Rows
from specc_runtime.native import additive
from specc_runtime.native.say import wanted
from specc_runtime.ops.autocast import lowers
from specc_runtime.ops.rows import expand
from specc_runtime.tracing import untraced


@untraced
def additive_score(
    layer: Any, activation: str, a: Tensor, of_a: Rows, b: Tensor, of_b: Rows, rows: Rows
) -> Tensor:
    """Return layer(activation(a + b)) at every row: [rows.count, 1].

    layer: a linear layer of one output. activation: of additive.ACTIVATIONS. a [of_a.count, w], b
    [of_b.count, w].
    """
    same = a.dtype is b.dtype is layer.weight.dtype and a.device == b.device
    if same and wanted(a.device, a.dtype) and not lowers(a):
        of = (None if own is rows else rows.index(own) for own in (of_a, of_b))
        places = tuple(of)
        found = additive.scores(activation, a, places[0], b, places[1], layer.weight, layer.bias)
        if found is not None:
            return found
    total: Tensor = layer(getattr(torch, activation)(expand(a, of_a, rows) + expand(b, of_b, rows)))
    return total
