"""FuxiCTR 2.3.10: DIN and DIEN from its wheel's model zoo (LongCTR); AFM and BST, which the wheel
lacks, put together from its layers as its published AFM and BST do."""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contender import Absent, Contender
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
}


def build(task: Task) -> Contender:
    logging.disable(logging.CRITICAL)
    if task.model == "afm":
        return afm(task)
    if task.model == "bst":
        return bst(task)
    if task.model in ("din", "dien"):
        return of_the_zoo(task)
    raise Absent(f"FuxiCTR has no {task.model.upper()}")


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


def of_the_zoo(task: Task) -> Contender:
    from model_zoo.LongCTR.DIEN.DIEN import DIEN
    from model_zoo.LongCTR.DIN.DIN import DIN

    data = Padded.of(task)
    features = feature_map(
        {
            "user": column(USERS),
            "item": column(ITEMS, "item"),
            "category": column(CATEGORIES, "item"),
        }
    )
    head = {"embedding_dim": WIDTH, "dnn_hidden_units": [200, 80], **COMMON}
    if task.model == "din":
        model = DIN(features, attention_hidden_units=[36], dnn_activations="Dice", **head)
    else:
        model = DIEN(features, gru_type="AUGRU", **head)
    both = {
        "item": torch.cat([data.items, data.item[:, None]], 1).flatten(),
        "category": torch.cat([data.categories, data.category[:, None]], 1).flatten(),
    }
    given = ({"user": data.user}, both, data.mask.long())

    def forward() -> Tensor:
        # The model moves the dictionary's tensors in place: each pass gets its own.
        result: Tensor = model((dict(given[0]), dict(both), given[2]))["y_pred"]
        return result

    return Contender.of(model, lambda: F.binary_cross_entropy(forward().squeeze(1), data.label), forward)


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
    )


def bst(task: Task) -> Contender:
    from fuxictr.pytorch.layers import FeatureEmbeddingDict, MLP_Block

    data = Padded.of(task)
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
    given = {
        "user": data.user,
        "item": data.item,
        "category": data.category,
        "item_history": data.items,
        "category_history": data.categories,
    }
    heads, width = 8, 2 * WIDTH

    class BST(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = FeatureEmbeddingDict(features, WIDTH)
            self.position = nn.Parameter(torch.randn(task.bound + 1, width))
            self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
            self.forward_layers = nn.Sequential(
                nn.Linear(width, width), nn.LeakyReLU(), nn.Linear(width, width)
            )
            self.first_norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
            self.dnn = MLP_Block(
                input_dim=4 * WIDTH + WIDTH,
                output_dim=1,
                hidden_units=[1024, 512, 256],
                output_activation=None,
            )

        def forward(self, x: dict[str, Tensor]) -> Tensor:
            found = self.embedding(x)
            target = torch.cat([found["item"], found["category"]], -1)
            history = torch.cat([found["item_history"], found["category_history"]], -1)
            whole = torch.cat([history, target[:, None]], 1) + self.position
            gone = torch.cat([x["item_history"] == 0, torch.zeros(len(target), 1, dtype=torch.bool)], 1)
            # Its mask is one of all pairs for each head, with the diagonal left open.
            mask = gone.unsqueeze(1) & ~torch.eye(gone.shape[1], dtype=torch.bool)
            mask = mask.unsqueeze(1).repeat(1, heads, 1, 1).flatten(end_dim=1)
            seen, _ = self.attention(whole, whole, whole, attn_mask=mask)
            middle = self.first_norm(whole + seen)
            last = self.second_norm(middle + self.forward_layers(middle))[:, -1]
            result: Tensor = self.dnn(torch.cat([found["user"], target, last], -1))
            return result

    model = BST()
    return Contender.of(
        model,
        lambda: F.binary_cross_entropy_with_logits(model(given).squeeze(1), data.label),
        lambda: model(given),
    )
