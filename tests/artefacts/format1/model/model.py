"""Compiled from small.arec: edit that, not this."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from specc_runtime import CANDIDATE, Axis, Batch, Model, Weights, layers, ops
from specc_runtime.model import binary_loss

T = Axis("history.t", bound=5)


class Values(NamedTuple):
    """What is computed once for predictions, losses and attentions."""

    weight: Tensor
    click: Tensor


class Small(Model):
    def __init__(self) -> None:
        super().__init__()
        self.add("user.id", layers.Table(50, 4))
        self.add("items", layers.Table(50, 4))
        self.add("click.interest.score.mlp.linear", layers.Linear(12, 8))
        self.add("click.interest.score.mlp.dice", layers.Dice(8, 1e-08, 0.1))
        self.add("click.interest.score.linear", layers.Linear(8, 1))
        self.add("click.mlp.linear", layers.Linear(13, 8))
        self.add("click.linear", layers.Linear(8, 1))

    def values(self, batch: Batch) -> Values:
        at = batch.layout
        user_id = ops.embed(self.user.id.weight, batch.column("user.id"))  # small.arec:3
        ad_item, history_item = ops.lookup(  # small.arec:4
            [(self.items.weight, batch.column("ad.item"))],
            [(self.items.weight, batch.column("history.item"))],
        )
        offer_price = batch.column("offer.price").to(self.dtype)  # small.arec:5
        linear_weight = self.click.interest.score.mlp.linear.weight
        linear = ops.paired(  # small.arec:8
            ops.Factor(ad_item, at[CANDIDATE], linear_weight[:, 0:4]),
            ops.Factor(history_item, at[T], linear_weight[:, 4:8]),
            linear_weight[:, 8:12],
            self.click.interest.score.mlp.linear.bias,
            at[CANDIDATE, T],
        )
        score = self.click.interest.score.linear(self.click.interest.score.mlp.dice(linear))
        weight = ops.segment.softmax(score, at[CANDIDATE, T], T)  # small.arec:9
        linear_weight_2 = self.click.mlp.linear.weight
        joined = torch.cat(  # small.arec:12
            [ad_item, offer_price, ops.weighted_sum(weight, history_item, at[CANDIDATE, T], T, at[T])], -1
        )
        each = ops.expand(
            F.linear(user_id, linear_weight_2[:, 0:4], self.click.mlp.linear.bias), at[()], at[CANDIDATE]
        )
        click = self.click.linear(ops.add_product(each, joined, linear_weight_2[:, 4:13]).relu_())
        return Values(weight, click)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        values = self.values(batch)
        return {"click": values.click.squeeze(-1)}

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        values = self.values(batch)
        penalty = 0.01 * self.items.penalty_by_frequency(
            batch.column("ad.item"), batch.column("history.item")
        )
        return {"click": binary_loss(values.click.squeeze(-1), batch.labels["click"]), "l2": penalty}

    def attention(self, batch: Batch) -> dict[str, Weights]:
        values = self.values(batch)
        at = batch.layout
        return {"click.interest": Weights.of(values.weight, at[CANDIDATE, T], {"t": T})}
