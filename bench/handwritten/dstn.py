"""DSTN, interactive: the target weighs contextual, clicked and unclicked ads, without normalising."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.handwritten.parts import Tables
from bench.tasks import WIDTH, Padded


class Interactive(nn.Module):
    """exp(h ReLU(W [target ; ad] + b1) + b2)."""

    def __init__(self, width: int, hidden: int = 128) -> None:
        super().__init__()
        # The user's features are on the target's side.
        self.hidden = nn.Linear(5 * width, hidden)
        self.score = nn.Linear(hidden, 1)

    def forward(self, target: Tensor, ads: Tensor, mask: Tensor) -> Tensor:
        both = torch.cat([target.unsqueeze(1).expand(-1, ads.shape[1], -1), ads], -1)
        weight = torch.exp(self.score(torch.relu(self.hidden(both))).squeeze(-1)) * mask
        return torch.bmm(weight.unsqueeze(1), ads).squeeze(1)


class Model(nn.Module):
    def __init__(self, sizes: tuple[int, ...] = (512, 256), width: int = WIDTH) -> None:
        super().__init__()
        self.tables = Tables(width)
        self.kinds = nn.ModuleList(Interactive(width) for _ in range(3))
        self.joined = nn.Linear(9 * width, sizes[0])
        self.middle, self.last = nn.Linear(*sizes), nn.Linear(sizes[1], 1)

    def forward(self, data: Padded) -> Tensor:
        target = torch.cat([self.tables.users(data.user), self.tables.target(data)], -1)
        parts = [target]
        for kind, (items, categories, lengths) in zip(self.kinds, data.auxiliary, strict=True):
            mask = torch.arange(items.shape[1], device=items.device) < lengths.unsqueeze(-1)
            parts.append(kind(target, self.tables.pair(items, categories), mask))
        hidden = torch.relu(self.joined(torch.cat(parts, -1)))
        return self.last(torch.relu(self.middle(hidden))).squeeze(-1)

    def loss(self, data: Padded) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(self(data), data.label)
