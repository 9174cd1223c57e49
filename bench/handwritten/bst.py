"""BST: a Transformer layer over behaviours and target; the output at the target's position."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.handwritten.parts import DIM, Tables, head
from bench.tasks import WIDTH, Padded


class Model(nn.Module):
    def __init__(self, bound: int, sizes: tuple[int, ...], heads: int = 8) -> None:
        super().__init__()
        self.tables = Tables()
        self.positions = nn.Embedding(bound + 1, DIM)
        self.layer = nn.TransformerEncoderLayer(DIM, heads, 4 * DIM, 0.0, nn.LeakyReLU(), batch_first=True)
        self.head = head(WIDTH + DIM, sizes, nn.LeakyReLU)

    def forward(self, data: Padded) -> Tensor:
        x = torch.cat([self.tables.history(data), self.tables.target(data).unsqueeze(1)], 1)
        gone = torch.cat([~data.mask, data.mask.new_zeros(len(x), 1)], 1)
        seen = self.layer(x + self.positions.weight, src_key_padding_mask=gone)[:, -1]
        return self.head(torch.cat([self.tables.users(data.user), seen], -1)).squeeze(-1)

    def loss(self, data: Padded) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(self(data), data.label)
