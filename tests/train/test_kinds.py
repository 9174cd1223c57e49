"""Every kind of prediction is trained, evaluated and scored; metrics are those of scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score, root_mean_squared_error

import specc
from specc_runtime import Model
from specc_runtime.encode import Origin, load_encoders
from specc_runtime.score import score
from specc_runtime.train import Recipe, evaluate_files, fit

SPEC = """model kinds
table items = ids(30, 4)
space user from request { tags: bag(vocab(20, 4), mean), mood: vector(2) }
space ad from candidate { item: items, price: number(standard) }
space seen[t <= 4] from candidate { item: items }
x = concat(user, ad, sum(seen, over t)) |> mlp([8])
predict click: binary = x |> linear(1)
predict stars: real = x |> linear(1)
predict next: class(5) = x |> linear(5)
train { optimizer = adagrad(lr = 0.05), batch = 64, epochs = 1, metric = rmse }
"""
ROWS = 200


def table() -> pa.Table:
    random = np.random.default_rng(0)
    lists = [random.integers(0, 9, random.integers(0, 4)).tolist() for _ in range(ROWS)]
    return pa.table(
        {
            "tags": pa.array(lists, pa.list_(pa.int64())),
            "mood": pa.array(random.normal(size=(ROWS, 2)).tolist(), pa.list_(pa.float64(), 2)),
            "ad_item": random.integers(0, 30, ROWS),
            "price": random.random(ROWS),
            "seen_item": pa.array(lists, pa.list_(pa.int64())),
            "click": random.integers(0, 2, ROWS),
            "stars": random.integers(1, 6, ROWS),
            "next": random.integers(0, 5, ROWS),
        }
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Path]:
    folder = tmp_path_factory.mktemp("kinds")
    (folder / "kinds.arec").write_text(SPEC)
    pq.write_table(table(), folder / "examples.parquet")
    torch.manual_seed(0)
    model = specc.compile(folder / "kinds.arec")
    fit(model, [folder / "examples.parquet"], folder / "model", Recipe.of(model.manifest))
    return model, folder


def test_metrics_are_those_of_the_outputs(trained: tuple[Model, Path]) -> None:
    model, folder = trained
    results = evaluate_files(model, folder / "model", [folder / "examples.parquet"]).results
    encoders = load_encoders(folder / "model", model.manifest)
    with torch.no_grad():
        outputs = {k: v.double().numpy() for k, v in model(encoders.encode(table(), Origin("x"))).items()}
    labels = {name: table().column(name).to_numpy() for name in outputs}
    chances = np.exp(outputs["next"]) / np.exp(outputs["next"]).sum(1, keepdims=True)
    click = results["click"]["model"]
    assert click["auc"] == pytest.approx(roc_auc_score(labels["click"], outputs["click"]), abs=1e-12)
    assert click["logloss"] == pytest.approx(log_loss(labels["click"], 1 / (1 + np.exp(-outputs["click"]))))
    assert results["next"]["model"] == pytest.approx(
        {
            "logloss": log_loss(labels["next"], chances, labels=range(5)),
            "accuracy": accuracy_score(labels["next"], chances.argmax(1)),
        }
    )
    stars = results["stars"]
    assert stars["model"]["rmse"] == pytest.approx(root_mean_squared_error(labels["stars"], outputs["stars"]))
    assert stars["mean"]["rmse"] == pytest.approx(labels["stars"].std())
    assert "next" in results
    assert set(results["next"]) == {"model"}


def test_candidates_with_sequences_are_scored(trained: tuple[Model, Path]) -> None:
    model, folder = trained
    encoders = load_encoders(folder / "model", model.manifest)
    rows = table().slice(0, 3)
    request = rows.slice(0, 1).select(["tags", "mood"])
    for name in ("ad_item", "price", "seen_item"):
        request = request.append_column(name, pa.array([rows.column(name).to_pylist()]))
    together = next(score(model, encoders, [(request, Origin("x"))])).scores
    # The same request with one candidate at a time, as examples are.
    alone = rows
    for name in ("tags", "mood"):
        same = rows.slice(0, 1).column(name).take([0, 0, 0])
        alone = alone.set_column(alone.column_names.index(name), name, same)
    with torch.no_grad():
        expected = model(encoders.encode(alone, Origin("x"), labels=False))
    assert together["click"] == pytest.approx(torch.sigmoid(expected["click"]).numpy(), abs=1e-6)
    assert together["stars"] == pytest.approx(expected["stars"].numpy(), abs=1e-6)
    assert together["next"] == pytest.approx(torch.softmax(expected["next"], -1).numpy(), abs=1e-6)
