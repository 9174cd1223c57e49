"""What several of the models share: tables, Dice, target attention over a padded history."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.tasks import CATEGORIES, ITEMS, USERS, WIDTH, Padded


class Tables(nn.Module):
    """width: of each; dim: of an item with its category."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.width, self.dim = width, 2 * width
        self.users = nn.Embedding(USERS, width)
        self.items = nn.Embedding(ITEMS, width)
        self.categories = nn.Embedding(CATEGORIES, width)

    def pair(self, items: Tensor, categories: Tensor) -> Tensor:
        """[..., item ; category]."""
        return torch.cat([self.items(items), self.categories(categories)], -1)

    def target(self, data: Padded) -> Tensor:
        return self.pair(data.item, data.category)

    def history(self, data: Padded) -> Tensor:
        return self.pair(data.items, data.categories)


class Dice(nn.Module):
    """DIN, eq. 8."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width, eps=1e-8, affine=False)
        self.slope = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        p = torch.sigmoid(self.norm(x))
        return p * x + (1 - p) * self.slope * x


def head(width: int, sizes: tuple[int, ...], activation: type[nn.Module] | None = None) -> nn.Sequential:
    """A perceptron with one output; Dice unless another activation is named."""
    layers: list[nn.Module] = []
    for size in sizes:
        layers += [nn.Linear(width, size), Dice(size) if activation is None else activation()]
        width = size
    return nn.Sequential(*layers, nn.Linear(width, 1))


def masked_softmax(score: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last dimension where `mask` is True; 0 elsewhere, and all 0 where it never is."""
    weight = score.masked_fill(~mask, -torch.inf).softmax(-1)
    return torch.where(mask, weight, 0)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, heads: int) -> Tensor:
    """Multi-head attention [B, Q, D] over [B, K, D]; mask [B, K] is True where there is a key."""

    def split(x: Tensor) -> Tensor:
        return x.unflatten(-1, (heads, -1)).transpose(1, 2)

    seen = F.scaled_dot_product_attention(
        split(query), split(key), split(value), attn_mask=mask[:, None, None, :]
    )
    return seen.transpose(1, 2).flatten(-2)
