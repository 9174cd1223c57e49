"""Batch normalisation by groups, against one of torch's for each group."""

from __future__ import annotations

import torch
from torch import nn

from specc_runtime.layers import GroupedBatchNorm


def test_each_group_is_normalised_by_itself() -> None:
    torch.manual_seed(0)
    ours = GroupedBatchNorm(3, 4, 1e-5, 0.1).double()
    theirs = [nn.BatchNorm1d(4).double() for _ in range(3)]
    for _ in range(2):
        x = torch.randn(9, 4, dtype=torch.float64)
        group = torch.tensor([0.0, 1.9, 0, 2, 1, 0, 7, -3, 0]).unsqueeze(
            1
        )  # 2 has two: one of them is beyond it
        found, number = ours(x, group), torch.tensor([0, 1, 0, 2, 1, 0, 2, 0, 0])
        for each, norm in enumerate(theirs):
            torch.testing.assert_close(found[number == each], norm(x[number == each]))
    for each, norm in enumerate(theirs):
        torch.testing.assert_close(ours.running_mean[each], norm.running_mean)
        torch.testing.assert_close(ours.running_var[each], norm.running_var)


def test_a_group_of_one_has_the_running_ones() -> None:
    ours = GroupedBatchNorm(2, 2, 0.0, 0.5)
    x = torch.tensor([[3.0, 4.0], [1.0, 1.0], [2.0, 3.0]])
    torch.testing.assert_close(ours(x, torch.tensor([[1.0], [0.0], [0.0]]))[0], x[0])
    assert ours.running_mean[1].tolist() == [0.0, 0.0]
    assert ours.running_mean[0].tolist() == [0.75, 1.0]
    assert GroupedBatchNorm(2, 2, 0.0, 0.5)(x[:0], torch.zeros(0, 1)).shape == (0, 2)
