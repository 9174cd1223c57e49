"""`specc card`: a folder's README as the Hub reads it, whose figures are of the weights beside it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner, Result

import specc
from specc.cli import main
from specc_runtime import load, save
from specc_runtime.record import RECORD, digest
from specc_runtime.trained import period_of
from tests.train.small import write_examples, write_spec


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("card")
    write_examples(folder)
    write_spec(folder)
    train = pq.read_table(folder / "train.parquet")
    times = pa.array(range(1_500_000_000, 1_500_000_000 + len(train)))
    pq.write_table(train.append_column("example_time", times), folder / "train.parquet", row_group_size=100)
    done = run("train", folder / "small.arec", folder / "train.parquet", "--valid", folder / "test.parquet",
               "--epochs", 2, "-o", folder / "model")  # fmt: skip
    assert done.exit_code == 0, done.output
    return folder


def head_of(card: str) -> dict[str, Any]:
    _, head, _ = card.split("---\n", 2)
    found: dict[str, Any] = yaml.safe_load(head)
    return found


def test_the_card_of_a_folder_that_loads_back(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "model", tmp_path / "model")
    readme = tmp_path / "model" / "README.md"
    done = run("card", tmp_path / "model", folder / "test.parquet", "-o", readme, "--license", "mit")
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    card = readme.read_text(encoding="utf-8")
    head = head_of(card)
    assert (head["license"], head["library_name"]) == ("mit", "arec")
    assert head["pipeline_tag"] == "tabular-classification"
    (model,) = head["model-index"]
    (result,) = model["results"]
    assert result["dataset"]["revision"] == digest(folder / "test.parquet")
    auc = next(one["value"] for one in result["metrics"] if one["type"] == "auc")
    assert f" {auc:.5f} |" in card
    assert "popularity of the item" in card
    assert "400 examples, `train.parquet`" in card
    assert "from 2017-07-14T02:40:00+00:00 to 2017-07-14T02:46:39+00:00" in card
    assert digest(tmp_path / "model" / RECORD) in card
    assert digest(folder / "train.parquet") in card
    assert "| `history.item` | `history_item` | request, a sequence | vocab(" in card
    assert (tmp_path / "model" / "spec.arec").read_text().rstrip() in card
    before = load(folder / "model").state_dict()
    for again in (load(tmp_path / "model"), specc.load(tmp_path / "model")):
        assert all(bool((again.state_dict()[path] == value).all()) for path, value in before.items())


def test_the_hub_reads_it(folder: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    done = run("card", folder / "model", folder / "test.parquet")
    card = hub.ModelCard(done.stdout)
    assert {one.metric_type for one in card.data.eval_results} >= {"auc", "logloss"}
    assert card.data.license == "unknown"


def test_without_data_the_figures_are_those_of_the_validation(folder: Path) -> None:
    done = run("card", folder / "model")
    assert done.exit_code == 0, done.output
    assert "nobody has chosen a licence" in done.stderr
    assert "**Nobody has chosen a licence yet.**" in done.stdout
    (result,) = head_of(done.stdout)["model-index"][0]["results"]
    assert result["dataset"]["split"] == "validation"
    assert "the validation data, by which the epoch was chosen" in done.stdout


def test_figures_of_other_weights_are_not_told(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "model", tmp_path / "model")
    model = load(tmp_path / "model")
    model.part("items").weight.data.add_(1.0)
    save(model, tmp_path / "model")
    done = run("card", tmp_path / "model")
    assert done.exit_code == 0, done.output
    assert "the folder has no figures" in done.stderr
    assert "model-index" not in done.stdout
    assert "the folder does not say on what" in done.stdout


def test_what_is_no_trained_model_has_no_card(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = run("card", tmp_path / "empty")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "has no trained model" in done.stderr
    run("compile", folder / "small.arec", "-o", tmp_path / "compiled")
    assert "it was only compiled" in run("card", tmp_path / "compiled").stderr
    shutil.copytree(folder / "model", tmp_path / "model")
    (tmp_path / "model" / "manifest.json").write_text("{}")
    done = run("card", tmp_path / "model", "-o", tmp_path / "card.md")
    assert done.exit_code == 1
    assert "is damaged" in done.stderr
    assert not (tmp_path / "card.md").exists()
    done = run("card", folder / "model", folder / "none.parquet")
    assert done.exit_code == 1
    assert "none.parquet" in done.stderr


def test_a_period_is_told_only_where_it_is_known(folder: Path, tmp_path: Path) -> None:
    assert period_of([folder / "train.parquet"]) is not None
    assert period_of([folder / "train.parquet", folder / "test.parquet"]) is None
    (tmp_path / "train.csv").write_text("example_time\n3\n")
    assert period_of([tmp_path / "train.csv"]) is None
