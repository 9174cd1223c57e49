"""Published implementations' weights and inputs, told in the terms of our specs.

Each `Golden` says how its file's arrays become weights by path and a batch; what it leaves unused is named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from textwrap import dedent
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from specc_runtime import Batch, Model, Schema

PROJECTIONS = ("query", "key", "value")

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]


@dataclass(frozen=True)
class Golden:
    """text: a spec that restates sizes. weights: our weights by path, from the official ones.
    batch: the inputs. outputs: what the file holds, by name, as our model gives it. unused: official
    weights that have no part in the outputs."""

    text: str
    weights: Callable[[Official], dict[str, Array]]
    fields: Callable[[Arrays], tuple[dict[str, Array], dict[str, Array]]]
    outputs: Callable[[Model, Batch], dict[str, Tensor]]
    unused: tuple[str, ...] = ()

    @property
    def spec(self) -> str:
        return dedent(self.text).strip() + "\n"

    def batch(self, model: Model, given: Arrays) -> Batch:
        fields, lengths = self.fields(given)
        size = len(next(iter(given.values())))
        return Batch(
            Schema.of(model.manifest),
            size,
            {path: torch.from_numpy(np.ascontiguousarray(x)) for path, x in fields.items()},
            {axis: torch.from_numpy(np.ascontiguousarray(x)) for axis, x in lengths.items()},
        )


@dataclass
class Official:
    """Official weights by name, which remembers which were asked for."""

    arrays: Arrays
    asked: set[str] = field(default_factory=set)

    def __getitem__(self, name: str) -> Array:
        self.asked.add(name)
        return self.arrays[name]

    def dense(self, name: str) -> dict[str, Array]:
        """A TensorFlow layer, whose kernel is (in, out), as one of torch's."""
        return {"weight": self[f"{name}/kernel:0"].T, "bias": self[f"{name}/bias:0"]}

    def conv(self, name: str) -> dict[str, Array]:
        """A convolution of size 1 is a dense layer."""
        return {"weight": self[f"{name}/kernel:0"][0].T, "bias": self[f"{name}/bias:0"]}

    def norm(self, name: str) -> dict[str, Array]:
        """Layer normalisation: beta was made first."""
        return {"shift": self[f"{name}/Variable:0"], "scale": self[f"{name}/Variable_1:0"]}

    def batch_norm(self, name: str) -> dict[str, Array]:
        return {
            "scale": self[f"{name}/gamma:0"],
            "shift": self[f"{name}/beta:0"],
            **self.moving(name),
        }

    def moving(self, name: str) -> dict[str, Array]:
        return {
            "running_mean": self[f"{name}/moving_mean:0"],
            "running_var": self[f"{name}/moving_variance:0"],
        }


def below(path: str, weights: Mapping[str, Array]) -> dict[str, Array]:
    """Weights of a part, by their whole path."""
    return {f"{path}.{leaf}": array for leaf, array in weights.items()}


def packed(padded: Array, lengths: Array) -> Array:
    """The places that exist, one example after another."""
    return padded[np.arange(padded.shape[1]) < lengths[:, None]]


# ------------------------------------------------------------------------- AFM


def _afm(name: str) -> Golden:
    def weights(w: Official) -> dict[str, Array]:
        return {
            "w0": w["bias:0"].reshape(1),
            "features.weight": w["feature_embeddings:0"],
            "linear_part.lookup.features.weight": w["feature_bias:0"],
            "interactions.pooling.score.linear.weight": w["attention_W:0"].T,
            "interactions.pooling.score.linear.bias": w["attention_b:0"].reshape(-1),
            "interactions.pooling.score.linear_2.weight": w["attention_p:0"].reshape(1, -1),
            "rating.linear.weight": w["Variable:0"].T,
        }

    def outputs(model: Model, batch: Batch) -> dict[str, Tensor]:
        found = model.attention(batch)["interactions.pooling"].values
        return {"out": model(batch)["rating"].reshape(-1, 1), "att": found.reshape(batch.size, -1, 1)}

    return Golden(
        f"""
        model golden
        extends {name} {{
          param k = 8
          param t = 4
          drop user, ad, context
          table features = ids(60, k)
          space fields from candidate {{ a: features, b: features, c: features, d: features, e: features }}
          linear_part  = sum(lookup(fields))
          interactions = stack(fields, as field) |> pooling(hidden = t, l2 = l2) |> dropout(dropout)
        }}
        """,
        weights,
        lambda given: ({f"fields.{f}": given["X"][:, i] for i, f in enumerate("abcde")}, {}),
        outputs,
    )


# ------------------------------------------------------------------------- DIN


def _history(given: Arrays) -> tuple[dict[str, Array], dict[str, Array]]:
    """Fields of user, ad and history from ids of items, whose categories are a list."""
    history, categories = packed(given["hist_i"], given["sl"]), given["cate_list"].astype(np.int64)
    return {
        "ad.item": given["i"],
        "ad.category": categories[given["i"]],
        "history.item": history,
        "history.category": categories[history],
    }, {"history.t": given["sl"]}


def _din(activation: str) -> Golden:
    def weights(w: Official) -> dict[str, Array]:
        found = {
            "items.weight": w["item_emb_w:0"],
            "categories.weight": w["cate_emb_w:0"],
            "click.lookup.items.weight": w["item_b:0"].reshape(-1, 1),
            **below("person.activation_unit.mixed.mlp.linear", w.dense("f1_att")),
            **below("person.activation_unit.mixed.mlp.linear_2", w.dense("f2_att")),
            **below("person.activation_unit.mixed.linear", w.dense("f3_att")),
            **below("person.affine.batch_norm", w.batch_norm("batch_normalization")),
            **below("person.linear", w.dense("hist_fcn")),
            **below("joined.affine.batch_norm", w.batch_norm("b1")),
            **below("click.mlp.linear", w.dense("f1")),
            **below("click.mlp.linear_2", w.dense("f2")),
            **below("click.linear", w.dense("f3")),
        }
        if activation == "dice":
            for ours, theirs in (("dice", "dice_1"), ("dice_2", "dice_2")):
                path = f"click.mlp.{ours}"
                found[f"{path}.alpha"] = w[f"alpha{theirs}:0"]
                found[f"{path}.beta"] = w[f"beta{theirs}:0"]
                found |= below(f"{path}.p.batch_norm", w.moving(theirs))
        return found

    def fields(given: Arrays) -> tuple[dict[str, Array], dict[str, Array]]:
        found, lengths = _history(given)
        return {**found, "user.id": np.zeros_like(given["i"])}, lengths

    return Golden(
        f"""
        model golden
        extends din_official {{
          param activation = {activation} in {{sigmoid, dice}}
          table items      = ids(50, dim)
          table categories = ids(9, dim)
          space user from request {{ id: ids(20, 1) }}
        }}
        """,
        weights,
        fields,
        lambda model, batch: {"logits": model(batch)["click"]},
        # The user's table is looked up by nothing; the second norm is for the other scored item alone.
        ("user_emb_w:0", *(f"hist_bn/{x}:0" for x in ("beta", "gamma", "moving_mean", "moving_variance"))),
    )


# ---------------------------------------------------------------------- ATRank


def _atrank() -> Golden:
    def block(w: Official, path: str, group: str, attention: str) -> dict[str, Array]:
        root = f"all/{group}/num_blocks_0"
        return {
            **below(f"{path}.asked.linear", w.dense(f"{root}/{attention}/dense")),
            **below(f"{path}.keys.linear", w.dense(f"{root}/{attention}/dense_1")),
            **below(f"{path}.values.linear", w.dense(f"{root}/{attention}/dense_2")),
            **below(f"{path}.seen.norm", w.norm(f"{root}/{attention}/ln")),
            **below(f"{path}.linear", w.conv(f"{root}/feed_forward/conv1d")),
            **below(f"{path}.linear_2", w.conv(f"{root}/feed_forward/conv1d_1")),
            **below(f"{path}.norm", w.norm(f"{root}/feed_forward/ln")),
        }

    def weights(w: Official) -> dict[str, Array]:
        return {
            "items.weight": w["item_emb_w:0"],
            "categories.weight": w["cate_emb_w:0"],
            "times.weight": np.eye(13, 12, dtype=np.float32),
            "click.lookup.items.weight": w["item_b:0"].reshape(-1, 1),
            **below("behaviours.linear", w.dense("dense")),
            **block(w, "encoded.interaction", "user_hist_group", "self_attention"),
            **block(w, "wanted.interaction", "item_feature_group", "vanilla_attention"),
        }

    def fields(given: Arrays) -> tuple[dict[str, Array], dict[str, Array]]:
        found, lengths = _history(given)
        return {**found, "history.gap": packed(given["hist_t"], given["sl"])}, lengths

    def outputs(model: Model, batch: Batch) -> dict[str, Tensor]:
        weights = model.attention(batch)
        longest = int(batch.lengths["history.t"].max())
        vanilla, own = weights["wanted.interaction"], weights["encoded.interaction"]
        heads = vanilla.values.shape[1]
        asked = torch.zeros(heads, batch.size, 1, longest)
        (along,) = vanilla.positions.values()
        asked[:, vanilla.example, 0, along] = vanilla.values.squeeze(-1).T
        pairs = torch.zeros(heads, batch.size, longest, longest)
        pairs[:, own.example, own.positions["t"], own.positions["s"]] = own.values.squeeze(-1).T
        return {
            "logits": model(batch)["click"],
            "vanilla_att": asked.flatten(0, 1),
            "self_att": pairs.flatten(0, 1),
        }

    return Golden(
        """
        model golden
        extends atrank_official {
          param dim    = 16 in {16}
          param common = 32 in {32}
          table items      = ids(50, dim)
          table categories = ids(9, dim)
        }
        """,
        weights,
        fields,
        outputs,
    )


# ------------------------------------------------------------------------- BST


def _bst() -> Golden:
    block = "transformer_blocks.0"

    def weights(w: Official) -> dict[str, Array]:
        unit, path = "read.transformer.attended.self_attention", "read.transformer"
        found = {"history.gap.weight": w["position_emb"], "now": w["position_emb"][-1]}
        for leaf in ("weight", "bias"):
            parts = np.split(w[f"{block}.attention.in_proj_{leaf}"], 3)
            found |= {f"{unit}.{part}.linear.{leaf}": x for part, x in zip(PROJECTIONS, parts, strict=True)}
            found[f"{unit}.linear.{leaf}"] = w[f"{block}.attention.out_proj.{leaf}"]
            found[f"{path}.forwarded.linear.{leaf}"] = w[f"{block}.ffn.0.{leaf}"]
            found[f"{path}.forwarded.linear_2.{leaf}"] = w[f"{block}.ffn.2.{leaf}"]
        for leaf, theirs in (("scale", "weight"), ("shift", "bias")):
            found[f"{path}.mixed.norm.{leaf}"] = w[f"{block}.layer_norm1.{theirs}"]
            found[f"{path}.norm.{leaf}"] = w[f"{block}.layer_norm2.{theirs}"]
        return found

    def fields(given: Arrays) -> tuple[dict[str, Array], dict[str, Array]]:
        """Histories stand at the end, the target last; positions are counted from the padded start."""
        there = ~given["pad_mask"][:, :-1]
        return {
            "ad.x": given["x"][:, -1],
            "history.x": given["x"][:, :-1][there],
            "history.gap": np.broadcast_to(np.arange(there.shape[1]), there.shape)[there],
        }, {"history.t": there.sum(1)}

    return Golden(
        """
        model golden
        extends bst {
          drop user, items, categories, joined, click
          param longest = 5 in {5}
          param heads   = 8
          param expand  = 1
          space ad from candidate { x: vector(16) }
          space history[t <= longest] from request { x: vector(16), gap: ids(6, 8) }
          learned now[8]
          predict target: class(24) = seen
          train { group = none, metric = accuracy }
        }
        """,
        weights,
        fields,
        lambda model, batch: {"target": model(batch)["target"]},
    )


GOLDEN: Mapping[str, Golden] = {
    "afm_2017_official": _afm("afm"),
    "afm_head_official": _afm("afm_official"),
    "atrank_official": _atrank(),
    "bst_fuxictr_block": _bst(),
    "din_official": _din("sigmoid"),
    "din_dice_official": _din("dice"),
}
