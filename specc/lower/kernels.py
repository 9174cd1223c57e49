"""What is known of kernels by name, beside what the definitions of operations say."""

from __future__ import annotations

from specc.ops import op

# Layers that are modules of their own.
LAYERS = (op.LINEAR, op.NORM, op.BATCH_NORM, op.BATCH_NORM_BY, op.DICE, op.PRELU)
