"""Classes that are the rows of a table: losses, places and the best ones, in pieces and by draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import specc
from specc_runtime import Model
from specc_runtime.catalogue import best_rows, ranked
from specc_runtime.encode import Origin, load_encoders
from specc_runtime.layers import Table
from specc_runtime.ops import catalogue, row_loss
from specc_runtime.score import answers, score
from specc_runtime.train import Recipe, evaluate_files, fit

ROWS, WIDTH, FIRST = 50, 4, 1


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "PIECE", 7 * 12)


def parts() -> tuple[Table, Tensor, Tensor, Tensor, Tensor]:
    """A table, counts of which three rows have none, a bias, vectors and labels."""
    torch.manual_seed(3)
    table = Table(ROWS, WIDTH, ("normal", 1.0)).double()
    counts = torch.randint(1, 20, (ROWS,)).double()
    counts[-3:] = 0
    bias = torch.randn(ROWS, dtype=torch.double, requires_grad=True)
    x = torch.randn(12, WIDTH, dtype=torch.double, requires_grad=True)
    return table, counts, bias, x, torch.randint(FIRST, ROWS - 3, (12, 1))


def whole(table: Table, counts: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    logits = x @ table.weight.t() + bias
    return logits.masked_fill((counts == 0) | (torch.arange(ROWS) < FIRST), -torch.inf)


def test_the_loss_of_all_rows_is_cross_entropy() -> None:
    table, counts, bias, x, labels = parts()
    found = row_loss(x, labels.double(), table.weight, counts, bias, FIRST).squeeze(1)
    expected = F.cross_entropy(whole(table, counts, bias, x), labels.squeeze(1), reduction="none")
    assert torch.allclose(found, expected)
    wanted, upstream = (x, table.weight, bias), torch.rand(12, dtype=torch.double)
    mine, theirs = (torch.autograd.grad(y, wanted, upstream) for y in (found, expected))
    assert all(torch.allclose(a, b) for a, b in zip(mine, theirs, strict=True))


def test_rows_that_are_drawn_stand_for_all_others() -> None:
    """On average the sum of exponentials is that of all classes."""
    table, counts, bias, x, labels = parts()
    own = whole(table, counts, bias, x).gather(1, labels)
    with torch.no_grad():
        draws = [
            (row_loss(x, labels.double(), table.weight, counts, bias, FIRST, 40) + own).exp()
            for _ in range(400)
        ]
    mean, off = torch.stack(draws).mean(0), torch.stack(draws).std(0) / 20
    expected = whole(table, counts, bias, x).exp().sum(1, keepdim=True)
    assert ((mean - expected).abs() < 5 * off).all()


SPEC = """model next_item
table items = vocab(60, 6)
space history[t <= 4] from request { item: items from "seen" }
predict next: class(itemsOPTIONS) = mean(history.item, over t) |> linear(6)
train { optimizer = adam(lr = 0.05), batch = 32, epochs = 6, metric = accuracy }
"""


def files(folder: Path) -> None:
    """What comes next is told by the first item; some of what is asked for later was never seen."""
    random = np.random.default_rng(0)
    first = random.integers(0, 20, 300)
    seen = pa.array([[f"i{k}", f"i{(k + 1) % 20}"] for k in first])
    pq.write_table(
        pa.table({"seen": seen, "next": [f"i{(k + 5) % 20}" for k in first]}), folder / "train.parquet"
    )
    later = [*(f"i{(k + 5) % 20}" for k in first[:40]), *["new"] * 8, None, None]
    pq.write_table(pa.table({"seen": seen[:50], "next": later}), folder / "valid.parquet")


@pytest.mark.parametrize("options", ["", ", sampled = 30, bias = true"])
def test_the_next_item_is_learned_evaluated_and_scored(tmp_path: Path, options: str) -> None:
    files(tmp_path)
    (tmp_path / "next.arec").write_text(SPEC.replace("OPTIONS", options))
    torch.manual_seed(0)
    model = specc.compile(tmp_path / "next.arec")
    fit(model, [tmp_path / "train.parquet"], tmp_path / "model", Recipe.of(model.manifest))
    found = evaluate_files(model, tmp_path / "model", [tmp_path / "valid.parquet"])
    assert found.results["next"]["model"]["accuracy"] > 0.9
    assert found.unknown["labels of next"] == pytest.approx(8 / 48)
    encoders = load_encoders(tmp_path / "model", model.manifest)
    rows = pq.read_table(tmp_path / "valid.parquet").slice(0, 3)
    (part,) = score(model, encoders, [(rows, Origin("valid"))], most=4)
    answered = answers(part, encoders, by="next", k=4).to_pylist()
    assert [row["next_class"][0] for row in answered] == rows.column("next").to_pylist()
    assert all(len(set(row["next_class"])) == 4 and None not in row["next_class"] for row in answered)
    _places_are_those_of_all_logits(model)


def _places_are_those_of_all_logits(model: Model) -> None:
    (entry,) = model.manifest["predictions"]
    held, of = model.state_dict(), entry["rows"]
    counts = held[of["counts"]]
    assert counts[0] == 0
    assert (counts > 0).sum() == 20
    x, labels = torch.randn(9, 6), torch.randint(1, 21, (9,))
    logits = x @ held[of["table"]].t() + (0 if of["bias"] is None else held[of["bias"]])
    logits = logits.masked_fill(counts == 0, -torch.inf)
    own = logits.gather(1, labels.unsqueeze(1))
    expected = [-logits.log_softmax(1).gather(1, labels.unsqueeze(1)), (logits > own).sum(1, keepdim=True)]
    found = ranked(model, entry, x, labels)
    assert torch.allclose(found[:, :2], torch.cat(expected, 1).double(), atol=1e-5)
    chances, rows = best_rows(model, entry, x, 5)
    best = logits.softmax(1).topk(5)
    assert np.allclose(chances, best.values, atol=1e-6)
    assert (rows == best.indices.numpy()).all()
