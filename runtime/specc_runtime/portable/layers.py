"""The layers that hold weights, their normalisation written out, as trained models use them."""

from __future__ import annotations

import torch
from torch import Tensor

from specc_runtime import layers
from specc_runtime.layers import Counts, GroupedBatchNorm, Linear, PReLU, Table, learned

__all__ = [
    "BatchNorm",
    "Counts",
    "Dice",
    "GroupedBatchNorm",
    "LayerNorm",
    "Linear",
    "PReLU",
    "Table",
    "learned",
]


class LayerNorm(layers.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        variance = (centred * centred).mean(-1, keepdim=True)
        return centred / torch.sqrt(variance + self.eps) * self.scale + self.shift


def _normalise(layer: layers.Statistics, x: Tensor) -> Tensor:
    mean, variance = layer.running_mean, layer.running_var
    if layer.statistics == "batch":
        flat = x.reshape(-1, x.shape[-1])
        count = torch.ones_like(flat[:, :1]).sum(0)
        own = flat.sum(0) / count.clamp(min=1)
        spread = flat - own
        there = count > 0
        variance = torch.where(there, (spread * spread).sum(0) / count.clamp(min=1), variance)
        mean = torch.where(there, own, mean)
    return (x - mean) / torch.sqrt(variance + layer.eps)


class BatchNorm(layers.BatchNorm):
    def normalise(self, x: Tensor) -> Tensor:
        return _normalise(self, x)


class Dice(layers.Dice):
    def forward(self, x: Tensor) -> Tensor:
        share = torch.sigmoid(_normalise(self, x))
        return (self.slope + share * (1 - self.slope)) * x
