"""DIN: a perceptron on [q ; k ; q-k ; q*k] weighs each behaviour."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.handwritten.parts import Dice, Tables, head
from bench.tasks import WIDTH, Padded


class Model(nn.Module):
    def __init__(self, width: int = WIDTH, hidden: int = 36) -> None:
        super().__init__()
        self.tables = Tables(width)
        self.hidden = nn.Linear(8 * width, hidden)
        self.act = Dice(hidden)
        self.score = nn.Linear(hidden, 1)
        self.head = head(5 * width, (200, 80))

    def forward(self, data: Padded) -> Tensor:
        query, key = self.tables.target(data), self.tables.history(data)
        each = query.unsqueeze(1).expand_as(key)
        both = torch.cat([each, key, each - key, each * key], -1)
        # Statistics over the padding too, as the libraries have it.
        hidden = self.act(self.hidden(both).flatten(0, 1)).view(*key.shape[:2], -1)
        weight = self.score(hidden).squeeze(-1) * data.mask
        interest = torch.bmm(weight.unsqueeze(1), key).squeeze(1)
        joined = torch.cat([self.tables.users(data.user), query, interest], -1)
        return self.head(joined).squeeze(-1)

    def loss(self, data: Padded) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(self(data), data.label)
