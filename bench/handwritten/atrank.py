"""ATRank: behaviours in three groups meet in one space, attend to each other in eight, then the target
asks them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.handwritten.parts import Tables, masked_softmax
from bench.tasks import ACTIONS, ITEMS, SPANS, WIDTH, Behaviours


class Interaction(nn.Module):
    """Scores and values in `spaces` spaces, then a feed-forward layer, residual and norm."""

    def __init__(self, dim: int, spaces: int = 8) -> None:
        super().__init__()
        self.spaces = spaces
        self.narrow = nn.Linear(dim, dim)  # of all spaces, side by side
        self.wide = nn.Parameter(torch.randn(spaces, dim // spaces, dim) / dim**0.5)
        self.value = nn.Linear(dim, dim)
        self.first, self.second = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, query: Tensor, key: Tensor, mask: Tensor) -> Tensor:
        """query [B, Q, dim], key [B, T, dim], mask [B, T]."""
        narrow = torch.relu(self.narrow(query)).unflatten(-1, (self.spaces, -1))
        asked = torch.einsum("bqsc,scd->bsqd", narrow, self.wide)
        value = torch.relu(self.value(key)).unflatten(-1, (self.spaces, -1)).transpose(1, 2)
        score = asked.flatten(1, 2) @ key.transpose(1, 2)
        weight = masked_softmax(score.unflatten(1, (self.spaces, -1)), mask[:, None, None])
        context = (weight @ value).transpose(1, 2).flatten(-2)
        return self.norm(query + self.second(torch.relu(self.first(context))))


class Model(nn.Module):
    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.tables = Tables(width)
        dim = self.tables.dim
        self.spans, self.actions = nn.Embedding(SPANS, dim), nn.Embedding(ACTIONS, dim)
        self.viewed, self.bought = (nn.Parameter(0.01 * torch.randn(dim)) for _ in range(2))
        self.projections = nn.ModuleList(nn.Linear(dim, dim) for _ in range(3))
        self.target = nn.Linear(dim, dim)
        self.among, self.asking = Interaction(dim), Interaction(dim)
        self.biases = nn.Embedding(ITEMS, 1)

    def forward(self, data: Behaviours) -> Tensor:
        actions = (self.viewed, self.actions(data.action), self.bought)
        behaviours = torch.cat(
            [
                project(self.tables.pair(group.items, group.categories) + self.spans(group.spans) + action)
                for project, group, action in zip(self.projections, data.groups, actions, strict=True)
            ],
            1,
        )
        mask = torch.cat([group.mask for group in data.groups], 1)
        encoded = self.among(behaviours, behaviours, mask)
        target = self.target(self.tables.pair(data.item, data.category))
        wanted = self.asking(target.unsqueeze(1), encoded, mask).squeeze(1)
        return (wanted * target).sum(-1) + self.biases(data.item).squeeze(-1)

    def loss(self, data: Behaviours) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(self(data), data.label)
