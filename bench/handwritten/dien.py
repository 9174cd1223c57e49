"""DIEN: GRU, target attention, AUGRU, and a perceptron that tells the next click from another item."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.handwritten.parts import Tables, head, masked_softmax
from bench.tasks import WIDTH, Padded


class Augru(nn.Module):
    """Eq. 5 and 8-10; the input's part of all gates and steps is one product, the state's of a step one."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.of_input = nn.Linear(dim, 3 * dim)
        self.of_state = nn.Linear(dim, 3 * dim)

    def forward(self, x: Tensor, weight: Tensor, mask: Tensor) -> Tensor:
        parts = (2 * self.dim, self.dim)  # split at once: autograd fills up a slice of its own at every step
        gates, drives = (part.unbind(1) for part in self.of_input(x).split(parts, -1))
        h = x.new_zeros(len(x), self.dim)
        for gate, drive, a, there in zip(gates, drives, weight.unbind(1), mask.unbind(1), strict=True):
            of_gates, of_drive = self.of_state(h).split(parts, -1)
            reset, update = torch.sigmoid(gate + of_gates).chunk(2, -1)
            fresh = torch.tanh(drive + reset * of_drive)
            update = (a * there).unsqueeze(-1) * update
            h = torch.lerp(h, fresh, update)
        return h


class NextClick(nn.Module):
    """The auxiliary loss, at the positions that have a next one: summed over time, averaged over examples."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.likeness = nn.Sequential(
            nn.Linear(2 * dim, 100), nn.Sigmoid(), nn.Linear(100, 50), nn.Sigmoid(), nn.Linear(50, 1)
        )

    def forward(self, states: Tensor, clicked: Tensor, passed: Tensor, mask: Tensor) -> Tensor:
        """states, clicked: [B, T, dim]; passed: [positions but each first one, dim]; mask: [B, T]."""
        there = mask[:, 1:]
        before = states[:, :-1][there]
        yes = self.likeness(torch.cat([before, clicked[:, 1:][there]], -1))
        no = self.likeness(torch.cat([before, passed], -1))
        return (F.softplus(-yes) + F.softplus(no)).sum() / len(states)


class Model(nn.Module):
    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.tables = Tables(width)
        dim = self.tables.dim
        self.gru = nn.GRU(dim, dim, batch_first=True)
        self.bilinear = nn.Linear(dim, dim, bias=False)
        self.augru = Augru(dim)
        self.next_click = NextClick(dim)
        self.head = head(width + 4 * dim, (200, 80))

    def states(self, data: Padded) -> tuple[Tensor, Tensor, Tensor]:
        key = self.tables.history(data)
        packed = nn.utils.rnn.pack_padded_sequence(
            key, data.lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        states, _ = nn.utils.rnn.pad_packed_sequence(
            self.gru(packed)[0], batch_first=True, total_length=key.shape[1]
        )
        query = self.tables.target(data)
        score = torch.einsum("btd,bd->bt", states, self.bilinear(query))
        evolved = self.augru(states, masked_softmax(score, data.mask), data.mask)
        total = (key * data.mask.unsqueeze(-1)).sum(1)
        joined = torch.cat([self.tables.users(data.user), query, total, query * total, evolved], -1)
        return self.head(joined).squeeze(-1), states, key

    def forward(self, data: Padded) -> Tensor:
        return self.states(data)[0]

    def loss(self, data: Padded) -> Tensor:
        logit, states, key = self.states(data)
        there = data.mask[:, 1:]
        passed = self.tables.pair(data.other_items[:, 1:][there], data.other_categories[:, 1:][there])
        auxiliary = self.next_click(states, key, passed, data.mask)
        return F.binary_cross_entropy_with_logits(logit, data.label) + auxiliary
