"""One example's values and weights, and what equations are written with: layers, activations, sums."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from specc_runtime import Bag, Batch

Act = Callable[[str, Tensor], Tensor]
Outputs = dict[str, Tensor]


@dataclass(frozen=True)
class One:
    """One example: its batch, the weights by path, the params of the spec."""

    batch: Batch
    weights: Mapping[str, Tensor]
    params: Mapping[str, Any]

    def __getitem__(self, path: str) -> Tensor:
        return self.weights[path]

    def rows(self, space: str, **tables: str) -> Tensor:
        """Fields of a space side by side, by the tables that they read: [positions, width]."""
        return torch.cat([self._field(f"{space}.{name}", table) for name, table in tables.items()], -1)

    def _field(self, path: str, table: str) -> Tensor:
        values, weight = self.batch.fields[path], self[f"{table}.weight"]
        if isinstance(values, Bag):  # of categories the sum, of words the mean
            bags = weight[values.values].split(values.lengths.tolist())
            return torch.stack([b.sum(0) / (1 if table == "categories" else max(len(b), 1)) for b in bags])
        return weight[values]

    def pair(self, space: str) -> Tensor:
        """Items and categories of a space."""
        return self.rows(space, item="items", category="categories")

    def linear(self, path: str, x: Tensor) -> Tensor:
        product = x @ self[f"{path}.weight"].T
        bias = self.weights.get(f"{path}.bias")
        return product if bias is None else product + bias

    def norm(self, path: str, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        normal = centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + 1e-5)
        return normal * self[f"{path}.scale"] + self[f"{path}.shift"]

    def layers(self, path: str, x: Tensor, act: Act) -> Tensor:
        """An mlp: linear layers, each with its activation."""
        n = 1
        while f"{path}.linear{nth(n)}.weight" in self.weights:
            x = act(f"{path}.{{}}{nth(n)}", self.linear(f"{path}.linear{nth(n)}", x))
            n += 1
        return x

    def prelu(self, path: str, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, self[path.format("prelu") + ".slope"] * x)

    def dice(self, path: str, x: Tensor) -> Tensor:
        """DIN, eq. 8, with the statistics of training."""
        path = path.format("dice")
        p = sigmoid("", (x - self[f"{path}.running_mean"]) / torch.sqrt(self[f"{path}.running_var"] + 1e-8))
        return p * x + (1 - p) * self[f"{path}.slope"] * x

    def affine(self, path: str, x: Tensor) -> Tensor:
        """A batch norm whose statistics stay as they are stored."""
        path += ".affine.batch_norm"
        normal = (x - self[f"{path}.running_mean"]) / torch.sqrt(self[f"{path}.running_var"] + 0.001)
        return normal * self[f"{path}.scale"] + self[f"{path}.shift"]


def nth(n: int) -> str:
    """What the n-th layer of a name is called after it."""
    return "" if n == 1 else f"_{n}"


def sigmoid(path: str, x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


def relu(path: str, x: Tensor) -> Tensor:
    return x.clamp(min=0)


def leaky_relu(path: str, x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.01 * x)


def weighted(score: Tensor, value: Tensor) -> Tensor:
    """softmax(score) over positions, times values: [T] and [T, w] to [w]; 0 over nothing."""
    if not len(score):
        return value.new_zeros(value.shape[-1])
    return (torch.exp(score) / torch.exp(score).sum()) @ value


def four(query: Tensor, key: Tensor) -> Tensor:
    return torch.cat([query, key, query - key, query * key])
