"""Tables that start from vectors learnt elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import specc
from specc_runtime import ArtefactError, Model
from specc_runtime.artefact import save
from specc_runtime.encode import Encoders, Origin, load_pretrained, save_encoders

SPEC = """
model started
space ad from candidate {{
  item: vocab(10, 2, pretrained = "{vocab}")
  shop: ids(3, 2, pretrained = "{ids}")
}}
predict click: binary = sum(ad)
"""


def made(folder: Path, vocab: str, ids: str) -> tuple[Model, Encoders]:
    (folder / "started.arec").write_text(SPEC.format(vocab=vocab, ids=ids))
    with pytest.warns(UserWarning, match=r"ad\.item\.weight, ad\.shop\.weight start from files"):
        model = specc.compile(folder / "started.arec")
    table = pa.table({"item": ["a", "b", "b", "c"], "shop": [0, 1, 2, 2], "click": [0, 1, 0, 1]})
    return model, Encoders.learn(model.manifest, [(table, Origin(folder / "events.parquet"))])


def parquet(path: Path, values: list[object], width: int = 2) -> None:
    vectors = [[float(i + 1)] * width for i in range(len(values))]
    pq.write_table(pa.table({"value": values, "vector": vectors}), path)


def test_values_find_their_rows(tmp_path: Path) -> None:
    parquet(tmp_path / "items.parquet", ["c", "unheard of", "b"])
    np.save(tmp_path / "shops.npy", np.arange(6, dtype=np.float32).reshape(3, 2))
    model, encoders = made(tmp_path, "items.parquet", "shops.npy")
    before = model.state_dict()["ad.item.weight"].clone()
    assert load_pretrained(model, encoders, [tmp_path]) == ["ad.item.weight", "ad.shop.weight"]
    items = model.state_dict()["ad.item.weight"]
    row = {value: int(encoders.vocabularies["ad.item"].rows(pa.array([value]).cast(pa.large_string()))[0])
           for value in "abc"}  # fmt: skip
    assert items[row["c"]].tolist() == [1.0, 1.0]
    assert items[row["b"]].tolist() == [3.0, 3.0]
    for kept in (0, row["a"]):
        assert torch.equal(items[kept], before[kept])
    assert model.state_dict()["ad.shop.weight"].flatten().tolist() == [0, 1, 2, 3, 4, 5]


def test_a_trained_model_is_a_start(tmp_path: Path) -> None:
    parquet(tmp_path / "items.parquet", ["a", "b", "c"])
    np.save(tmp_path / "shops.npy", np.ones((3, 2), dtype=np.float32))
    first, encoders = made(tmp_path, "items.parquet", "shops.npy")
    load_pretrained(first, encoders, [tmp_path])
    save(first, tmp_path / "trained")
    save_encoders(encoders, tmp_path / "trained")
    second, encoders = made(tmp_path, "trained", "trained")
    load_pretrained(second, encoders, [tmp_path])
    rows = [1, 2, 3]
    assert torch.equal(
        second.state_dict()["ad.item.weight"][rows], first.state_dict()["ad.item.weight"][rows]
    )
    assert torch.equal(second.state_dict()["ad.shop.weight"], first.state_dict()["ad.shop.weight"])


@pytest.mark.parametrize(
    ("vocab", "ids", "said"),
    [
        ("none.parquet", "shops.npy", "there is no such file in"),
        ("shops.npy", "shops.npy", "the file must say which value each is of"),
        ("wide.parquet", "shops.npy", "every `vector` needs 2 numbers"),
        ("items.parquet", "tall.npy", "it is [4, 2], and the table [3, 2]"),
        ("../items.parquet", "shops.npy", "without `..`"),
        ("items.parquet", "notes.txt", ".txt is none of"),
        ("bare.parquet", "shops.npy", "it has no column `vector`"),
        ("items.parquet", "broken.npy", "ad.shop.weight starts from broken.npy"),
    ],
)
def test_what_does_not_fit_changes_nothing(tmp_path: Path, vocab: str, ids: str, said: str) -> None:
    parquet(tmp_path / "items.parquet", ["a"])
    parquet(tmp_path / "wide.parquet", ["a"], width=3)
    pq.write_table(pa.table({"value": ["a"]}), tmp_path / "bare.parquet")
    np.save(tmp_path / "shops.npy", np.ones((3, 2), dtype=np.float32))
    np.save(tmp_path / "tall.npy", np.ones((4, 2), dtype=np.float32))
    (tmp_path / "notes.txt").write_text("1 2")
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY")
    model, encoders = made(tmp_path, vocab, ids)
    before = {path: w.clone() for path, w in model.state_dict().items()}
    with pytest.raises(ArtefactError) as fault:
        load_pretrained(model, encoders, [tmp_path])
    assert said in str(fault.value)
    assert all(torch.equal(w, before[path]) for path, w in model.state_dict().items())
