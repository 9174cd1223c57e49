"""`specc inspect`: weights beside the items they are on, and fields that matter where they do."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from specc.cli import main
from specc.inspect.importance import shuffled
from specc_runtime.batch import Bag

SPEC = """model looked
table items = vocab(50, 8)
space user from request {
  id: vocab(20, 4), age: number(standard, default = 30), tags: bag(vocab(9, 4), mean)
}
space ad from candidate { item: items }
space visits[session <= 3, step <= 4] from request { item: items, price: number(none) }
each = mean(visits, over step)
attention pool(query[d], key[session, e]) -> [e] {
  weight = softmax(dot(query |> linear(width(key), bias = false), key), over session)
  return sum(weight * key, over session)
}
attention within(query[d], key[session, step, e]) -> [session, e] {
  weight = softmax(dot(query |> linear(width(key), bias = false), key), over step)
  return sum(weight * key, over step)
}
joined = concat(user, ad, pool(ad, each), mean(within(ad, visits), over session))
predict click: binary = joined |> mlp([16], act = relu) |> linear(1)
train { optimizer = adam(lr = 0.02), batch = 64, epochs = 4, seed = 1, group = ad.item }
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained model whose label is whether the user's number is even, with its data."""
    folder = tmp_path_factory.mktemp("inspect")
    draw = random.Random(0)
    rows = []
    for _ in range(400):
        visits = [
            [draw.randrange(9) for _ in range(draw.randrange(1, 5))] for _ in range(draw.randrange(1, 5))
        ]
        user = draw.randrange(12)
        rows.append(
            {
                "user_id": f"u{user}",
                "user_age": None if user == 3 else 20 + user,
                "user_tags": [draw.choice("abc") for _ in range(draw.randrange(3))],
                "ad_item": f"i{draw.randrange(9)}",
                "visits_item": [[f"i{x}" for x in steps] for steps in visits],
                "visits_price": [[float(x) for x in steps] for steps in visits],
                "click": user % 2,
            }
        )
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "looked.arec").write_text(SPEC, encoding="utf-8")
    done = CliRunner().invoke(
        main, ["train", str(folder / "looked.arec"), str(folder / "data.jsonl"), "-o", str(folder / "m")]
    )
    assert done.exit_code == 0, done.output
    return folder


def inspect(folder: Path, *options: object, data: bool = True) -> Result:
    given = [str(folder / "data.jsonl")] if data else []
    return CliRunner().invoke(main, ["inspect", str(folder / "m"), *given, *map(str, options)])


def found(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize("number", [1, 7, 400])
def test_weights_stand_beside_the_items_they_are_on(folder: Path, number: int) -> None:
    row = json.loads((folder / "data.jsonl").read_text(encoding="utf-8").splitlines()[number - 1])
    data = found(inspect(folder, "--example", number, "--json"))
    assert data["fields"]["user.id"] == row["user_id"]
    assert data["fields"]["user.tags"] == "{" + ", ".join(row["user_tags"]) + "}"
    assert data["predictions"]["click"]["label"] == row["click"]
    kept = [steps[-4:] for steps in row["visits_item"][-3:]]  # longer lists keep their last positions
    prices = [steps[-4:] for steps in row["visits_price"][-3:]]
    by_path = {looked["path"]: looked["weights"] for looked in data["attentions"]}
    (inner,) = (weights for weights in by_path.values() if "step" in weights[0]["positions"])
    (outer,) = (weights for weights in by_path.values() if "step" not in weights[0]["positions"])
    assert len(outer) == len(kept)
    assert abs(sum(line["values"][0] for line in outer) - 1) < 1e-5
    told = {(w["positions"]["session"], w["positions"]["step"]): w["what"] for w in inner}
    assert told == {
        (i, j): f"item {item}, price {prices[i][j]:.4g}"
        for i, steps in enumerate(kept)
        for j, item in enumerate(steps)
    }


def test_a_page_shows_the_same(folder: Path) -> None:
    page = folder / "page.html"
    result = inspect(folder, "--example", 2, "--html", page)
    assert result.exit_code == 0, result.output
    text = page.read_text(encoding="utf-8")
    assert "http" not in text
    for line in result.stdout.splitlines():
        if "item i" in line and "█" in line:
            assert line.rpartition("  ")[2] in text


def test_the_field_that_the_label_is_made_of_matters_most(folder: Path) -> None:
    data = found(inspect(folder, "--importance", "--repeats", 3, "--json"))
    assert data["value"] > 0.95
    first, *others = data["fields"]
    assert first["field"] == "user.id"
    assert first["loss"] > 0.3
    assert all(abs(other["loss"]) < 0.1 for other in others)
    worse = found(inspect(folder, "--importance", "--metric", "logloss", "--repeats", 1, "--json"))
    assert worse["fields"][0]["field"] == "user.id"
    assert worse["fields"][0]["loss"] > 0


def test_shuffling_keeps_what_there_is() -> None:
    draw = torch.Generator().manual_seed(0)
    bag = Bag(torch.arange(10), torch.tensor([3, 0, 2, 5]), torch.arange(10.0))
    other = shuffled(bag, draw)
    assert isinstance(other, Bag)
    assert other.weights is not None
    assert sorted(other.lengths.tolist()) == [0, 2, 3, 5]
    whole = {tuple(x.tolist()) for x in bag.values.split(bag.lengths.tolist())}
    assert {tuple(x.tolist()) for x in other.values.split(other.lengths.tolist())} == whole
    assert other.weights.tolist() == [float(x) for x in other.values.tolist()]


def test_calibration_and_nearest_rows(folder: Path) -> None:
    data = found(inspect(folder, "--calibration", "ad.item", "--json"))
    assert set(data) == {f"i{i}" for i in range(9)}
    assert sum(of["click"]["examples"] for of in data.values()) == 400
    lines = inspect(folder, "--calibration", "ad.item").output.splitlines()[1:]
    counts = [int(line.split("(")[1].split(")")[0]) for line in lines]
    assert counts == sorted((of["click"]["examples"] for of in data.values()), reverse=True)
    near = found(inspect(folder, "--nearest", "items", "i3", "--top", 4, "--json", data=False))
    assert len(near) == 4
    assert "i3" not in {x["key"] for x in near}
    assert [x["cosine"] for x in near] == sorted((x["cosine"] for x in near), reverse=True)


def test_what_stands_alone_is_said_as_the_data_have_it(folder: Path) -> None:
    lines = [json.loads(line) for line in (folder / "data.jsonl").read_text(encoding="utf-8").splitlines()]
    for user in (3, 4):
        number = next(i for i, line in enumerate(lines, 1) if line["user_id"] == f"u{user}")
        fields = found(inspect(folder, "--example", number, "--json"))["fields"]
        assert fields["user.id"] == f"u{user}"
        assert fields["user.age"].startswith("none (" if user == 3 else "24 (")


def test_an_example_may_have_no_history_and_no_label(folder: Path, tmp_path: Path) -> None:
    example = {"user_id": "u1", "user_age": 20, "user_tags": [], "ad_item": "i1"}
    file = tmp_path / "one.jsonl"
    file.write_text(json.dumps({**example, "visits_item": [], "visits_price": []}), encoding="utf-8")
    result = CliRunner().invoke(main, ["inspect", str(folder / "m"), str(file), "--example", "1"])
    assert result.exit_code == 0, result.output
    assert "(nothing to look at)" in result.output
    assert "label" not in result.output


def test_a_spec_is_no_trained_model(folder: Path) -> None:
    result = CliRunner().invoke(main, ["inspect", str(folder / "looked.arec"), str(folder / "data.jsonl")])
    assert result.exit_code == 2
    assert f"`specc train {folder / 'looked.arec'} DATA` makes one" in result.output


def test_groups_are_those_of_the_spec_and_one_shuffle_has_no_spread(folder: Path) -> None:
    result = inspect(folder, "--importance", "--metric", "gauc", "--repeats", 1, "--json")
    data = found(result)
    assert data["fields"][0]["field"] == "user.id"
    assert {of["spread"] for of in data["fields"]} == {None}


@pytest.mark.parametrize(
    ("options", "data", "said", "code"),
    [
        ([], True, "say one of --example", 2),
        (["--example", 1, "--importance"], True, "say one of --example", 2),
        (["--example", 1], False, "examples are needed", 2),
        (["--nearest", "items", "i3"], True, "reads no data", 2),
        (["--example", 401], True, "there are 400 rows", 1),
        (["--nearest", "items", "zz"], False, "has no key 'zz'", 1),
        (["--nearest", "itms", "i3"], False, "did you mean `items`?", 1),
        (["--importance", "--metric", "aucc"], True, "there is no metric 'aucc'", 1),
        (["--importance", "--metric", "ratio"], True, "there is no metric 'ratio'", 1),
        (["--importance", "--metric", "auc@3"], True, "there is no metric 'auc@3'", 1),
        (["--importance", "--metric", "ndcg"], True, "it is written as ndcg@10", 1),
        (["--importance", "--metric", "ndcg@x"], True, "it is written as ndcg@10", 1),
        (["--importance", "--metric", "ndcg@0"], True, "it is written as ndcg@10", 1),
        (["--importance", "--metric", "ndcg@9999999"], True, "from 1 to 1,000", 1),
        (["--importance", "--metric", "rmse"], True, "choose another, such as logloss", 1),
        (["--calibration", "ad_itm"], True, "did you mean `ad_item`?", 1),
        (["--calibration", "visits_item"], True, "it has lists", 1),
    ],
)
def test_what_cannot_be_looked_at_is_told(
    folder: Path, options: list[object], data: bool, said: str, code: int
) -> None:
    result = inspect(folder, *options, data=data)
    assert result.exit_code == code, result.output
    assert said in result.output
    assert "Traceback" not in result.output
