"""AFM: an attention over the products of all pairs of fields."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.tasks import FIELD_ROWS, FIELD_WIDTH, FIELDS, Fields


class Model(nn.Module):
    def __init__(self, width: int = FIELD_WIDTH, fields: int = FIELDS, hidden: int = FIELD_WIDTH) -> None:
        super().__init__()
        self.embedding = nn.Embedding(fields * FIELD_ROWS, width)
        self.first_order = nn.Embedding(fields * FIELD_ROWS, 1)
        self.bias = nn.Parameter(torch.zeros(1))
        self.hidden = nn.Linear(width, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)
        self.out = nn.Linear(width, 1, bias=False)
        self.register_buffer("offsets", torch.arange(fields) * FIELD_ROWS, persistent=False)
        self.register_buffer("pairs", torch.triu_indices(fields, fields, 1), persistent=False)

    def forward(self, data: Fields) -> Tensor:
        ids = data.ids + self.offsets
        x = self.embedding(ids)
        products = x[:, self.pairs[0]] * x[:, self.pairs[1]]
        weight = self.score(torch.relu(self.hidden(products))).softmax(1)
        interaction = torch.bmm(weight.transpose(1, 2), products).squeeze(1)
        return (self.first_order(ids).sum(1) + self.out(interaction) + self.bias).squeeze(-1)

    def loss(self, data: Fields) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(self(data), data.label)
