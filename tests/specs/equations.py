"""The models' equations as their papers (and published codes) write them, in plain PyTorch, one example at a
time: no batch, no padding, no blocks of ours. Each function gives an example's predictions and extra losses
by name; evaluation, so without dropout, with stored statistics.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import combinations

import torch
from torch import Tensor

from tests.specs.one import Act, One, Outputs, four, leaky_relu, nth, relu, sigmoid, weighted

# ------------------------------------------------------------------- DIN, AFM


def afm(x: One) -> Outputs:
    tables = {"user.id": "user.id", "ad.item": "ad.item", "ad.category": "ad.category",
              "context.weekday": "context.weekday", "context.hour": "context.hour"}  # fmt: skip
    v = [x._field(path, table)[0] for path, table in tables.items()]
    lookups = {"user": "lookup", "ad": "lookup_2", "context": "lookup_3"}
    first = sum(
        x._field(path, f"linear_part.{lookups[path.split('.')[0]]}.{table}")[0].sum()
        for path, table in tables.items()
    )
    products = torch.stack([a * b for a, b in combinations(v, 2)])
    path = "interactions.pooling.score"
    score = x.linear(f"{path}.linear_2", relu("", x.linear(f"{path}.linear", products))).squeeze(-1)
    pooled = weighted(score, products)
    return {"rating": x["w0"].sum() + first + x.linear("rating.linear", pooled).sum()}


def din(x: One) -> Outputs:
    act = x.dice if x.params["activation"] == "dice" else x.prelu
    user, ad, history = x.rows("user", id="user.id")[0], x.pair("ad")[0], x.pair("history")
    interest = torch.zeros_like(ad)
    for e in history:
        path = "joined.interest.weight"
        interest = interest + x.linear(f"{path}.linear", x.layers(f"{path}.mlp", four(ad, e), act)) * e
    hidden = x.layers("click.mlp", torch.cat([user, ad, interest]), act)
    return {"click": x.linear("click.linear", hidden).sum()}


# ----------------------------------------------------------------------- DIEN


def _gates(x: One, path: str, names: tuple[str, str], e: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    both = torch.cat([e, h])
    first, second = (sigmoid("", x.linear(f"{path}.{name}.linear", both)) for name in names)
    return first, second


def _candidate(x: One, path: str, e: Tensor, h: Tensor, reset: Tensor, before: bool) -> Tensor:
    path = f"{path}.candidate.drive"
    if before:
        return torch.tanh(x.linear(f"{path}.linear", torch.cat([e, reset * h])))
    return torch.tanh(x.linear(f"{path}.linear", e) + reset * x.linear(f"{path}.linear_2", h))


def _gru(x: One, path: str, sequence: Tensor, n: int, before: bool) -> Tensor:
    path, h, states = f"{path}.gru.h.gru_cell", sequence.new_zeros(n), []
    for e in sequence:
        reset, keep = _gates(x, path, ("reset", "keep"), e, h)
        h = keep * h + (1 - keep) * _candidate(x, path, e, h, reset, before)
        states.append(h)
    return torch.stack(states) if states else sequence.new_zeros(0, n)


def _evolve(x: One, kind: str, states: Tensor, weights: Tensor) -> Tensor:
    """The last state of the second recurrence."""
    n = states.shape[-1]
    h = states.new_zeros(n)
    if kind == "aigru":
        every = _gru(x, "evolved.aigru", weights[:, None] * states, n, False)
        return every[-1] if len(every) else h
    path = f"evolved.{kind}"
    for state, a in zip(states, weights, strict=True):
        both = torch.cat([state, h])
        reset = sigmoid("", x.linear(f"{path}.reset.linear", both))
        update = a if kind == "agru" else a * sigmoid("", x.linear(f"{path}.update.linear", both))
        h = (1 - update) * h + update * _candidate(x, f"{path}.fresh", state, h, reset, False)
    return h


def _softmax(score: Tensor) -> Tensor:
    return torch.exp(score) / torch.exp(score).sum() if len(score) else score


def dien(x: One) -> Outputs:
    user, ad, history = x.rows("user", id="user.id")[0], x.pair("ad")[0], x.pair("history")
    noise = x.pair("noise")
    states = _gru(x, "states", history, history.shape[-1], False)

    def likeness(h: Tensor, e: Tensor) -> Tensor:
        hidden = x.layers("likeness.mlp", torch.cat([h, e]), sigmoid)
        return sigmoid("", x.linear("likeness.linear", hidden)).sum()

    told = states.new_zeros(())
    for t in range(len(history) - 1):
        told = told - torch.log(likeness(states[t], history[t + 1]))
        told = told - torch.log(1 - likeness(states[t], noise[t + 1]))
    score = states @ (x["evolved.relevance.score.linear.weight"] @ ad)
    final = _evolve(x, x.params["evolution"], states, _softmax(score))
    total = history.sum(0)
    hidden = x.layers("click.mlp", torch.cat([user, ad, total, ad * total, final]), x.dice)
    return {
        "click": x.linear("click.linear", hidden).sum(),
        "next_click": x.params["auxiliary"] * told,
    }


def dien_official(x: One) -> Outputs:
    """But for Dice, whose statistics are those of a batch: of one example they are its own values, so that
    p is a half."""
    user, ad, history = x.rows("user", id="user.id")[0], x.pair("ad")[0], x.pair("history")
    noise, width = x.pair("noise"), history.shape[-1]
    states = _gru(x, "states", history, width, True)

    def click(path: str, hidden: Tensor) -> Tensor:
        answers = x.linear(f"{path}.difference.answers.linear", hidden)
        return (torch.exp(answers) / torch.exp(answers).sum())[0]

    def likeness(h: Tensor, e: Tensor) -> Tensor:
        return click("likeness", x.layers("likeness.mlp", x.affine("likeness", torch.cat([h, e])), sigmoid))

    told = states.new_zeros(())
    for t in range(len(history) - 1):
        told = told - torch.log(likeness(states[t], history[t + 1]))
        told = told - torch.log(1 - likeness(states[t], noise[t + 1]))

    path = "evolved.relevance"
    asked = x.linear(f"{path}.asked.linear", ad)
    asked = torch.where(asked > 0, asked, x[f"{path}.asked.prelu.slope"] * asked)
    score = [
        x.linear(f"{path}.score.linear", x.layers(f"{path}.score.mlp", four(asked, h), sigmoid)).sum()
        for h in states
    ]
    weights = _softmax(torch.stack(score)) if score else states.new_zeros(0)
    h = states.new_zeros(width)
    for state, a in zip(states, weights, strict=True):
        reset, keep = _gates(x, "evolved.augru", ("reset", "keep"), state, h)
        fresh = _candidate(x, "evolved.augru.fresh", state, h, reset, True)
        keep = (1 - a) * keep
        h = keep * h + (1 - keep) * fresh
    total = history.sum(0)
    if x.params["padded"]:
        total = total + (x.params["longest"] - len(history)) * x["padding"]

    def dice(path: str, hidden: Tensor) -> Tensor:
        return 0.5 * hidden + 0.5 * x[path.format("dice") + ".slope"] * hidden

    joined = x.affine("click", torch.cat([user, ad, total, ad * total, h]))
    chance = click("click", x.layers("click.mlp", joined, dice))
    return {
        "click": torch.log(chance / (1 - chance)),
        "next_click": x.params["auxiliary"] * told / (x.params["longest"] - 1),
    }


# ----------------------------------------------------------------------- DSIN


def _sessions(x: One) -> list[Tensor]:
    """The behaviours of each session, with their bias encoding, eq. 3 and 4."""
    steps = x.batch.lengths["visits.step"].tolist()
    sessions = list(x.pair("visits").split(steps))
    if x.params["bias"]:
        sessions = [
            q + x["w_session"][k] + x["w_step"][: len(q)] + x["w_channel"] for k, q in enumerate(sessions)
        ]
    return sessions


def _lstm(x: One, path: str, sequence: list[Tensor], backward: bool) -> list[Tensor]:
    if not sequence:
        return []
    n = len(sequence[0])
    h, c, states = sequence[0].new_zeros(n), sequence[0].new_zeros(n), []
    memory = f"{path}.memory.lstm_memory"
    for e in sequence[::-1] if backward else sequence:
        both = torch.cat([e, h])
        keep, write = (sigmoid("", x.linear(f"{memory}.{g}.linear", both)) for g in ("keep", "write"))
        read = sigmoid("", x.linear(f"{path}.read.linear", both))
        c = keep * c + write * torch.tanh(x.linear(f"{memory}.fresh.linear", both))
        h = read * torch.tanh(c)
        states.append(h)
    return states[::-1] if backward else states


def _heads(x: One, path: str, q: Tensor, heads: int, own: bool) -> Tensor:
    """Multi-head attention of a sequence to itself, with or without each position's own."""
    d = q.shape[-1] // heads
    parts = [x.linear(f"{path}.{name}.linear", q).split(d, -1) for name in ("query", "key", "value")]
    out = []
    for query, key, value in zip(*parts, strict=True):
        rows = []
        for t in range(len(q)):
            seen = [s for s in range(len(q)) if own or s != t]
            rows.append(weighted(key[seen] @ query[t] / math.sqrt(d), value[seen]))
        out.append(torch.stack(rows))
    return torch.cat(out, -1)


def _transformer(x: One, path: str, q: Tensor, heads: int, act: Act) -> Tensor:
    unit = f"{path}.attended.self_attention"
    attended = x.linear(f"{unit}.linear", _heads(x, unit, q, heads, own=True))
    mixed = x.norm(f"{path}.mixed.norm", q + attended)
    hidden = act("", x.linear(f"{path}.forwarded.linear", mixed))
    return x.norm(f"{path}.norm", mixed + x.linear(f"{path}.forwarded.linear_2", hidden))


def dsin(x: One) -> Outputs:
    user, ad = x.rows("user", id="user.id")[0], x.pair("ad")[0]
    path, width = "interests.session_interest.transformer", len(ad)
    interests = [
        _transformer(x, path, q, x.params["heads"], relu).mean(0) if len(q) else q.new_zeros(width)
        for q in _sessions(x)
    ]
    forward = _lstm(x, "evolving.bilstm.lstm", interests, False)
    backward = _lstm(x, "evolving.bilstm.lstm_backward", interests, True)
    evolving = [torch.cat(pair) for pair in zip(forward, backward, strict=True)]

    def activated(path: str, keys: list[Tensor], width: int) -> Tensor:
        if not keys:
            return ad.new_zeros(width)
        return weighted(torch.stack(keys) @ (x[f"{path}.score.linear.weight"] @ ad), torch.stack(keys))

    u_i = activated("joined.activation", interests, width)
    u_h = activated("joined.activation_2", evolving, 2 * width)
    hidden = x.layers("click.mlp", torch.cat([user, ad, u_i, u_h]), relu)
    return {"click": x.linear("click.linear", hidden).sum()}


def dsin_official(x: One) -> Outputs:
    user, ad = x.rows("user", id="user.id")[0], x.pair("ad")[0]
    path, width = "interests.session_interest", len(ad)
    interests = []
    for q in _sessions(x):
        if not len(q):
            interests.append(q.new_zeros(width))
            continue
        mixed = q + _heads(x, f"{path}.mixed.others", q, x.params["heads"], own=False)
        hidden = relu("", x.linear(f"{path}.linear", mixed))
        interests.append((mixed + x.linear(f"{path}.linear_2", hidden)).mean(0))
    return _dsin_head(x, user, ad, interests, len(interests))


def _dsin_head(x: One, user: Tensor, ad: Tensor, interests: list[Tensor], count: int) -> Outputs:
    """Two LSTMs a direction, activation of the first `count` sessions, and what follows."""
    width = len(ad)
    forward, backward = interests, interests
    for layer in ("", "_2"):
        forward = _lstm(x, f"forwards.lstm{layer}", forward, False)
        backward = _lstm(x, f"backwards.lstm_backward{layer}", backward, True)
    evolving = [(f + b) / 2 for f, b in zip(forward, backward, strict=True)]

    def activated(path: str, keys: list[Tensor]) -> Tensor:
        if not keys:
            return ad.new_zeros(width)
        score = [
            x.linear(f"{path}.score.linear", x.layers(f"{path}.score.mlp", four(ad, k), sigmoid)).sum()
            for k in keys
        ]
        return weighted(torch.stack(score), torch.stack(keys))

    own, followed = interests[:count], evolving[:count]
    parts = [user, ad, activated("joined.activation", own), activated("joined.activation_2", followed)]
    hidden = x.layers("click.mlp", torch.cat(parts), relu)
    return {"click": x["global_bias"].sum() + x.linear("click.linear", hidden).sum()}


def dsin_official_padded(x: One) -> Outputs:
    """On an array of 5 sessions of 10 behaviours, filled up."""
    user, ad = x.rows("user", id="user.id")[0], x.pair("ad")[0]
    path, width, heads = "interests.session_interest", len(ad), x.params["heads"]
    sessions = x.pair("visits").split(x.batch.lengths["visits.step"].tolist())
    interests = []
    for k in range(5):
        real = sessions[k] if k < len(sessions) else ad.new_zeros(0, width)
        q = torch.cat([real, x["padding"].expand(10 - len(real), width)])
        q = q + x["w_session"][k] + x["w_step"] + x["w_channel"]
        attended = torch.zeros_like(q)
        if len(real):
            # Real behaviours attend to each other; what is filled neither asks nor is asked.
            seen = _heads(x, f"{path}.mixed.others", q[: len(real)], heads, own=False)
            attended = torch.cat([seen, attended[len(real) :]])
        mixed = q + attended
        hidden = relu("", x.linear(f"{path}.forwarded.linear", mixed))
        interests.append((mixed + x.linear(f"{path}.forwarded.linear_2", hidden)).sum(0) / 10)
    return _dsin_head(x, user, ad, interests, len(sessions))


# ------------------------------------------------------------------ BST, DSTN


def bst(x: One) -> Outputs:
    user, ad = x.rows("user", id="user.id")[0], x.pair("ad")[0]
    history = x.rows("history", item="items", category="categories", gap="history.gap")
    read = torch.cat([history, torch.cat([ad, x["now"]])[None]])
    for layer in range(1, x.params["blocks"] + 1):
        read = _transformer(x, f"read.transformer{nth(layer)}", read, x.params["heads"], leaky_relu)
    parts = [user, read[-1]]
    if x.params["pooling"] == "all":
        absent = read.new_zeros(x.params["longest"] - len(history), read.shape[-1])
        parts.append(torch.cat([read[:-1], absent]).flatten())
    hidden = x.layers("click.mlp", torch.cat(parts), leaky_relu)
    return {"click": x.linear("click.linear", hidden).sum()}


def _dstn(x: One, absent: bool) -> Outputs:
    target = torch.cat([x.rows("user", id="user.id")[0], x.pair("ad")[0]])
    fusion, parts = x.params["fusion"], [target]
    for name, space in (("near", "context"), ("liked", "clicked"), ("passed", "unclicked")):
        ads = x.pair(space)
        path = f"{name}.{fusion}.score"
        if fusion == "pooling":
            parts.append(ads.sum(0))
            continue
        if fusion == "self_attention":
            if absent:
                ads = torch.cat([ads, ads.new_zeros(5 - len(ads), ads.shape[-1])])
            score = [x.linear(f"{path}.linear", x.layers(f"{path}.mlp", a, relu)).sum() for a in ads]
            parts.append(weighted(torch.stack(score), ads) if score else ads.sum(0))
            continue
        total = torch.zeros_like(ads.sum(0))
        for a in ads:
            hidden = relu("", x.linear(f"{path}.linear", torch.cat([target, a])))
            total = total + torch.exp(x.linear(f"{path}.linear_2", hidden)) * a
        parts.append(total)
    hidden = x.layers("click.mlp", torch.cat(parts), relu)
    return {"click": x.linear("click.linear", hidden).sum()}


def dstn(x: One) -> Outputs:
    return _dstn(x, absent=False)


def dstn_official(x: One) -> Outputs:
    return _dstn(x, absent=True)


# --------------------------------------------------------------------- ATRank


def _interaction(x: One, path: str, query: Tensor, keys: Tensor) -> Tensor:
    """One query's vector after semantic spaces, feed-forward, residual and normalisation."""
    contexts = []
    for n in range(1, x.params["spaces"] + 1):
        first, second = nth(2 * n - 1), nth(2 * n)
        asked = x.linear(
            f"{path}.asked.linear{second}", relu("", x.linear(f"{path}.asked.linear{first}", query))
        )
        value = relu("", x.linear(f"{path}.value.linear{nth(n)}", keys))
        contexts.append(weighted(keys @ asked, value))
    hidden = relu("", x.linear(f"{path}.linear", torch.cat(contexts)))
    return x.norm(f"{path}.norm", query + x.linear(f"{path}.linear_2", hidden))


def _atrank(x: One, groups: list[Tensor]) -> tuple[Outputs, Tensor]:
    behaviours = torch.cat(groups)
    rows = [_interaction(x, "encoded.interaction", b, behaviours) for b in behaviours]
    encoded = torch.stack(rows) if rows else behaviours
    target = x.linear("target.linear", x.pair("ad")[0])
    wanted = _interaction(x, "wanted.interaction", target, encoded)
    bias = x["click.lookup.items.weight"][x.batch.column("ad.item")].sum()
    return {"click": wanted @ target + bias}, encoded


def _groups(x: One) -> list[Tensor]:
    def group(space: str, name: str, action: Tensor) -> Tensor:
        vectors = x.pair(space) + x.rows(space, gap="times") + action
        return x.linear(f"{name}.linear", vectors)

    return [
        group("views", "view_vectors", x["viewed"]),
        group("keeps", "keep_vectors", x.rows("keeps", action="keeps.action")),
        group("buys", "buy_vectors", x["bought"]),
    ]


def atrank(x: One) -> Outputs:
    return _atrank(x, _groups(x))[0]


def atrank_multi(x: One) -> Outputs:
    coupons = x.rows("received", id="coupons") + x.rows("received", gap="times") + x["received_it"]
    searches = x.rows("searched", words="words") + x.rows("searched", gap="times") + x["searched_it"]
    others = [x.linear("coupon_vectors.linear", coupons), x.linear("search_vectors.linear", searches)]
    outputs, encoded = _atrank(x, [*_groups(x), *others])
    for name, kind, vector in (
        ("coupon_taken", "target_coupon", x.rows("coupon", id="coupons")[0]),
        ("searched_for", "target_search", x.rows("search", words="words")[0]),
    ):
        target = x.linear(f"{kind}.linear", vector)
        outputs[name] = _interaction(x, f"{name}.interaction", target, encoded) @ target
    return outputs


EQUATIONS: Mapping[str, Callable[[One], Outputs]] = {
    "afm": afm, "din": din, "dien": dien, "dien_official": dien_official, "dsin": dsin,
    "dsin_official": dsin_official, "dsin_official_padded": dsin_official_padded, "bst": bst,
    "dstn": dstn, "dstn_official": dstn_official,
    "atrank": atrank, "atrank_multi": atrank_multi,
}  # fmt: skip
