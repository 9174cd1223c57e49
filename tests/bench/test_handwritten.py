"""The models written by hand mean what the specs of the bench mean: the same weights give the same logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.contenders.arec import compiled
from bench.handwritten import atrank, dien, dsin, dstn
from bench.tasks import Behaviours, Padded, Task
from specc_runtime import Bag, Batch, Model, Schema


def batch_of(
    model: Model, data: Padded, fields: dict[str, Tensor | Bag], lengths: dict[str, Tensor]
) -> Batch:
    fields |= {"user.id": data.user, "ad.item": data.item}
    return Batch(Schema.of(model.manifest), len(data.user), fields, lengths, {"click": data.label})


def given(ours: Model, theirs: nn.Module, pairs: dict[str, str]) -> None:
    """Spread our weights out, and give them to the other model, by path and prefix."""
    with torch.no_grad():
        for weight in ours.parameters():
            weight.uniform_(-0.2, 0.2)
        target = dict(theirs.named_parameters())
        for path, value in ours.named_parameters():
            prefix = next((p for p in pairs if path.startswith(p)), None)
            if prefix is not None:
                target[pairs[prefix] + path.removeprefix(prefix)].copy_(value)


TABLES = {"user.id": "tables.users", "items": "tables.items", "categories": "tables.categories"}


def test_dstn_by_hand() -> None:
    task = Task("dstn", batch=6, bound=5)
    ours, theirs, data = compiled(task).eval(), dstn.Model().eval(), Padded.of(task)
    pairs = dict(TABLES)
    for number, kind in enumerate(("near", "liked", "passed")):
        pairs[f"{kind}.interactive.score.linear_2"] = f"kinds.{number}.score"
        pairs[f"{kind}.interactive.score.linear"] = f"kinds.{number}.hidden"
    pairs |= {"click.mlp.linear_2": "middle", "click.mlp.linear": "joined", "click.linear": "last"}
    given(ours, theirs, pairs)

    def bag(ids: Tensor) -> Bag:
        return Bag(ids, torch.ones_like(ids))

    fields: dict[str, Tensor | Bag] = {"ad.category": bag(data.category)}
    lengths = {}
    axes = {"context": "near", "clicked": "click", "unclicked": "skip"}
    for (space, axis), (items, categories, count) in zip(axes.items(), data.auxiliary, strict=True):
        there = torch.arange(items.shape[1]) < count.unsqueeze(-1)
        fields |= {f"{space}.item": items[there], f"{space}.category": bag(categories[there])}
        lengths[f"{space}.{axis}"] = count
    with torch.no_grad():
        found = ours(batch_of(ours, data, fields, lengths))["click"]
        assert torch.allclose(found, theirs(data), rtol=1e-4, atol=1e-4)


def test_dien_by_hand() -> None:
    task = Task("dien", batch=6)
    ours, theirs, data = compiled(task).eval(), dien.Model().eval(), Padded.of(task)
    pairs = TABLES | {
        "likeness.mlp.linear_2": "next_click.likeness.2",
        "likeness.mlp.linear": "next_click.likeness.0",
        "likeness.linear": "next_click.likeness.4",
        "evolved.relevance.score.linear": "bilinear",
        "click.mlp.linear_2": "head.2",
        "click.mlp.linear": "head.0",
        "click.mlp.dice_2": "head.3",
        "click.mlp.dice": "head.1",
        "click.linear": "head.4",
    }
    given(ours, theirs, pairs)
    weights = dict(ours.named_parameters())
    with torch.no_grad():
        for path, names, of_input, of_state in (
            ("states.gru.h.gru_cell", ("reset", "keep", "candidate"), "gru.{}_ih_l0", "gru.{}_hh_l0"),
            (
                "evolved.augru",
                ("reset", "update", "fresh.candidate"),
                "augru.of_input.{}",
                "augru.of_state.{}",
            ),
        ):
            *gates, fresh = (f"{path}.{name}" for name in names)
            both = torch.cat([weights[f"{gate}.linear.weight"] for gate in gates])
            drive, again = (f"{fresh}.drive.linear{suffix}" for suffix in ("", "_2"))
            target = dict(theirs.named_parameters())
            dim = target[of_state.format("weight")].shape[1]
            target[of_input.format("weight")].copy_(torch.cat([both[:, :dim], weights[f"{drive}.weight"]]))
            target[of_state.format("weight")].copy_(torch.cat([both[:, dim:], weights[f"{again}.weight"]]))
            biases = [weights[f"{gate}.linear.bias"] for gate in gates]
            target[of_input.format("bias")].copy_(torch.cat([*biases, weights[f"{drive}.bias"]]))
            none = torch.zeros(2 * dim)
            target[of_state.format("bias")].copy_(torch.cat([none, weights[f"{again}.bias"]]))
    there = data.mask
    fields: dict[str, Tensor | Bag] = {
        "ad.category": data.category,
        "history.item": data.items[there],
        "history.category": data.categories[there],
        "noise.item": data.other_items[there],
        "noise.category": data.other_categories[there],
    }
    batch = batch_of(ours, data, fields, {"history.t": data.lengths})
    with torch.no_grad():
        assert torch.allclose(ours(batch)["click"], theirs(data), rtol=1e-4, atol=1e-4)
        assert torch.allclose(ours.loss(batch), theirs.loss(data), rtol=1e-4)


def test_dsin_by_hand() -> None:
    task = Task("dsin", batch=6, sessions=5, bound=20)
    ours, theirs, data = compiled(task).eval(), dsin.Model(5, 20).eval(), Padded.of(task)
    inner = "interests.session_interest.transformer."
    heads = f"{inner}attended.self_attention."
    pairs = TABLES | {
        f"{heads}query.linear": "query",
        f"{heads}key.linear": "key",
        f"{heads}value.linear": "value",
        f"{heads}linear": "out",
        f"{inner}forwarded.linear_2": "narrow",
        f"{inner}forwarded.linear": "wide",
        "joined.activation_2.score.linear": "of_evolving.bilinear",
        "joined.activation.score.linear": "of_interests.bilinear",
        "click.mlp.linear_2": "head.2",
        "click.mlp.linear": "head.0",
        "click.linear": "head.4",
    }
    given(ours, theirs, pairs)
    weights = dict(ours.named_parameters())
    with torch.no_grad():
        theirs.of_session.copy_(weights["w_session"].view(-1, 1, 1))
        theirs.of_step.copy_(weights["w_step"])
        theirs.of_channel.copy_(weights["w_channel"])
        for name, norm in (("mixed.norm", theirs.first_norm), ("norm", theirs.second_norm)):
            norm.weight.copy_(weights[f"{inner}{name}.scale"])
            norm.bias.copy_(weights[f"{inner}{name}.shift"])
        for suffix, kind in (("", "lstm"), ("_reverse", "lstm_backward")):
            memory = f"evolving.bilstm.{kind}.memory.lstm_memory."
            gates = [f"{memory}{gate}.linear" for gate in ("write", "keep", "fresh")]
            gates.append(f"evolving.bilstm.{kind}.read.linear")
            of_input, of_state = torch.cat([weights[f"{g}.weight"] for g in gates]).chunk(2, 1)
            getattr(theirs.lstm, f"weight_ih_l0{suffix}").copy_(of_input)
            getattr(theirs.lstm, f"weight_hh_l0{suffix}").copy_(of_state)
            getattr(theirs.lstm, f"bias_ih_l0{suffix}").copy_(
                torch.cat([weights[f"{g}.bias"] for g in gates])
            )
            getattr(theirs.lstm, f"bias_hh_l0{suffix}").zero_()
    there = data.mask
    counts = (data.lengths > 0).sum(-1)
    fields: dict[str, Tensor | Bag] = {
        "ad.category": data.category,
        "visits.item": data.items[there],
        "visits.category": data.categories[there],
    }
    lengths = {"visits.session": counts, "visits.step": data.lengths[data.lengths > 0]}
    with torch.no_grad():
        found = ours(batch_of(ours, data, fields, lengths))["click"]
        assert torch.allclose(found, theirs(data), rtol=1e-4, atol=1e-4)


def test_atrank_by_hand() -> None:
    task = Task("atrank", batch=6)
    ours, theirs, data = compiled(task).eval(), atrank.Model().eval(), Behaviours.of(task)
    pairs = {
        "items": "tables.items",
        "categories": "tables.categories",
        "times": "spans",
        "keeps.action": "actions",
        "viewed": "viewed",
        "bought": "bought",
        "target.linear": "target",
        "click.lookup.items": "biases",
    }
    pairs |= {f"{kind}_vectors.linear": f"projections.{i}" for i, kind in enumerate(("view", "keep", "buy"))}
    for path, name in (("encoded", "among"), ("wanted", "asking")):
        pairs[f"{path}.interaction.linear_2"] = f"{name}.second"
        pairs[f"{path}.interaction.linear"] = f"{name}.first"
    given(ours, theirs, pairs)
    weights = dict(ours.named_parameters())
    with torch.no_grad():
        for path, part in (("encoded.interaction", theirs.among), ("wanted.interaction", theirs.asking)):
            asked = [f"{path}.asked.linear{'' if i == 1 else f'_{i}'}" for i in range(1, 17)]
            values = [f"{path}.value.linear{'' if i == 1 else f'_{i}'}" for i in range(1, 9)]
            part.narrow.weight.copy_(torch.cat([weights[f"{a}.weight"] for a in asked[::2]]))
            part.narrow.bias.copy_(torch.cat([weights[f"{a}.bias"] for a in asked[::2]]))
            part.wide.copy_(torch.stack([weights[f"{a}.weight"].T for a in asked[1::2]]))
            part.value.weight.copy_(torch.cat([weights[f"{v}.weight"] for v in values]))
            part.value.bias.copy_(torch.cat([weights[f"{v}.bias"] for v in values]))
            part.norm.weight.copy_(weights[f"{path}.norm.scale"])
            part.norm.bias.copy_(weights[f"{path}.norm.shift"])
    fields: dict[str, Tensor | Bag] = {"ad.item": data.item, "ad.category": data.category}
    lengths = {}
    axes = {"views": "view", "keeps": "keep", "buys": "buy"}
    for (space, axis), group in zip(axes.items(), data.groups, strict=True):
        there = group.mask
        fields |= {f"{space}.item": group.items[there], f"{space}.category": group.categories[there]}
        fields[f"{space}.gap"] = group.spans[there]
        lengths[f"{space}.{axis}"] = group.lengths
    fields["keeps.action"] = data.action[data.groups[1].mask]
    batch = Batch(Schema.of(ours.manifest), 6, fields, lengths, {"click": data.label})
    with torch.no_grad():
        assert torch.allclose(ours(batch)["click"], theirs(data), rtol=1e-3, atol=1e-3)
