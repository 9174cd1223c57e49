"""Compiled from mixed.arec: edit that, not this."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from specc_runtime import CANDIDATE, Axis, Batch, Model, Weights, layers, ops
from specc_runtime.model import binary_loss, real_loss

T = Axis("history.t", bound=6)
S = T.renamed("s")


class Values(NamedTuple):
    """What is computed once for predictions, losses and attentions."""

    weight: Tensor
    query: Tensor
    key: Tensor
    weight_2: Tensor
    click: Tensor
    stay: Tensor


def states_gru_step(values, constants, matrices, biases, states, nexts):  # recurrent.arec:27
    """One step of `h`: `nexts`, and what the derivative reads."""
    value, = values
    h, = states
    w_product, w_product_2 = matrices
    b_product, = biases
    h_next, = nexts
    slice_2 = value[:, 16:24]
    slice_3 = value[:, 0:16]
    product = torch.addmm(b_product, h, w_product)
    total = slice_3.addmm_(h, w_product_2)
    sigmoid = total.sigmoid_()
    keep = sigmoid[:, 0:8]
    reset = sigmoid[:, 8:16]
    drive = slice_2.addcmul_(reset, product)
    tanh = ops.tanh_(drive)
    torch.lerp(tanh, h, keep, out=h_next)
    return (keep, tanh, product, reset, sigmoid)


def states_gru_back(values, constants, matrices, states, kept, d_next, d_values, d_products):
    """The derivative of `states_gru_step`."""
    h, = states
    w_product, w_product_2 = matrices
    keep, tanh, product, reset, sigmoid = kept
    d_h_next, = d_next
    d_value, = d_values
    d_product, _ = d_products
    d_h_part = d_h_next * keep
    d_value_part = d_value[:, 16:24]
    d_tanh = torch.sub(d_h_next, d_h_part, out=d_value_part)
    d_drive = ops.tanh_back(d_tanh, tanh, d_value_part)
    d_value_part_2 = d_value[:, 8:16]
    torch.mul(d_drive, product, out=d_value_part_2)
    d_value_part_3 = d_value[:, 0:8]
    torch.mul(d_h_next, h - tanh, out=d_value_part_3)
    d_value_part_4 = d_value[:, 0:16]
    d_total = ops.sigmoid_back(d_value_part_4, sigmoid, d_value_part_4)
    d_product = torch.mul(d_drive, reset, out=d_product)
    d_h = torch.addmm(d_h_part, d_total, w_product_2).addmm_(d_product, w_product)
    return (), (d_h,), (h, h)


STATES_GRU_CELL = ops.Cell(states_gru_step, states_gru_back, places=(None, (0, 0, 16)), biased=(0,))


def evolved_augru_step(values, constants, matrices, biases, states, nexts):  # recurrent.arec:86
    """One step of `h`: `nexts`, and what the derivative reads."""
    value, value_2 = values
    h, = states
    w_product, w_product_2 = matrices
    h_next, = nexts
    slice_2 = value_2[:, 16:24]
    slice_3 = value_2[:, 0:16]
    total = slice_3.addmm_(h, w_product)
    sigmoid = total.sigmoid_()
    slice_4 = sigmoid[:, 0:8]
    reset = sigmoid[:, 8:16]
    update = value * slice_4
    mul = reset * h
    drive = slice_2.addmm_(mul, w_product_2)
    fresh = ops.tanh_(drive)
    torch.lerp(h, fresh, update, out=h_next)
    return (update, fresh, reset, slice_4, sigmoid, mul)


def evolved_augru_back(values, constants, matrices, states, kept, d_next, d_values, d_products):
    """The derivative of `evolved_augru_step`."""
    value, _ = values
    h, = states
    w_product, w_product_2 = matrices
    update, fresh, reset, slice_4, sigmoid, mul = kept
    d_h_next, = d_next
    d_value, d_value_2 = d_values
    d_fresh_part = d_h_next * update
    d_value_2_part = d_value_2[:, 16:24]
    d_drive = ops.tanh_back(d_fresh_part, fresh, d_value_2_part)
    d_mul = d_drive @ w_product_2
    d_update = d_h_next * (fresh - h)
    d_value_2_part_2 = d_value_2[:, 8:16]
    torch.mul(d_mul, h, out=d_value_2_part_2)
    d_value_2_part_3 = d_value_2[:, 0:8]
    torch.mul(d_update, value, out=d_value_2_part_3)
    d_value_2_part_4 = d_value_2[:, 0:16]
    d_total = ops.sigmoid_back(d_value_2_part_4, sigmoid, d_value_2_part_4)
    d_value.copy_((d_update * slice_4).sum(-1, keepdim=True))
    d_h = (d_h_next - d_fresh_part).addcmul_(d_mul, reset).addmm_(d_total, w_product)
    return (), (d_h,), (h, mul)


EVOLVED_AUGRU_CELL = ops.Cell(evolved_augru_step, evolved_augru_back, places=((1, 0, 16), (1, 16, 24)))


class Mixed(Model):
    """A little of everything that is lowered in a way of its own: recurrences, attention, products, crosses."""

    def __init__(self) -> None:
        super().__init__()
        self.add("user.id", layers.Table(50, 8))
        self.add("items", layers.Table(50, 8))
        self.add("states.gru.h.gru_cell.keep.linear", layers.Linear(16, 8))
        self.add("states.gru.h.gru_cell.reset.linear", layers.Linear(16, 8))
        self.add("states.gru.h.gru_cell.candidate.drive.linear", layers.Linear(8, 8))
        self.add("states.gru.h.gru_cell.candidate.drive.linear_2", layers.Linear(8, 8))
        self.add("evolved.relevance.weight.linear", layers.Linear(9, 8, bias=False))
        self.add("evolved.augru.update.linear", layers.Linear(16, 8))
        self.add("evolved.augru.reset.linear", layers.Linear(16, 8))
        self.add("evolved.augru.fresh.candidate.drive.linear", layers.Linear(16, 8))
        self.add("blended.transformer.attended.self_attention.query.linear", layers.Linear(8, 8))
        self.add("blended.transformer.attended.self_attention.key.linear", layers.Linear(8, 8))
        self.add("blended.transformer.attended.self_attention.value.linear", layers.Linear(8, 8))
        self.add("blended.transformer.attended.self_attention.linear", layers.Linear(8, 8))
        self.add("blended.transformer.mixed.norm", layers.LayerNorm(8, 1e-05))
        self.add("blended.transformer.forwarded.linear", layers.Linear(8, 32))
        self.add("blended.transformer.forwarded.linear_2", layers.Linear(32, 8))
        self.add("blended.transformer.norm", layers.LayerNorm(8, 1e-05))
        self.add("joined.interest.score.mlp.linear", layers.Linear(24, 8))
        self.add("joined.interest.score.mlp.dice", layers.Dice(8, 1e-08, 0.1))
        self.add("joined.interest.score.linear", layers.Linear(8, 1))
        self.add("click.mlp.linear", layers.Linear(42, 16))
        self.add("click.linear", layers.Linear(16, 1))
        self.add("stay.linear", layers.Linear(42, 1))

    def values(self, batch: Batch) -> Values:
        at = batch.layout
        user_id = ops.embed(self.user.id.weight, batch.column("user.id"))  # mixed.arec:6
        user_age = batch.column("user.age").to(self.dtype)
        ad_item, history_item = ops.lookup(  # mixed.arec:7
            [(self.items.weight, batch.column("ad.item"))],
            [(self.items.weight, batch.column("history.item"))],
        )
        ad_price = batch.column("ad.price").to(self.dtype)
        ad = torch.cat([ad_item, ad_price], -1)
        linear_weight = self.states.gru.h.gru_cell.keep.linear.weight
        linear_weight_2 = self.states.gru.h.gru_cell.reset.linear.weight
        h, = ops.recur(  # recurrent.arec:27
            STATES_GRU_CELL,
            at[T],
            T,
            [
                ops.Projected(
                    history_item,
                    torch.cat(
                        [
                            linear_weight[:, 0:8],
                            linear_weight_2[:, 0:8],
                            self.states.gru.h.gru_cell.candidate.drive.linear.weight,
                        ]
                    ),
                    torch.cat(
                        [
                            self.states.gru.h.gru_cell.keep.linear.bias,
                            self.states.gru.h.gru_cell.reset.linear.bias,
                            self.states.gru.h.gru_cell.candidate.drive.linear.bias,
                        ]
                    ),
                )
            ],
            [],
            [
                self.states.gru.h.gru_cell.candidate.drive.linear_2.weight,
                torch.cat([linear_weight[:, 8:16], linear_weight_2[:, 8:16]]),
            ],
            [self.states.gru.h.gru_cell.candidate.drive.linear_2.bias],
            [self.zeros(at[()], 8)],
        )
        paired = ops.paired(  # mixed.arec:13
            ops.Factor(self.evolved.relevance.weight.linear(ad), at[CANDIDATE]),
            ops.Factor(h, at[T]),
            None,
            None,
            at[CANDIDATE, T],
        )
        weight = ops.segment.softmax(paired, at[CANDIDATE, T], T)
        linear_weight_3 = self.evolved.augru.update.linear.weight
        linear_weight_4 = self.evolved.augru.reset.linear.weight
        linear_weight_5 = self.evolved.augru.fresh.candidate.drive.linear.weight
        last, = ops.recur(  # recurrent.arec:86
            EVOLVED_AUGRU_CELL,
            at[CANDIDATE, T],
            T,
            [
                weight,
                ops.Projected(
                    h,
                    torch.cat([linear_weight_3[:, 0:8], linear_weight_4[:, 0:8], linear_weight_5[:, 0:8]]),
                    torch.cat(
                        [
                            self.evolved.augru.update.linear.bias,
                            self.evolved.augru.reset.linear.bias,
                            self.evolved.augru.fresh.candidate.drive.linear.bias,
                        ]
                    ),
                    at[T],
                    at[CANDIDATE, T],
                ),
            ],
            [],
            [torch.cat([linear_weight_3[:, 8:16], linear_weight_4[:, 8:16]]), linear_weight_5[:, 8:16]],
            [],
            [self.zeros(at[CANDIDATE], 8)],
            wanted=(ops.FINAL,),
        )
        query = self.blended.transformer.attended.self_attention.query.linear(  # attention.arec:9
            history_item
        ).unflatten(-1, (2, 4))
        key = ops.rename(  # attention.arec:10
            self.blended.transformer.attended.self_attention.key.linear(history_item).unflatten(-1, (2, 4)),
            at[T],
            at[S],
            T,
            S,
        )
        value = ops.rename(  # attention.arec:11
            self.blended.transformer.attended.self_attention.value.linear(history_item).unflatten(-1, (2, 4)),
            at[T],
            at[S],
            T,
            S,
        )
        attended = self.blended.transformer.attended.self_attention.linear(  # attention.arec:14
            ops.attend(query, key, value, at[T], at[S], T, S, 0.5).flatten(-2)
        )
        mixed = self.blended.transformer.mixed.norm(history_item + attended)  # transformer.arec:15
        forwarded = self.blended.transformer.forwarded.linear_2(  # transformer.arec:19
            self.blended.transformer.forwarded.linear(mixed).relu_()
        )
        blended = ops.segment.mean(self.blended.transformer.norm(mixed + forwarded), at[T], T)  # mixed.arec:23
        linear_weight_6 = self.joined.interest.score.mlp.linear.weight
        linear = ops.paired(  # mixed.arec:19
            ops.Factor(ad_item, at[CANDIDATE], linear_weight_6[:, 0:8]),
            ops.Factor(history_item, at[T], linear_weight_6[:, 8:16]),
            linear_weight_6[:, 16:24],
            self.joined.interest.score.mlp.linear.bias,
            at[CANDIDATE, T],
        )
        score = self.joined.interest.score.linear(self.joined.interest.score.mlp.dice(linear))
        weight_2 = ops.segment.softmax(score, at[CANDIDATE, T], T)  # mixed.arec:20
        joined = torch.cat([user_id, user_age, blended], -1)  # mixed.arec:26
        linear_weight_7 = self.click.mlp.linear.weight
        projected = F.linear(
            joined,
            torch.cat([linear_weight_7[:, 0:9], linear_weight_7[:, 34:42]], 1),
            self.click.mlp.linear.bias,
        )
        joined_2 = torch.cat(
            [ad, ops.weighted_sum(weight_2, history_item, at[CANDIDATE, T], T, at[T]), last], -1
        )
        each_projected = ops.expand(projected, at[()], at[CANDIDATE])
        click = self.click.linear(ops.add_product(each_projected, joined_2, linear_weight_7[:, 9:34]).relu_())
        linear_weight_8 = self.stay.linear.weight
        projected_2 = F.linear(  # mixed.arec:27
            joined, torch.cat([linear_weight_8[:, 0:9], linear_weight_8[:, 34:42]], 1), self.stay.linear.bias
        )
        each_projected_2 = ops.expand(projected_2, at[()], at[CANDIDATE])
        stay = ops.add_product(each_projected_2, joined_2, linear_weight_8[:, 9:34])
        return Values(weight, query, key, weight_2, click, stay)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        values = self.values(batch)
        return {"click": values.click.squeeze(-1), "stay": values.stay.squeeze(-1)}

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        values = self.values(batch)
        penalty = 0.001 * self.items.penalty_by_frequency(
            batch.column("ad.item"), batch.column("history.item")
        )
        return {
            "click": binary_loss(values.click.squeeze(-1), batch.labels["click"]),
            "stay": real_loss(values.stay.squeeze(-1), batch.labels["stay"]),
            "l2": penalty,
        }

    def attention(self, batch: Batch) -> dict[str, Weights]:
        values = self.values(batch)
        at = batch.layout
        each_query = ops.expand(values.query, at[T], at[S, T])  # attention.arec:9
        each_key = ops.expand(values.key, at[S], at[S, T])  # attention.arec:10
        score = ops.dot(each_query, each_key) / 2.0  # attention.arec:12
        weight = ops.segment.softmax(score, at[S, T], S)  # attention.arec:13
        return {
            "evolved.relevance": Weights.of(values.weight, at[CANDIDATE, T], {"t": T}),
            "blended.transformer.attended.self_attention": Weights.of(weight, at[S, T], {"t": T, "s": S}),
            "joined.interest": Weights.of(values.weight_2, at[CANDIDATE, T], {"t": T}),
        }
