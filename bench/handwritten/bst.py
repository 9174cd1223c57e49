"""BST: a Transformer layer over behaviours and target; the output at the target's position."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.handwritten.parts import Tables, head
from bench.tasks import WIDTH, Padded


class Model(nn.Module):
    """pooling: the output at the target's position, or the mean of all."""

    def __init__(
        self,
        bound: int,
        sizes: tuple[int, ...],
        width: int = WIDTH,
        pooling: str = "target",
        heads: int = 8,
    ) -> None:
        super().__init__()
        self.pooling = pooling
        self.tables = Tables(width)
        dim = self.tables.dim
        self.positions = nn.Embedding(bound + 1, dim)
        self.layer = nn.TransformerEncoderLayer(dim, heads, 4 * dim, 0.0, nn.LeakyReLU(), batch_first=True)
        self.head = head(width + dim, sizes, nn.LeakyReLU)

    def forward(self, data: Padded) -> Tensor:
        x = torch.cat([self.tables.history(data), self.tables.target(data).unsqueeze(1)], 1)
        gone = torch.cat([~data.mask, data.mask.new_zeros(len(x), 1)], 1)
        read = self.layer(x + self.positions.weight, src_key_padding_mask=gone)
        if self.pooling == "target":
            seen = read[:, -1]
        else:
            there = (~gone).unsqueeze(-1)
            seen = (read.masked_fill(~there, 0)).sum(1) / there.sum(1)
        return self.head(torch.cat([self.tables.users(data.user), seen], -1)).squeeze(-1)

    def loss(self, data: Padded) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(self(data), data.label)
