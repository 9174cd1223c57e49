"""`specc export`, and what its files give."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from specc.export.verify import batches
from specc_runtime import ArtefactError
from specc_runtime.encode import Origin, load_trained
from specc_runtime.engines import about, load_exported
from tests.cli.test_predict import run
from tests.export.test_portable import untrained

SPEC = """\
model shop
space user from request { id: ids(50, 4), city: vocab(5, 2) }
space ad from candidate { item: ids(70, 4) }
space history[t <= 8] from request { item: ids(70, 4) }
seen = sum(softmax(dot(history, ad), over t) * history, over t)
output taste = user |> linear(3)
predict click: binary = concat(user, ad, seen) |> linear(1)
train { epochs = 1, batch = 8 }
"""
LISTS = pa.schema(
    [
        ("user_id", pa.int64()),
        ("user_city", pa.string()),
        ("ad_item", pa.list_(pa.int64())),
        ("history_item", pa.list_(pa.int64())),
    ]
)
ONNX = all(find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    rows = [
        {
            "user_id": n % 50,
            "user_city": "abc"[n % 3],
            "ad_item": n % 70,
            "history_item": [1, 2, 3][: n % 4],
            "click": n % 2,
        }
        for n in range(32)
    ]
    (folder / "shop.arec").write_text(SPEC)
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")
    done = run("train", folder / "shop.arec", folder / "rows.parquet", "-o", folder / "model")
    assert done.exit_code == 0, done.output
    return folder / "model"


@pytest.mark.parametrize("kind", ["pt2", "onnx"])
def test_a_file_gives_what_the_model_gives(kind: str, model: Path, tmp_path: Path) -> None:
    if kind == "onnx" and not ONNX:
        pytest.skip("the extra onnx is not installed")
    path = tmp_path / f"shop.{kind}"
    done = run("export", model, "-o", path, "--format", kind, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["output"], told["format"], told["form"]) == (str(path), kind, "request")
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name, f"{path.name}.about"]
    said = json.loads((about(path) / "export.json").read_text())
    names = [x["name"] for x in said["signature"]["inputs"]]
    assert names == ["user_id", "user_city", "ad_item", "history_item"]
    assert said["difference"] == told["difference"] <= 1e-5
    loaded, (own, encoders) = load_exported(path, threads=1), load_trained(model)
    requests = [
        {"user_id": 3, "user_city": "a", "ad_item": [1, 2, 3], "history_item": [4, 5]},
        {"user_id": 3, "user_city": "z", "ad_item": [9], "history_item": []},
        {"user_id": 3, "user_city": "z", "ad_item": [], "history_item": [9]},
    ]
    for request in requests:
        table = pa.Table.from_pylist([request], LISTS)
        batch = encoders.encode(table, Origin("request"), candidates=True, labels=False)
        with torch.no_grad():
            wanted = own(batch)
        for name, values in loaded(batch).items():
            torch.testing.assert_close(values, wanted[name], atol=1e-5, rtol=1e-5)


def test_a_file_that_was_changed_is_not_loaded(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "shop.pt2"
    assert run("export", model, "-o", path).exit_code == 0
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ArtefactError, match="is not the file that was exported"):
        load_exported(path)
    with pytest.raises(ArtefactError, match="was not written by `specc export`"):
        load_exported(tmp_path / "other.pt2")


@pytest.mark.skipif(not ONNX, reason="the extra onnx is not installed")
def test_large_weights_are_a_file_of_their_own(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file of ONNX holds 2 GB."""
    monkeypatch.setattr("specc.export.formats.LARGE", 100)
    path = tmp_path / "shop.onnx"
    for _ in range(2):  # and again in place of the first
        done = run("export", model, "-o", path, "--format", "onnx")
        assert done.exit_code == 0, done.output
    weights = about(path) / "weights"
    assert weights.stat().st_size > 70 * 4 * 4
    batch = next(batches(load_trained(model)[0].manifest, load_exported(path).signature))
    wanted = load_trained(model)[0].eval()(batch)["click"]
    torch.testing.assert_close(load_exported(path)(batch)["click"], wanted, atol=1e-5, rtol=1e-5)
    path.rename(tmp_path / "other.onnx")
    about(path).rename(about(tmp_path / "other.onnx"))
    with pytest.raises(ArtefactError, match=r"was renamed: call it shop\.onnx again"):
        load_exported(tmp_path / "other.onnx")
    (tmp_path / "other.onnx").rename(path)
    about(tmp_path / "other.onnx").rename(about(path))
    weights.write_bytes(weights.read_bytes()[:-1] + b" ")
    with pytest.raises(ArtefactError, match="weights is not the file that was exported"):
        load_exported(path)


def test_what_cannot_be_exported_is_told(model: Path, tmp_path: Path) -> None:
    done = run("export", model, "-o", tmp_path / "x.pt2", "--only", "tast")
    assert done.exit_code == 1
    assert done.output == "error: the model has no result tast; did you mean taste?\n"
    assert run("export", tmp_path / "nowhere", "-o", tmp_path / "x.pt2").exit_code == 2
    assert run("export", model, "-o", tmp_path).exit_code == 2
    assert not [*tmp_path.iterdir()]


def test_an_engine_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from specc.export import ExportError, formats
    from specc.export.export import export

    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    model, _ = untrained(SPEC)
    with pytest.raises(
        ExportError, match=r"needs onnx, onnxscript, onnxruntime, .* pip install 'arec\[onnx\]'"
    ):
        export(model, tmp_path / "x.onnx", "onnx")
