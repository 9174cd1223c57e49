"""A step of Adam as one call is torch's own step, whatever has a gradient, is loaded, changed or hooked."""

from __future__ import annotations

from copy import deepcopy
from typing import Any
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from specc_runtime.train import one_call
from specc_runtime.train.one_call import OneCall

SIZES = ((3, 5), (1,), (7,), (0, 4), (64, 3))
KINDS = (torch.optim.Adam, torch.optim.AdamW)


def weights(dtype: torch.dtype) -> list[Tensor]:
    draw = torch.Generator().manual_seed(1)
    return [torch.randn(*size, generator=draw, dtype=dtype).requires_grad_() for size in SIZES]


def groups(of: list[Tensor]) -> list[dict[str, Any]]:
    return [{"params": of[:2]}, {"params": of[2:], "lr": 0.3, "weight_decay": 0.1}]


def graded(of: list[Tensor], which: int, seed: int) -> None:
    """Gradients of some weights, the others without."""
    draw = torch.Generator().manual_seed(seed)
    for number, weight in enumerate(of):
        grad = torch.randn(*weight.shape, generator=draw, dtype=weight.dtype)
        weight.grad = grad if which >> number & 1 else None


# Of each step which weights have a gradient, and what is done before it.
STEPS = st.lists(st.tuples(st.integers(0, 31), st.sampled_from(["", "", "lr", "load", "copy"])), max_size=6)


@settings(max_examples=25, deadline=None)
@given(steps=STEPS, kind=st.sampled_from(KINDS), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_it_is_the_step_of_torch(steps: list[tuple[int, str]], kind: Any, dtype: torch.dtype) -> None:
    mine, theirs = weights(dtype), weights(dtype)
    own, plain = (kind(groups(of), lr=0.1, eps=1e-7, fused=True) for of in (mine, theirs))
    quick = OneCall(own)
    for number, (which, before) in enumerate([(31, ""), *steps]):
        if before == "lr":
            for of in (own, plain):
                of.param_groups[0]["lr"] *= 0.5
        elif before == "load":
            own.load_state_dict(deepcopy(own.state_dict()))
        elif before == "copy":
            own, mine = deepcopy((own, mine))
            quick = OneCall(own)
        graded(mine, which, number)
        graded(theirs, which, number)
        quick.step()
        plain.step()
    for a, b in zip(mine, theirs, strict=True):
        assert torch.equal(a, b)
        assert own.state[a].keys() == plain.state[b].keys()
        assert all(torch.equal(own.state[a][name], plain.state[b][name]) for name in own.state[a])


def test_it_is_taken_from_the_second_step_on() -> None:
    of = weights(torch.float32)
    quick = OneCall(torch.optim.Adam(of, fused=True))
    with patch.object(quick.of, "step", wraps=quick.of.step) as step:
        for number in range(3):
            graded(of, 31, number)
            quick.step()
    assert step.call_count == 1


@pytest.mark.parametrize("option", [{"amsgrad": True}, {"fused": False}, {"lr": torch.tensor(0.1)}], ids=str)
def test_what_is_otherwise_is_left_to_torch(option: dict[str, Any]) -> None:
    of = weights(torch.float32)
    optimizer = torch.optim.Adam(of, **{"fused": True, **option})
    with patch.object(one_call._Group, "step", side_effect=AssertionError):
        for number in range(2):
            graded(of, 31, number)
            OneCall(optimizer).step()


def test_hooks_are_called_once_a_step() -> None:
    of, called = weights(torch.float32), []
    quick = OneCall(torch.optim.Adam(of, fused=True))
    quick.of.register_step_post_hook(lambda *_: called.append(1))
    for number in range(3):
        graded(of, 31, number)
        quick.step()
    assert len(called) == 3
