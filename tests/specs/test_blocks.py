"""Blocks of the standard library that torch has no module for: plain PyTorch, as their papers write them."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from specc_runtime import Batch
from tests.specs.held import Weights, dense, filled, holds, normed, parts

BOUND, WIDTH = 5, 8
SEQUENCE = f"""model held
space history[t <= {BOUND}] from request {{ item: ids(9, {WIDTH}) }}
"""


def sequence(expression: str) -> str:
    return SEQUENCE + f"made = {expression}\npredict out: class({BOUND * WIDTH}) = flatten(made, over t)\n"


def each_of(w: Weights, batch: Batch) -> list[Tensor]:
    """The vectors of each example's history."""
    return parts(batch, "history.t", w["history.item.weight"][batch.column("history.item")])


def every(change: Callable[[Weights, Tensor], Tensor]) -> Callable[[Weights, Batch], Tensor]:
    """What a function of one sequence gives for each of a batch, filled to the bound."""
    return lambda w, batch: filled([change(w, x) for x in each_of(w, batch)], BOUND)


def turned(x: Tensor) -> Tensor:
    """RoFormer, eq. 34: pairs of channels as complex numbers, times e^(i t theta)."""
    t = torch.arange(x.shape[0], dtype=x.dtype)
    theta = 10_000 ** (-2 * torch.arange(x.shape[-1] // 2, dtype=x.dtype) / x.shape[-1])
    turn = torch.polar(torch.ones(()).to(x), t[:, None] * theta).unflatten(0, (-1, *[1] * (x.dim() - 2)))
    whole = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous()) * turn
    return torch.view_as_real(whole).flatten(-2)


def test_rotary() -> None:
    holds(sequence("history.item |> rotary"), every(lambda w, x: turned(x)))


def split_heads(w: Weights, path: str, x: Tensor, heads: int) -> Tensor:
    bias = w.get(f"{path}.bias")
    return F.linear(x, w[f"{path}.weight"], bias).unflatten(-1, (heads, -1))


def attended(w: Weights, path: str, x: Tensor, kind: str, causal: bool, heads: int = 2) -> Tensor:
    """Eq. 1 of Vaswani et al., heads apart, without the output matrix."""
    q, k, v = (split_heads(w, f"{path}.{name}.linear", x, heads) for name in ("query", "key", "value"))
    if kind == "rotary":
        q, k = turned(q), turned(k)
    score = torch.einsum("thd,shd->hts", q, k) / math.sqrt(q.shape[-1])
    t = torch.arange(len(x), dtype=x.dtype)
    if kind == "relative":
        far = (t[:, None] - t).clamp(-64, 64).long() + 64
        score = score + w[f"{path}.score.relative_bias.bias"][far, :, 0].movedim(2, 0)
    if kind == "alibi":  # slopes 2^-4 and 2^-8 for two heads
        slopes = 2.0 ** (-8 * torch.arange(1, heads + 1, dtype=x.dtype) / heads)
        score = score - slopes[:, None, None] * (t[:, None] - t).abs()
    if causal:
        score = score.masked_fill(t > t[:, None], -torch.inf)
    return torch.einsum("hts,shd->thd", score.softmax(-1), v).flatten(1)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", ["rotary", "alibi", "relative"])
def test_self_attention_with_positions(kind: str, causal: bool) -> None:
    path = "made.self_attention"

    def reference(w: Weights, x: Tensor) -> Tensor:
        return F.linear(
            attended(w, path, x, kind, causal), w[f"{path}.linear.weight"], w[f"{path}.linear.bias"]
        )

    options = f"heads = 2, causal = {str(causal).lower()}, positions = {kind}"
    holds(sequence(f"history |> self_attention({options})"), every(reference))


def test_transformer_passes_positions_on() -> None:
    path = "made.transformer"

    def reference(w: Weights, x: Tensor) -> Tensor:
        inner = f"{path}.attended.self_attention"
        mixed = attended(w, inner, x, "rotary", causal=False)
        mixed = x + F.linear(mixed, w[f"{inner}.linear.weight"], w[f"{inner}.linear.bias"])
        mixed = normed(mixed, w, f"{path}.mixed.norm")
        hidden = F.relu(dense(mixed, w, f"{path}.forwarded.linear"))
        return normed(mixed + dense(hidden, w, f"{path}.forwarded.linear_2"), w, f"{path}.norm")

    holds(sequence("history |> transformer(heads = 2, positions = rotary)"), every(reference))


def test_sasrec_block() -> None:
    """Kang and McAuley, eq. 3 to 6."""
    path = "made.sasrec_block"

    def reference(w: Weights, x: Tensor) -> Tensor:
        seen = normed(x, w, f"{path}.mixed.norm")
        mixed = x + attended(w, f"{path}.mixed.causal_attention", seen, "none", causal=True)
        hidden = F.relu(dense(normed(mixed, w, f"{path}.norm"), w, f"{path}.linear"))
        return mixed + dense(hidden, w, f"{path}.linear_2")

    holds(sequence("history |> sasrec_block(heads = 2)"), every(reference))


@pytest.mark.parametrize(("align", "before"), [("causal", 4), ("centred", 2)])
def test_conv(align: str, before: int) -> None:
    def reference(w: Weights, x: Tensor) -> Tensor:
        filters = w["made.conv.linear.weight"].unflatten(1, (3, WIDTH)).movedim(1, 2)
        given = F.pad(x.T, (before, 4 - before))
        return F.conv1d(given, filters, w["made.conv.linear.bias"], dilation=2).T if len(x) else x

    holds(sequence(f"history |> conv(size = 3, dilation = 2, align = {align})"), every(reference))


def test_hstu_unit() -> None:
    """Zhai et al., eq. 1 to 3, with a bias that is ALiBi's."""
    text = SEQUENCE + (
        "score = dot(rename(history, t to s), history) |> split(1, as head)\n"
        "bias = alibi(0 * score)\n"
        f"made = hstu_unit(history.item, bias)\npredict out: class({BOUND * WIDTH}) = flatten(made, over t)\n"
    )
    path = "made.hstu_unit"

    def reference(w: Weights, x: Tensor) -> Tensor:
        seen = normed(x, w, f"{path}.read.norm")
        u, q, k, v = (F.silu(dense(seen, w, f"{path}.{n}.linear")) for n in ("gate", "query", "key", "value"))
        t = torch.arange(len(x), dtype=x.dtype)
        score = F.silu(q @ k.T - 2.0**-8 * (t[:, None] - t).abs()) / BOUND
        return x + dense(normed(score.tril() @ v, w, f"{path}.norm") * u, w, f"{path}.linear")

    holds(text, every(reference))


# -------------------------------------------------------------------- capsules


def squashed(x: Tensor) -> Tensor:
    square = x.square().sum(-1, keepdim=True)
    return x * square / (1 + square) / (square + 1e-9).sqrt()


@pytest.mark.parametrize("rounds", [1, 3])
def test_dynamic_routing(rounds: int) -> None:
    """Algorithm 1 of Li et al.: capsule by capsule, those beyond the active ones 0."""
    text = (
        SEQUENCE
        + "fixed start[t, capsule = 3, 1] = normal(1)\n"
        + f"made = dynamic_routing(history, start, minimum(3, length(t)), n = 6, rounds = {rounds})\n"
        + "predict out: class(18) = join(made, capsule)\n"
    )

    def reference(w: Weights, batch: Batch) -> Tensor:
        made = []
        for x in each_of(w, batch):
            low, active = x @ w["made.dynamic_routing.low.linear.weight"].T, min(3, len(x))
            logits = w["start"][: len(x), :active, 0]
            capsules = low.new_zeros(active, 6)
            for _ in range(rounds if active else 0):
                capsules = squashed(torch.einsum("tc,td->cd", logits.softmax(1), low))
                logits = logits + torch.einsum("cd,td->tc", capsules, low)
            made.append(F.pad(capsules, (0, 0, 0, 3 - active)).flatten())
        return torch.stack(made)

    holds(text, reference)


# ------------------------------------------------------------- pairs of fields

FIELDS, K = "abcd", 3
PAIRS = list(combinations(range(len(FIELDS)), 2))


def fields_model(expression: str, width: int) -> str:
    fields = ", ".join(f"{f}: ids(9, {K})" for f in FIELDS)
    return (
        f"model held\nspace given from request {{ {fields} }}\nfields = stack(given, as field)\n"
        f"made = {expression}\npredict out: class({width}) = made\n"
    )


def vectors(w: Weights, batch: Batch) -> list[Tensor]:
    return [w[f"given.{f}.weight"][batch.column(f"given.{f}")] for f in FIELDS]


@pytest.mark.parametrize("kind", ["all", "each", "pair"])
def test_bilinear_interaction(kind: str) -> None:
    """FiBiNET, eq. 6."""
    path = "made.bilinear_interaction"

    def reference(w: Weights, batch: Batch) -> Tensor:
        v = vectors(w, batch)
        made = []
        for n, (i, j) in enumerate(PAIRS):
            if kind == "all":
                matrix = w[f"{path}.turned.linear.weight"]
            else:
                matrix = w[f"{path}.of_field"][i] if kind == "each" else w[f"{path}.of_pair"][n]
            made.append(F.linear(v[i], matrix) * v[j])
        return torch.cat(made, 1)

    expression = f"bilinear_interaction(fields, kind = {kind}) |> join(pair)"
    holds(fields_model(expression, len(PAIRS) * K), reference)


def test_weighted_and_matrixed_pairs() -> None:
    """FwFM, eq. 4, and FmFM, eq. 5."""

    def reference(w: Weights, batch: Batch) -> Tensor:
        v = vectors(w, batch)
        strength, matrix = w["made.weighted_pairs.strength"], w["made.matrixed_pairs.matrix"]
        weighed = [(v[i] * v[j]).sum(1) * strength[n] for n, (i, j) in enumerate(PAIRS)]
        mapped = [(F.linear(v[i], matrix[n]) * v[j]).sum(1) for n, (i, j) in enumerate(PAIRS)]
        return torch.stack([torch.stack(weighed).sum(0), torch.stack(mapped).sum(0)], 1)

    holds(fields_model("concat(weighted_pairs(fields), matrixed_pairs(fields))", 2), reference)


def test_gated() -> None:
    """MMoE, eq. 6 and 7: experts that come in, in a block that knows their number from them alone."""
    text = fields_model("x |> fan(3, linear(5), as expert)", 5).replace(
        "made =", "x = join(fields, field)\nmade ="
    )
    text = text.replace("= made", "= gated(x, made)")

    def reference(w: Weights, batch: Batch) -> Tensor:
        x = torch.cat(vectors(w, batch), 1)
        experts = torch.stack([dense(x, w, f"made.linear{n}") for n in ("", "_2", "_3")])
        return torch.einsum("be,ebn->bn", F.linear(x, w["out.gated.gate.linear.weight"]).softmax(1), experts)

    holds(text, reference)
