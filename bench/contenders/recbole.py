"""RecBole 1.2.1: AFM, DIN, DIEN."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

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

PACKAGE = "recbole"
DIFFERS = {
    "din": (
        "the head's sizes are the attention's, too: 200 and 80, with sigmoids; batch normalisation in the "
        "head; no user"
    ),
    "dien": (
        "its attention is a perceptron on [q; k; q-k; q*k]; that, the auxiliary one and the head have the "
        "same sizes, 100 and 50; batch normalisation in the head; no sum of the history; the auxiliary loss "
        "is computed in scoring, too"
    ),
}


def build(task: Task) -> Contender:
    if task.model not in ("afm", "din", "dien"):
        raise Absent("it has no such model")
    logging.disable(logging.CRITICAL)
    # RecBole 1.2.1 is older than NumPy 2, and names types that are gone.
    for name, kind in {"float_": np.float64, "complex_": np.complex128, "unicode_": np.str_}.items():
        setattr(np, name, kind)
    from recbole.data.interaction import Interaction
    from recbole.model.context_aware_recommender import AFM
    from recbole.model.sequential_recommender import DIEN, DIN

    # One of its other models turns this on for all when it is imported.
    torch.autograd.set_detect_anomaly(False)
    with tempfile.TemporaryDirectory() as directory:
        if task.model == "afm":
            config, dataset = described(directory, "AFM", _fields(), {"attention_size": FIELD_WIDTH})
            model = AFM(config, dataset)
        else:
            options = {
                "mlp_hidden_size": [200, 80] if task.model == "din" else [100, 50],
                "pooling_mode": "sum",
                "gru_type": "AUGRU",
                "MAX_ITEM_LIST_LENGTH": task.bound,
                "load_col": {
                    "inter": ["user_id", "item_id", "label", "timestamp"],
                    "item": ["item_id", "category"],
                },
            }
            if task.model == "dien":
                options["train_neg_sample_args"] = None
            config, dataset = described(directory, task.model.upper(), _events(), options)
            model = {"din": DIN, "dien": DIEN}[task.model](config, dataset)
    if task.model == "afm":
        fields = Fields.of(task)
        given: dict[str, Any] = {f"f{i}": column for i, column in enumerate(fields.ids.unbind(1))}
        given |= {"label": fields.label}
    else:
        data = Padded.of(task)
        given = {
            "user_id": data.user,
            "item_id": data.item,
            "item_id_list": data.items,
            "neg_item_id_list": data.other_items,
            "item_length": data.lengths,
            "label": data.label,
        }
    batch = Interaction(given)
    return Contender.of(
        model,
        lambda: model.calculate_loss(batch),
        lambda: model.predict(batch),
        differs=DIFFERS.get(task.model, ""),
    )


def described(directory: str, model: str, files: dict[str, str], options: dict[str, Any]) -> tuple[Any, Any]:
    """RecBole's configuration and data set, read from atomic files as it wants them."""
    from recbole.config import Config
    from recbole.data import create_dataset

    home = Path(directory) / "bench"
    home.mkdir()
    for suffix, text in files.items():
        (home / f"bench.{suffix}").write_text(text)
    settings = {
        "data_path": directory,
        "checkpoint_dir": directory,
        "use_gpu": False,
        "embedding_size": FIELD_WIDTH if model == "AFM" else WIDTH,
        "dropout_prob": 0.0,
        "reg_weight": 0,
        "LABEL_FIELD": "label",
        "USER_ID_FIELD": "f0" if model == "AFM" else "user_id",
        "ITEM_ID_FIELD": "f1" if model == "AFM" else "item_id",
        "load_col": None,
        "show_progress": False,
        **options,
    }
    import sys

    arguments, sys.argv = sys.argv, sys.argv[:1]  # it reads the command line of whoever calls
    try:
        config = Config(model=model, dataset="bench", config_dict=settings)
    finally:
        sys.argv = arguments
    dataset = create_dataset(config)
    if model == "AFM":
        return config, dataset
    dataset._change_feat_format()  # else its tables of features are not tensors yet
    for column in dataset.get_item_feature().interaction.values():
        column.clamp_(min=0)  # with today's pandas the padding's category is no number
    return config, dataset


def _fields() -> dict[str, str]:
    header = "\t".join([*(f"f{i}:token" for i in range(FIELDS)), "label:float"])
    lines = ["\t".join([*([str(row)] * FIELDS), str(row % 2)]) for row in range(FIELD_ROWS)]
    return {"inter": "\n".join([header, *lines])}


def _events() -> dict[str, str]:
    events = ["user_id:token\titem_id:token\tlabel:float\ttimestamp:float"]
    events += [f"{row % (USERS - 1)}\t{row}\t{row % 2}\t{row}" for row in range(ITEMS - 1)]
    items = ["item_id:token\tcategory:token"]
    items += [f"{row}\t{row % (CATEGORIES - 1)}" for row in range(ITEMS - 1)]
    return {"inter": "\n".join(events), "item": "\n".join(items)}
