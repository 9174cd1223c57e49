"""A matrix that is read in parts is taken apart at once: its gradient is put together once."""

from __future__ import annotations

import specc
from specc.testing.batches import random_batch

TEXT = """
model parts
table items = vocab(9, 4)
space user from request { id: vocab(7, 6) }
space ad from candidate { item: items }
predict click: binary = concat(user, ad) |> linear(3) |> relu |> linear(1)
"""


def test_the_gradients_of_parts_are_put_together_once() -> None:
    model = specc.compile(TEXT)
    batch = random_batch(model.manifest, 3, 0)
    seen, left = set(), [model.loss(batch).grad_fn]
    while left:
        node = left.pop()
        if node is not None and node not in seen:
            seen.add(node)
            left += [following for following, _ in node.next_functions]
    names = [node.name() for node in seen]
    assert not [name for name in names if name.startswith("Slice")]
    assert len([name for name in names if name.startswith("Split")]) == 1
