"""torch-rechub 0.9.0: DIN, DIEN, BST."""

from __future__ import annotations

from torch import nn
from torch.nn import functional as F

from bench.contender import Absent, Contender
from bench.tasks import CATEGORIES, ITEMS, USERS, WIDTH, Padded, Task

PACKAGE = "torch-rechub"
DIFFERS = {
    "din": (
        "an attention for items and one for categories, each on 64 channels; batch normalisation before "
        "every activation; its Dice normalises over channels"
    ),
    "dien": (
        "a GRU and an AUGRU for items and one of each for categories, 64 wide instead of 128; the auxiliary "
        "loss by a dot product; no sum of the history; batch normalisation in the head"
    ),
    "bst": (
        "its feed-forward of 2048 is replaced by one of 512, which cannot be set; batch normalisation in the "
        "head, which reads the target, too"
    ),
}


def build(task: Task) -> Contender:
    if task.model == "afm":
        raise Absent("its AFM adds the pairs up before the attention, which is another model")
    if task.model not in ("din", "dien", "bst"):
        raise Absent("it has no such model")
    from torch_rechub.basic.features import SequenceFeature, SparseFeature
    from torch_rechub.models.ranking import BST, DIEN, DIN

    data = Padded.of(task)
    x = {
        "user": data.user,
        "item": data.item,
        "category": data.category,
        "hist_item": data.items,
        "hist_category": data.categories,
        "neg_item": data.other_items,
        "neg_category": data.other_categories,
    }
    user = [SparseFeature("user", USERS, embed_dim=WIDTH)]
    target = [
        SparseFeature("item", ITEMS, embed_dim=WIDTH, padding_idx=0),
        SparseFeature("category", CATEGORIES, embed_dim=WIDTH, padding_idx=0),
    ]

    def histories(prefix: str) -> list[SequenceFeature]:
        return [
            SequenceFeature(f"{prefix}_{name}", rows, WIDTH, "concat", shared_with=name, padding_idx=0)
            for name, rows in (("item", ITEMS), ("category", CATEGORIES))
        ]

    head = {"dims": [200, 80]}
    differs = DIFFERS[task.model]
    if task.model == "din":
        din = DIN(user, histories("hist"), target, head, {"dims": [36], "activation": "dice"})
        return Contender.of(
            din, lambda: F.binary_cross_entropy(din(x), data.label), lambda: din(x), differs=differs
        )
    if task.model == "dien":
        dien = DIEN(user, histories("hist"), histories("neg"), target, head, alpha=1.0)

        def loss():  # type: ignore[no-untyped-def]
            chance, auxiliary = dien(x)
            return F.binary_cross_entropy(chance, data.label) + auxiliary

        return Contender.of(dien, loss, lambda: dien(x), differs=differs, lesser=True)
    head = {"dims": list(task.head), "activation": "leakyrelu"}
    bst = BST(user, histories("hist"), target, head, dropout=0.0, max_seq_len=task.bound + 1)
    width = 2 * WIDTH
    layer = nn.TransformerEncoderLayer(width, 8, 4 * width, 0.0, nn.LeakyReLU(), batch_first=True)
    bst.transformer_layers = nn.TransformerEncoder(layer, 1)
    return Contender.of(
        bst, lambda: F.binary_cross_entropy(bst(x), data.label), lambda: bst(x), differs=differs
    )
