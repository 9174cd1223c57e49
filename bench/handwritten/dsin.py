"""DSIN: self-attention within sessions, a BiLSTM over them, target attention on both."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.handwritten.parts import Tables, attend, head, masked_softmax
from bench.tasks import WIDTH, Padded


class Activation(nn.Module):
    """Bilinear target attention over sessions."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.bilinear = nn.Linear(dim, width, bias=False)

    def forward(self, query: Tensor, key: Tensor, mask: Tensor) -> Tensor:
        score = torch.bmm(key, self.bilinear(query).unsqueeze(-1)).squeeze(-1)
        return torch.bmm(masked_softmax(score, mask).unsqueeze(1), key).squeeze(1)


class Model(nn.Module):
    def __init__(self, sessions: int, bound: int, width: int = WIDTH, heads: int = 8) -> None:
        super().__init__()
        self.heads = heads
        self.tables = Tables(width)
        dim = self.tables.dim
        self.of_session = nn.Parameter(torch.zeros(sessions, 1, 1))
        self.of_step = nn.Parameter(torch.zeros(bound, 1))
        self.of_channel = nn.Parameter(torch.zeros(dim))
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        self.out = nn.Linear(dim, dim)
        self.wide, self.narrow = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.first_norm, self.second_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.lstm = nn.LSTM(dim, dim, batch_first=True, bidirectional=True)
        self.of_interests, self.of_evolving = Activation(dim, dim), Activation(dim, 2 * dim)
        self.head = head(width + 4 * dim, (200, 80), nn.ReLU)

    def interests(self, data: Padded) -> Tensor:
        """One vector a session: [B, sessions, dim]."""
        x = self.tables.history(data) + self.of_session + self.of_step + self.of_channel
        x, mask = x.flatten(0, 1), data.mask.flatten(0, 1)
        seen = attend(self.query(x), self.key(x), self.value(x), mask, self.heads)
        x = self.first_norm(x + self.out(seen))
        x = self.second_norm(x + self.narrow(torch.relu(self.wide(x))))
        total = (x * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        return total.unflatten(0, data.lengths.shape)

    def forward(self, data: Padded) -> Tensor:
        interests = self.interests(data)
        count = (data.lengths > 0).sum(-1)
        count = count.clamp(min=1)  # torch packs no empty sequence; what it makes of them is masked below
        packed = nn.utils.rnn.pack_padded_sequence(
            interests, count.cpu(), batch_first=True, enforce_sorted=False
        )
        evolving, _ = nn.utils.rnn.pad_packed_sequence(
            self.lstm(packed)[0], batch_first=True, total_length=interests.shape[1]
        )
        mask = data.lengths > 0
        query = self.tables.target(data)
        joined = [self.tables.users(data.user), query, self.of_interests(query, interests, mask)]
        joined.append(self.of_evolving(query, evolving, mask))
        return self.head(torch.cat(joined, -1)).squeeze(-1)

    def loss(self, data: Padded) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(self(data), data.label)
