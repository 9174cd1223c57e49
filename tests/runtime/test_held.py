"""What a step holds at most where a value written out would be large: sums of products, windows."""

from __future__ import annotations

from functools import partial

import torch

from bench.memory import held_by
from specc.testing import random_batch
from specc_runtime import Batch, Model
from tests.oracle.subjects import compiled
from tests.specs.small import graph_of

FIELDS = ", ".join(f"f{n}: vocab(50, 16)" for n in range(26))
FMFM = f"""model wide
space ad from candidate {{ {FIELDS} }}
predict click: binary = matrixed_pairs(stack(ad, as field))
"""
# One layer a domain, of which each example reads one (STAR, eq. 5).
DOMAINS, IN, OUT = 3, 128, 128
STAR = f"""model star
space ad from candidate {{ item: vocab(50, {IN}), domain: number(none) }}
learned own[dom = {DOMAINS}, out = {OUT}, {IN}] = ones
learned shared[out, {IN}] = xavier
every = join(dot(ad.item, own * shared), over out)
predict click: binary = at(every, over dom = ad.domain) |> linear(1)
"""
WIDTH = 64
CONVOLUTION = f"""model heard
space history[t <= 100] from request {{ item: vocab(50, {WIDTH}) }}
space ad from candidate {{ item: vocab(50, 1) }}
heard = history.item |> conv(n = 2, size = 3)
predict click: binary = ad.item + (max(heard, over t) |> linear(1))
"""


def built(text: str, size: int, longest: int = 4) -> tuple[Model, Batch]:
    model = compiled(graph_of(text), "default").float()
    return model, random_batch(model.manifest, size, seed=1, longest=longest, empty=0)


def training(model: Model, batch: Batch) -> float:
    """Bytes that a step of training holds at most, beside weights and batch, when it is not the first."""

    def step() -> None:
        model.loss(batch).backward()

    step()
    return held_by(step)


def test_pairs_of_many_fields() -> None:
    """FmFM: 325 pairs of 512 examples, each through a matrix; written out, they are some 770 MB."""
    assert training(*built(FMFM, 512)) < 100e6


def test_a_layer_of_each_domain() -> None:
    """All domains' outputs are a product of matrices; written out, it is 100 MB before it is summed up."""
    model, batch = built(STAR, 512)
    outputs = 4 * 512 * DOMAINS * OUT
    given = 4 * 512 * IN
    weights = 4 * (DOMAINS + 1) * OUT * IN
    assert training(model, batch) < 1.5 * (outputs + given + weights)
    with torch.no_grad():
        assert held_by(partial(model, batch)) < 1.5 * (outputs + given) + weights


def test_a_convolution_makes_no_copies() -> None:
    """A history, its gradient and that of its rows; copies for the window's three places would be as many
    again, twice."""
    model, batch = built(CONVOLUTION, 128, longest=100)
    history = 4 * int(batch.lengths["history.t"].sum()) * WIDTH
    assert training(model, batch) < 3.5 * history
    with torch.no_grad():
        assert held_by(partial(model, batch)) < 2.5 * history
