"""FuxiCTR 2.3.10: DIN and DIEN from its wheel's model zoo (LongCTR); AFM, BST and DIEN's auxiliary loss,
which the wheel lacks, put together from its layers as its published models do."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contender import DEVICE, Absent, Contender
from bench.tasks import (
    CATEGORIES,
    FIELD_ROWS,
    FIELD_WIDTH,
    FIELDS,
    ITEMS,
    USERS,
    WIDTH,
    Fields,
    Padded,
    Task,
)

COMMON = {
    "optimizer": "adam",
    "loss": "binary_crossentropy",
    "learning_rate": 1e-3,
    "verbose": 0,
    "model_root": "build",
    "metrics": ["AUC"],
    "gpu": 0 if DEVICE == "cuda" else -1,
}
PACKAGE = "fuxictr"
DIFFERS = {
    "afm": "put together from its layers, as its published AFM is: what is installed has none",
    "bst": "put together from its layers, as its published BST is: what is installed has none",
    "dien": "what is installed has no auxiliary loss: that of its published DIEN is added",
}


def build(task: Task) -> Contender:
    logging.disable(logging.CRITICAL)
    kinds = {"afm": afm, "bst": bst, "din": din, "tables": din, "dien": dien}
    if task.model not in kinds:
        raise Absent("it has no such model")
    return kinds[task.model](task)


def feature_map(features: dict[str, dict[str, Any]]) -> Any:
    from fuxictr.features import FeatureMap

    made = FeatureMap("bench", ".")
    made.features = OrderedDict(features)
    made.labels = ["label"]
    made.num_fields = len(features)
    return made


def column(rows: int, source: str = "", width: int = WIDTH) -> dict[str, Any]:
    return {
        "type": "categorical",
        "source": source,
        "vocab_size": rows,
        "embedding_dim": width,
        "padding_idx": 0,
    }


# A model, and its loss on some examples.
Made = tuple[Any, Callable[[Padded], Tensor]]


def din_model(task: Task) -> Made:
    from model_zoo.LongCTR.DIN.DIN import DIN

    # Where a table's size is the task, it is the only large one.
    width = FIELD_WIDTH if task.rows else WIDTH
    sides = {"user": column(USERS, width=width), "item": column(task.rows or ITEMS, "item", width)}
    if not task.rows:
        sides["category"] = column(CATEGORIES, "item")
    model = DIN(
        feature_map(sides),
        embedding_dim=width,
        dnn_hidden_units=[200, 80],
        dnn_activations="Dice",
        attention_hidden_units=[36],
        **COMMON,
    )
    return model, lambda data: F.binary_cross_entropy(of_the_zoo(model, data)(), data.label)


def din(task: Task) -> Contender:
    data, (model, loss) = Padded.of(task), din_model(task)
    return Contender.of(model, lambda: loss(data), of_the_zoo(model, data))


def dien_model(task: Task) -> Made:
    from fuxictr.pytorch.layers import MLP_Block
    from model_zoo.LongCTR.DIEN.DIEN import DIEN

    class WithAuxiliary(DIEN):  # type: ignore[misc, valid-type]
        """Keeps what the auxiliary loss reads."""

        def interest_extraction(self, idx: int, sequence_emb: Tensor, mask: Tensor) -> Any:
            packed, states = super().interest_extraction(idx, sequence_emb, mask)
            self.read = states, sequence_emb
            return packed, states

    sides = {"user": column(USERS), "item": column(ITEMS, "item"), "category": column(CATEGORIES, "item")}
    model = WithAuxiliary(
        feature_map(sides),
        embedding_dim=WIDTH,
        dnn_hidden_units=[200, 80],
        dnn_activations=["Dice", "Dice"],
        batch_norm=False,
        gru_type="AUGRU",
        enable_sum_pooling=True,
        **COMMON,
    )
    width = 2 * WIDTH
    model.aux_net = MLP_Block(
        input_dim=2 * width,
        output_dim=1,
        hidden_units=[100, 50],
        hidden_activations="Sigmoid",
        output_activation="Sigmoid",
    )

    def loss(data: Padded) -> Tensor:
        # As its published DIEN does: every position of the padded history, and then the mask.
        there = data.mask[:, 1:].reshape(-1, 1)
        others = {"item": data.other_items.flatten(), "category": data.other_categories.flatten()}
        chance = of_the_zoo(model, data)()
        states, clicked = model.read
        passed = model.embedding_layer(others, flatten_emb=True).view_as(clicked)
        before = states[:, :-1]
        yes = model.aux_net(torch.cat([before, clicked[:, 1:]], -1).view(-1, 2 * width))
        no = model.aux_net(torch.cat([before, passed[:, 1:]], -1).view(-1, 2 * width))
        both = torch.cat([yes, no])
        truth = torch.cat([torch.ones_like(yes), torch.zeros_like(no)])
        each = F.binary_cross_entropy(both, truth, reduction="none") * there.repeat(2, 1)
        return F.binary_cross_entropy(chance, data.label) + each.sum() / task.batch

    return model, loss


def dien(task: Task) -> Contender:
    data, (model, loss) = Padded.of(task), dien_model(task)
    return Contender.of(model, lambda: loss(data), of_the_zoo(model, data), differs=DIFFERS["dien"])


def of_the_zoo(model: Any, data: Padded) -> Callable[[], Tensor]:
    """A forward pass of a model of LongCTR: it wants histories and target in one column, target last."""
    both = {
        name: torch.cat([history, target[:, None]], 1).flatten()
        for name, history, target in (
            ("item", data.items, data.item),
            ("category", data.categories, data.category),
        )
        if name in model.feature_map.features
    }
    mask = data.mask.long()

    def forward() -> Tensor:
        # The model moves the dictionaries' tensors in place: each pass gets its own.
        chance: Tensor = model(({"user": data.user}, dict(both), mask))["y_pred"].squeeze(1)
        return chance

    return forward


def afm(task: Task) -> Contender:
    from fuxictr.pytorch.layers import FeatureEmbedding, InnerProductInteraction, LogisticRegression

    fields = Fields.of(task)
    names = [f"f{i}" for i in range(FIELDS)]
    features = feature_map({name: column(FIELD_ROWS, width=FIELD_WIDTH) for name in names})
    given = dict(zip(names, fields.ids.unbind(1), strict=True))

    class AFM(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = FeatureEmbedding(features, FIELD_WIDTH)
            self.products = InnerProductInteraction(FIELDS, output="elementwise_product")
            self.first_order = LogisticRegression(features, use_bias=True)
            self.hidden = nn.Linear(FIELD_WIDTH, FIELD_WIDTH)
            self.score = nn.Linear(FIELD_WIDTH, 1, bias=False)
            self.out = nn.Linear(FIELD_WIDTH, 1, bias=False)

        def forward(self, x: dict[str, Tensor]) -> Tensor:
            products = self.products(self.embedding(x))
            weight = self.score(torch.relu(self.hidden(products))).softmax(1)
            result: Tensor = self.first_order(x) + self.out((weight * products).sum(1))
            return result

    model = AFM()
    return Contender.of(
        model,
        lambda: F.binary_cross_entropy_with_logits(model(given).squeeze(1), fields.label),
        lambda: model(given),
        differs=DIFFERS["afm"],
    )


def bst_model(task: Task) -> Made:
    from fuxictr.pytorch.layers import FeatureEmbeddingDict, MLP_Block

    sequence = {"type": "sequence", "max_len": task.bound, "vocab_size": ITEMS, "embedding_dim": WIDTH}
    features = feature_map(
        {
            "user": column(USERS),
            "item": column(ITEMS),
            "category": column(CATEGORIES),
            "item_history": {**sequence, "share_embedding": "item", "padding_idx": 0},
            "category_history": {
                **sequence,
                "vocab_size": CATEGORIES,
                "share_embedding": "category",
                "padding_idx": 0,
            },
        }
    )
    heads, width = 8, 2 * WIDTH

    class BST(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = FeatureEmbeddingDict(features, WIDTH)
            self.position = nn.Parameter(torch.randn(task.bound + 1, width))
            self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
            self.forward_layers = nn.Sequential(
                nn.Linear(width, 4 * width), nn.LeakyReLU(), nn.Linear(4 * width, width)
            )
            self.first_norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
            self.dnn = MLP_Block(
                input_dim=width + WIDTH,
                output_dim=1,
                hidden_units=list(task.head),
                hidden_activations="LeakyReLU",
                output_activation=None,
            )

        def forward(self, x: dict[str, Tensor]) -> Tensor:
            found = self.embedding(x)
            target = torch.cat([found["item"], found["category"]], -1)
            history = torch.cat([found["item_history"], found["category_history"]], -1)
            whole = torch.cat([history, target[:, None]], 1) + self.position
            missing = x["item_history"] == 0
            gone = torch.cat([missing, missing.new_zeros(len(target), 1)], 1)
            # Its mask is one of all pairs for each head, with the diagonal left open.
            mask = gone.unsqueeze(1) & ~torch.eye(gone.shape[1], dtype=torch.bool, device=gone.device)
            mask = mask.unsqueeze(1).repeat(1, heads, 1, 1).flatten(end_dim=1)
            seen, _ = self.attention(whole, whole, whole, attn_mask=mask)
            middle = self.first_norm(whole + seen)
            last = self.second_norm(middle + self.forward_layers(middle))[:, -1]
            result: Tensor = self.dnn(torch.cat([found["user"], last], -1))
            return result

    model = BST()
    return model, lambda data: F.binary_cross_entropy_with_logits(model(as_bst(data)).squeeze(1), data.label)


def as_bst(data: Padded) -> dict[str, Tensor]:
    return {
        "user": data.user,
        "item": data.item,
        "category": data.category,
        "item_history": data.items,
        "category_history": data.categories,
    }


def bst(task: Task) -> Contender:
    data, (model, loss) = Padded.of(task), bst_model(task)
    given = as_bst(data)
    return Contender.of(model, lambda: loss(data), lambda: model(given), differs=DIFFERS["bst"])


MODELS: dict[str, Callable[[Task], Made]] = {"din": din_model, "dien": dien_model, "bst": bst_model}
