"""The standard library held against torch's own modules with the same weights, and against its sources."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from specc_runtime import Batch, Model, Schema, assign_weights
from tests.specs.small import graph_of, model_of

LENGTHS = [3, 0, 5, 1]
BOUND, WIDTH, N = 5, 8, 6
Weights = dict[str, Tensor]


def sequence_model(expression: str, width: int) -> Model:
    """A model that gives an encoder's whole output, zero-filled to the bound."""
    return model_of(
        graph_of(
            "model std\n"
            f"space history[t <= {BOUND}] from request {{ x: vector({WIDTH}) }}\n"
            f"encoded = history |> {expression}\n"
            f"predict out: class({BOUND * width}) = flatten(encoded, over t)\n"
        )
    )


def sequences() -> Tensor:
    """One sequence an example, [B, T, WIDTH], zero beyond its length."""
    x = torch.randn(
        len(LENGTHS), BOUND, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    return x * (torch.arange(BOUND) < torch.tensor(LENGTHS)[:, None])[..., None]


def batch_of(model: Model, x: Tensor) -> Batch:
    there = torch.arange(BOUND) < torch.tensor(LENGTHS)[:, None]
    return Batch(
        Schema.of(model.manifest), len(LENGTHS), {"history.x": x[there]}, {"history.t": torch.tensor(LENGTHS)}
    )


def agrees(model: Model, weights: Mapping[str, Tensor], expected: Tensor) -> None:
    model = model.double().eval()
    assign_weights(model, weights)
    with torch.no_grad():
        found = model(batch_of(model, sequences()))["out"]
    torch.testing.assert_close(found, expected.flatten(1), rtol=1e-10, atol=1e-10)


def below(path: str, weights: Mapping[str, Tensor]) -> Weights:
    return {f"{path}.{name}": w for name, w in weights.items()}


# ------------------------------------------------------------------- recurrent


def gru_cell(module: nn.GRU, suffix: str = "") -> Weights:
    w_x, w_h, b_x, b_h = parts(module, suffix, 3)
    return {
        "reset.linear.weight": torch.cat([w_x[0], w_h[0]], 1),
        "reset.linear.bias": b_x[0] + b_h[0],
        "keep.linear.weight": torch.cat([w_x[1], w_h[1]], 1),
        "keep.linear.bias": b_x[1] + b_h[1],
        "candidate.drive.linear.weight": w_x[2],
        "candidate.drive.linear.bias": b_x[2],
        "candidate.drive.linear_2.weight": w_h[2],
        "candidate.drive.linear_2.bias": b_h[2],
    }


def lstm_cell(module: nn.LSTM, suffix: str = "") -> Weights:
    w_x, w_h, b_x, b_h = parts(module, suffix, 4)
    names = ("memory.lstm_memory.write", "memory.lstm_memory.keep", "memory.lstm_memory.fresh", "read")
    found: Weights = {}
    for i, name in enumerate(names):
        found[f"{name}.linear.weight"] = torch.cat([w_x[i], w_h[i]], 1)
        found[f"{name}.linear.bias"] = b_x[i] + b_h[i]
    return found


def parts(module: nn.Module, suffix: str, count: int) -> list[tuple[Tensor, ...]]:
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    return [getattr(module, name + suffix).detach().chunk(count) for name in names]


def run(module: nn.Module) -> Tensor:
    """A torch recurrence over the sequences: states, zero beyond each length."""
    x, lengths = sequences(), torch.tensor(LENGTHS)
    some = lengths > 0
    packed = nn.utils.rnn.pack_padded_sequence(x[some], lengths[some], batch_first=True, enforce_sorted=False)
    states, _ = nn.utils.rnn.pad_packed_sequence(module(packed)[0], batch_first=True, total_length=BOUND)
    whole = states.new_zeros(len(x), *states.shape[1:])
    whole[some] = states.detach()
    return whole


def test_gru_is_torchs() -> None:
    torch.manual_seed(0)
    module = nn.GRU(WIDTH, N, batch_first=True).double()
    agrees(sequence_model(f"gru({N})", N), below("encoded.gru.h.gru_cell", gru_cell(module)), run(module))


def test_lstm_is_torchs() -> None:
    torch.manual_seed(0)
    module = nn.LSTM(WIDTH, N, batch_first=True).double()
    agrees(sequence_model(f"lstm({N})", N), below("encoded.lstm", lstm_cell(module)), run(module))


def test_bigru_is_torchs() -> None:
    torch.manual_seed(0)
    module = nn.GRU(WIDTH, N, batch_first=True, bidirectional=True).double()
    weights = below("encoded.bigru.gru.h.gru_cell", gru_cell(module))
    weights |= below("encoded.bigru.gru_backward.h.gru_cell", gru_cell(module, "_reverse"))
    agrees(sequence_model(f"bigru({N})", 2 * N), weights, run(module))


def test_bilstm_is_torchs() -> None:
    torch.manual_seed(0)
    module = nn.LSTM(WIDTH, N, batch_first=True, bidirectional=True).double()
    weights = below("encoded.bilstm.lstm", lstm_cell(module))
    weights |= below("encoded.bilstm.lstm_backward", lstm_cell(module, "_reverse"))
    agrees(sequence_model(f"bilstm({N})", 2 * N), weights, run(module))


# ------------------------------------------------------------------- attention


def attention_weights(module: nn.MultiheadAttention, names: tuple[str, ...]) -> Weights:
    found: Weights = {}
    for leaf in ("weight", "bias"):
        for name, part in zip(names, getattr(module, f"in_proj_{leaf}").detach().chunk(3), strict=True):
            found[f"{name}.linear.{leaf}"] = part
        found[f"linear.{leaf}"] = getattr(module.out_proj, leaf).detach()
    return found


def absent() -> Tensor:
    """Where there is no position; torch gives NaN for an empty sequence, so that it keeps one there."""
    gone = torch.arange(BOUND) >= torch.tensor(LENGTHS)[:, None]
    gone[torch.tensor(LENGTHS) == 0, 0] = False
    return gone


def present(x: Tensor) -> Tensor:
    return x.detach() * (torch.arange(BOUND) < torch.tensor(LENGTHS)[:, None])[..., None]


@pytest.mark.parametrize("causal", [False, True])
def test_self_attention_is_torchs(causal: bool) -> None:
    torch.manual_seed(0)
    module = nn.MultiheadAttention(WIDTH, 2, batch_first=True).double().eval()
    torch.nn.init.normal_(module.in_proj_bias)
    x = sequences()
    later = torch.triu(torch.ones(BOUND, BOUND, dtype=torch.bool), 1) if causal else None
    expected, _ = module(x, x, x, key_padding_mask=absent(), attn_mask=later)
    model = sequence_model(f"self_attention(heads = 2, causal = {str(causal).lower()})", WIDTH)
    names = ("query", "key", "value")
    agrees(model, below("encoded.self_attention", attention_weights(module, names)), present(expected))


def test_multi_head_is_torchs_with_another_sequence() -> None:
    torch.manual_seed(0)
    module = nn.MultiheadAttention(WIDTH, 4, batch_first=True).double().eval()
    x = sequences()
    model = sequence_model("multi_head(rename(tail(history, over t as s), s to k), heads = 4, over k)", WIDTH)
    gone = absent()[:, 1:]
    gone[gone.all(1), 0] = False
    expected, _ = module(x, x[:, 1:], x[:, 1:], key_padding_mask=gone)
    # A sequence of one has no tail: what it attends to is nothing, where torch attends to a zero vector.
    short = torch.tensor(LENGTHS) == 1
    expected[short] = module.out_proj.bias
    names = ("asked", "keys", "values")
    agrees(model, below("encoded.multi_head", attention_weights(module, names)), present(expected))


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("act", ["relu", "gelu"])
def test_transformer_is_torchs(norm_first: bool, act: str) -> None:
    torch.manual_seed(0)
    module = nn.TransformerEncoderLayer(
        WIDTH, 2, 12, 0.0, act, batch_first=True, norm_first=norm_first
    ).double().eval()  # fmt: skip
    for parameter in module.parameters():
        parameter.detach().add_(0.1 * torch.randn_like(parameter))
    model = sequence_model(
        f"transformer(heads = 2, ff = 12, act = {act}, norm_first = {str(norm_first).lower()})", WIDTH
    )
    norms = ("attended.norm", "forwarded.norm") if norm_first else ("mixed.norm", "norm")
    weights = {
        **below("attended.self_attention", attention_weights(module.self_attn, ("query", "key", "value"))),
        **below("forwarded.linear", dict(module.linear1.named_parameters())),
        **below("forwarded.linear_2", dict(module.linear2.named_parameters())),
    }
    for ours, theirs in zip(norms, (module.norm1, module.norm2), strict=True):
        weights |= {f"{ours}.scale": theirs.weight.detach(), f"{ours}.shift": theirs.bias.detach()}
    x = sequences()
    expected = module(x, src_key_padding_mask=absent())
    agrees(model, below("encoded.transformer", weights), present(expected))


# ----------------------------------------------------------- by their sources

K = 3
FIELDS = "abcd"


def field_model(expression: str, width: int) -> Model:
    fields = ", ".join(f"{f}: vector({K})" for f in FIELDS)
    return (
        model_of(
            graph_of(
                f"model std\nspace given from request {{ {fields} }}\n"
                f"fields = stack(given, as field)\nout_ = {expression}\n"
                f"predict out: class({width}) = out_\n"
            )
        )
        .double()
        .eval()
    )


def fields() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return {f"given.{f}": torch.randn(5, K, generator=generator, dtype=torch.float64) for f in FIELDS}


def test_bi_interaction_is_the_sum_of_all_products() -> None:
    model, x = field_model("bi_interaction(fields)", K), fields()
    expected = sum(a * b for a, b in combinations(x.values(), 2))
    found = model(Batch(Schema.of(model.manifest), 5, x))["out"]
    torch.testing.assert_close(found, expected.float())  # without weights a model computes in float32


def test_fm_is_the_sum_of_all_dot_products() -> None:
    model, x = field_model("concat(fm(fields), fm(fields))", 2), fields()
    expected = sum((a * b).sum(-1) for a, b in combinations(x.values(), 2))
    found = model(Batch(Schema.of(model.manifest), 5, x))["out"]
    torch.testing.assert_close(found[:, 0], expected.float())


def _cross(kind: str) -> Callable[[Weights, Tensor], Tensor]:
    def crossed(w: Weights, start: Tensor) -> Tensor:
        x = start
        for layer in ("cross_layer", "cross_layer_2"):
            path = f"out_.cross_network.{layer}"
            product = x @ w[f"{path}.crossed.linear.weight"].T
            shift = w[f"{path}.shift"]
            x = start * (product + shift) + x if kind == "matrix" else start * product + shift + x
        return x

    return crossed


@pytest.mark.parametrize("kind", ["matrix", "vector"])
def test_cross_network(kind: str) -> None:
    model, x = field_model(f"cross_network(given, layers = 2, kind = {kind})", 4 * K), fields()
    weights = {path: torch.randn_like(w) for path, w in model.state_dict().items()}
    assign_weights(model, weights)
    expected = _cross(kind)(weights, torch.cat(list(x.values()), -1))
    torch.testing.assert_close(model(Batch(Schema.of(model.manifest), 5, x))["out"], expected)


def test_squeeze_and_excitation() -> None:
    model, x = field_model("squeeze_excitation(fields, hidden = 2) |> join(field)", 4 * K), fields()
    weights = {path: torch.randn_like(w) for path, w in model.state_dict().items()}
    assign_weights(model, weights)
    e = torch.stack(list(x.values()), 1)
    path = "out_.squeeze_excitation"
    squeezed = (e.mean(-1) @ weights[f"{path}.reduce"]).relu()
    expected = e * (squeezed @ weights[f"{path}.excite"].T).relu()[..., None]
    torch.testing.assert_close(model(Batch(Schema.of(model.manifest), 5, x))["out"], expected.flatten(1))


def test_mixture_of_experts() -> None:
    model, x = field_model("mixture_of_experts(given, experts = 2, sizes = [7])", 7), fields()
    w: dict[str, Any] = dict(model.state_dict())
    path, given = "out_.mixture_of_experts", torch.cat(list(x.values()), -1)
    gate = (given @ w[f"{path}.gate.linear.weight"].T).softmax(-1)
    experts = [
        (given @ w[f"{path}.{e}.linear.weight"].T + w[f"{path}.{e}.linear.bias"]).relu()
        for e in ("mlp", "mlp_2")
    ]
    expected = gate[:, :1] * experts[0] + gate[:, 1:] * experts[1]
    torch.testing.assert_close(model(Batch(Schema.of(model.manifest), 5, x))["out"], expected)


@pytest.mark.parametrize("kind", ["augru", "agru", "aigru"])
@pytest.mark.parametrize("before", [True, False])
def test_attentional_recurrences(kind: str, before: bool) -> None:
    """DIEN, eq. 6 to 10, step by step."""
    model = model_of(
        graph_of(
            "model std\n"
            f"space history[t <= {BOUND}] from request {{ x: vector({WIDTH}), a: number }}\n"
            f"encoded = {kind}(history.x, history.a, {N}, reset_before = {str(before).lower()})\n"
            f"predict out: class({BOUND * N}) = flatten(encoded, over t)\n"
        )
    )
    model = model.double().eval()
    weights = {path: 0.5 * torch.randn_like(w) for path, w in model.state_dict().items()}
    assign_weights(model, weights)
    x, there = sequences(), torch.arange(BOUND) < torch.tensor(LENGTHS)[:, None]
    a = torch.rand(len(LENGTHS), BOUND, dtype=torch.float64)
    lengths = {"history.t": torch.tensor(LENGTHS)}
    given = {"history.x": x[there], "history.a": a[there][:, None]}
    found = model(Batch(Schema.of(model.manifest), len(LENGTHS), given, lengths))["out"]
    expected = x.new_zeros(len(LENGTHS), BOUND, N)
    for i, length in enumerate(LENGTHS):
        h = x.new_zeros(N)
        for t in range(length):
            h = step(kind, weights, x[i, t], h, a[i, t], before)
            expected[i, t] = h
    torch.testing.assert_close(found, expected.flatten(1))


def step(kind: str, w: Weights, x: Tensor, h: Tensor, a: Tensor, before: bool) -> Tensor:
    path = "encoded.aigru.gru.h.gru_cell" if kind == "aigru" else f"encoded.{kind}"
    x = a * x if kind == "aigru" else x

    def linear(name: str, given: Tensor) -> Tensor:
        return w[f"{path}.{name}.weight"] @ given + w[f"{path}.{name}.bias"]

    both = torch.cat([x, h])
    reset = linear("reset.linear", both).sigmoid()
    drive = "candidate.drive" if kind == "aigru" else "fresh.candidate.drive"
    if before:
        fresh = linear(f"{drive}.linear", torch.cat([x, reset * h])).tanh()
    else:
        fresh = (linear(f"{drive}.linear", x) + reset * linear(f"{drive}.linear_2", h)).tanh()
    if kind == "augru":
        update = a * linear("update.linear", both).sigmoid()
    elif kind == "agru":
        update = a
    else:
        update = 1 - linear("keep.linear", both).sigmoid()
    return (1 - update) * h + update * fresh
