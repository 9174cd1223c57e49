"""DeepCTR-Torch 0.3.0: AFM, DIN, DIEN."""

from __future__ import annotations

import os

os.environ["KMP_WARNINGS"] = "0"

import torch
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

PACKAGE = "deepctr-torch"
DIFFERS = {
    "din": "ReLU in the head, where its Dice does not fit",
    "dien": (
        "its attention is a perceptron of 64 and 16 on [q; k; q-k; q*k]; ReLU in the head; no sum of the "
        "history; the auxiliary loss is computed in scoring, too"
    ),
}


def build(task: Task) -> Contender:
    if task.model not in ("afm", "din", "dien"):
        raise Absent("it has no such model")
    from deepctr_torch.inputs import SparseFeat, VarLenSparseFeat
    from deepctr_torch.models import AFM, DIEN, DIN

    if task.model == "afm":
        names = [f"f{i}" for i in range(FIELDS)]
        columns = [SparseFeat(name, FIELD_ROWS, FIELD_WIDTH) for name in names]
        fields = Fields.of(task)
        model = AFM(
            columns, columns, attention_factor=FIELD_WIDTH, l2_reg_linear=0, l2_reg_embedding=0, l2_reg_att=0
        )
        given = dict(zip(names, fields.ids.unbind(1), strict=True))
        label = fields.label
    else:
        data = Padded.of(task)
        label = data.label
        given = {
            "user": data.user,
            "item": data.item,
            "category": data.category,
            "hist_item": data.items,
            "hist_category": data.categories,
            "length": data.lengths,
        }
        columns = [
            SparseFeat("user", USERS, WIDTH),
            SparseFeat("item", ITEMS, WIDTH),
            SparseFeat("category", CATEGORIES, WIDTH),
        ]
        histories = [("hist_item", "item", ITEMS), ("hist_category", "category", CATEGORIES)]
        if task.model == "dien":
            histories += [("neg_hist_item", "item", ITEMS), ("neg_hist_category", "category", CATEGORIES)]
            given |= {"neg_hist_item": data.other_items, "neg_hist_category": data.other_categories}
        for name, like, rows in histories:
            feature = SparseFeat(name, rows, WIDTH, embedding_name=like)
            columns.append(VarLenSparseFeat(feature, maxlen=task.bound, length_name="length"))
        common = {"dnn_hidden_units": (200, 80), "l2_reg_embedding": 0}
        if task.model == "din":
            model = DIN(columns, ["item", "category"], att_hidden_size=(36,), **common)
        else:
            model = DIEN(columns, ["item", "category"], gru_type="AUGRU", use_negsampling=True, **common)
    width = max(stop for _, stop in model.feature_index.values())
    x = torch.zeros(task.batch, width)
    for name, (start, stop) in model.feature_index.items():
        x[:, start:stop] = given[name].reshape(task.batch, -1).float()

    def loss() -> torch.Tensor:
        found = F.binary_cross_entropy(model(x).squeeze(1), label)
        return (found + model.get_regularization_loss() + model.aux_loss).sum()

    return Contender.of(model, loss, lambda: model(x), differs=DIFFERS.get(task.model, ""))
