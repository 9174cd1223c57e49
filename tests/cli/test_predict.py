"""`specc predict` on the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.feather as pf
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from specc.cli import main

SPEC = """model shop
table items = vocab(50, 4)
space user from request { id: vocab(50, 4), age: number(none, default = 30) }
space ad from candidate { item: items, price: number(standard) }
space history[t <= 5] from request { item: items }
space noise[like t] from request { item: items }
joined = concat(user, ad, mean(history, over t))
predict click: binary = joined |> linear(1)
predict stars: real   = joined |> linear(1)
predict kind: class(3) = joined |> linear(3)
loss apart = mean(mse(history.item, noise.item), over t)
train { epochs = 1, batch = 64, group = user.id }
"""


def run(*arguments: Any, **options: Any) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments], **options)


def rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    random = np.random.default_rng(seed)
    found = []
    for number in range(count):
        history = [f"i{i}" for i in random.integers(0, 20, random.integers(0, 7))]
        found.append(
            {
                "user_id": f"u{random.integers(12)}",
                "user_age": float(random.integers(18, 80)) if number % 3 else None,
                "ad_item": f"i{random.integers(20)}",
                "ad_price": round(float(random.exponential(10)), 2),
                "history_item": history,
                "noise_item": history[::-1],
                "click": float(random.random() < 0.3),
                "stars": float(random.integers(1, 6)),
                "kind": str(random.choice(["cup", "pan", "pot"])),
                "row": number,
            }
        )
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spec, examples, and a model trained on them."""
    folder = tmp_path_factory.mktemp("predict")
    (folder / "shop.arec").write_text(SPEC)
    pq.write_table(pa.Table.from_pylist(rows(300)), folder / "train.parquet")
    done = run("train", folder / "shop.arec", folder / "train.parquet", "-o", folder / "model")
    assert done.exit_code == 0, done.output
    asked = [{k: v for k, v in row.items() if k not in ("noise_item", "click", "stars", "kind")}
             for row in rows(40, seed=1)]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(asked), folder / "asked.parquet", row_group_size=7)
    return folder


def lines_of(done: Result) -> list[dict[str, Any]]:
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def alike(found: Any, wanted: Any) -> bool:
    """Whether they are equal but for what sums in another order differ by."""
    match wanted:
        case dict():
            return found.keys() == wanted.keys() and all(alike(found[k], wanted[k]) for k in wanted)
        case list():
            return len(found) == len(wanted) and all(map(alike, found, wanted))
        case float():
            return bool(found == pytest.approx(wanted, rel=1e-6, abs=1e-6))
        case _:
            return bool(found == wanted)


def test_one_row_one_prediction_in_order(folder: Path) -> None:
    """Without labels, and without what only a loss reads."""
    found = lines_of(run("predict", folder / "model", folder / "asked.parquet", "--keep", "row"))
    assert [line["row"] for line in found] == list(range(40))
    assert set(found[0]) == {"row", "click", "stars", "kind", "kind_class"}
    for line in found:
        assert 0 < line["click"] < 1
        assert len(line["kind"]) == 3
        assert sum(line["kind"]) == pytest.approx(1)
        assert line["kind_class"] == ["cup", "pan", "pot"][int(np.argmax(line["kind"]))]


def test_they_are_those_of_a_request_with_one_candidate(folder: Path) -> None:
    found = lines_of(run("predict", folder / "model", folder / "asked.parquet"))
    asked = pq.read_table(folder / "asked.parquet").to_pylist()
    (folder / "one.jsonl").write_text(
        "".join(
            json.dumps({**r, "ad_item": [r["ad_item"]], "ad_price": [r["ad_price"]]}) + "\n" for r in asked
        )
    )
    scored = lines_of(run("score", folder / "model", folder / "one.jsonl"))
    assert [line["click"] for line in found] == pytest.approx([line["click"][0] for line in scored], abs=1e-6)
    assert [line["kind"] for line in found] == [pytest.approx(line["kind"][0], abs=1e-6) for line in scored]


def test_ids_go_along(folder: Path) -> None:
    asked = pq.read_table(folder / "asked.parquet").to_pylist()
    found = lines_of(run("predict", folder / "model", folder / "asked.parquet"))
    assert [(r["user_id"], r["ad_item"]) for r in found] == [(r["user_id"], r["ad_item"]) for r in asked]
    found = lines_of(run("predict", folder / "model", folder / "asked.parquet", "--keep", "*"))
    assert [{k: line[k] for k in asked[0]} for line in found] == asked
    labelled = run("predict", folder / "model", folder / "train.parquet", "--keep", "click=label")
    assert [line["label"] for line in lines_of(labelled)] == [row["click"] for row in rows(300)]


@pytest.mark.parametrize("name", ["out.parquet", "out.arrow", "out.csv", "out.jsonl"])
def test_every_kind_of_file_has_the_same(folder: Path, tmp_path: Path, name: str) -> None:
    wanted = lines_of(run("predict", folder / "model", folder / "asked.parquet"))
    done = run("predict", folder / "model", folder / "asked.parquet", "-o", tmp_path / name, "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["rows"], said["output"]) == (40, str(tmp_path / name))
    path = tmp_path / name
    match path.suffix:
        case ".parquet":
            found = pq.read_table(path).to_pylist()
        case ".arrow":
            found = pf.read_table(path).to_pylist()
        case ".csv":
            found = [{**row, "kind": json.loads(row["kind"])} for row in pc.read_csv(path).to_pylist()]
        case _:
            found = [json.loads(line) for line in path.read_text().splitlines()]
    assert alike(found, wanted)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_what_is_read_is_what_is_asked_in_any_format(folder: Path, tmp_path: Path) -> None:
    wanted = lines_of(run("predict", folder / "model", folder / "asked.parquet"))
    table = pq.read_table(folder / "asked.parquet")
    lines = "".join(json.dumps(row) + "\n" for row in table.to_pylist())
    (tmp_path / "asked.jsonl").write_text(lines)
    pf.write_feather(table, str(tmp_path / "asked.arrow"))
    for name in ("asked.jsonl", "asked.arrow"):
        assert alike(lines_of(run("predict", folder / "model", tmp_path / name)), wanted)
    assert alike(lines_of(run("predict", folder / "model", "-", input=lines)), wanted)
    parts = tmp_path / "parts"
    parts.mkdir()
    for at in range(0, 40, 10):
        pq.write_table(table.slice(at, 10), parts / f"part-{at:02}.parquet")
    assert alike(lines_of(run("predict", folder / "model", parts)), wanted)
    files = sorted(parts.iterdir(), reverse=True)
    found = lines_of(run("predict", folder / "model", *files, "--keep", "row"))
    assert [line["row"] for line in found] == [*range(30, 40), *range(20, 30), *range(10, 20), *range(10)]


OLD = "what stood here before"


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["{tmp}/none.parquet"], 1, "there is no such file"),
        (["{tmp}/empty"], 1, "empty"),
        (["{tmp}/cut.parquet"], 1, "cut.parquet"),
        (["{tmp}/wrong.parquet"], 1, "wrong.parquet"),
        (["{tmp}/none.csv"], 1, "there is no such file"),
        (["{tmp}/word.csv"], 1, "line 3, column `ad_price`: `cheap` is not a number"),
        (["{tmp}/word.jsonl"], 1, "line 2"),
        (["{good}", "--keep", "usr_id"], 2, "did you mean 'user_id'"),
        (["{good}", "--keep", "row=click"], 2, "a prediction is called 'click'"),
        (["{good}", "-o", "{tmp}/out.xlsx"], 2, "is not known by its name"),
        (["{good}", "-o", "{tmp}"], 2, "directory"),
        (["{good}", "--json"], 2, "-o"),
        (["{good}", "-o", "/dev/full"], 1, "no space is left"),
        (["{good}", "-o", "{tmp}/word.csv/x.parquet"], 1, "cannot be written"),
        (["{good}", "--device", "cuda:99"], 1, "cuda:99"),
    ],
)
def test_mistakes_are_answered(
    folder: Path, tmp_path: Path, options: list[str], code: int, said: str
) -> None:
    (tmp_path / "empty").mkdir()
    good = (folder / "asked.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(good[: len(good) // 2])
    (tmp_path / "wrong.parquet").write_text("user_id,ad_item\n")
    (tmp_path / "word.csv").write_text("user_id,ad_item,ad_price,history_item\nu1,i1,2,\nu1,i1,cheap,\n")
    line = '{"user_id": "u1", "ad_item": "i1", "ad_price": 2, "history_item": []}\n'
    (tmp_path / "word.jsonl").write_text(line + '{"user_id": \n')
    (tmp_path / "out.csv").write_text(OLD)
    given = [text.format(tmp=tmp_path, good=folder / "asked.parquet") for text in options]
    done = run("predict", folder / "model", *given)
    assert done.exit_code == code, (done.output, done.exception)
    assert said in done.output
    assert "Traceback" not in done.output
    if "-o" not in given and "--json" not in given:
        done = run("predict", folder / "model", *given, "-o", tmp_path / "out.csv")
        assert done.exit_code == code
        assert (tmp_path / "out.csv").read_text() == OLD


def test_all_faults_are_told_at_once(folder: Path, tmp_path: Path) -> None:
    asked = [dict(row) for row in pq.read_table(folder / "asked.parquet").to_pylist() * 300]
    asked[7]["ad_price"] = None
    asked[11_000]["ad_price"] = float("inf")
    pq.write_table(pa.Table.from_pylist(asked), tmp_path / "asked.parquet", row_group_size=1000)
    done = run("predict", folder / "model", tmp_path / "asked.parquet", "-o", tmp_path / "out.parquet")
    assert done.exit_code == 1
    assert "row 8, column `ad_price`: there is no value" in done.output
    assert "row 11,001, column `ad_price`" in done.output
    assert not (tmp_path / "out.parquet").exists()


def piped(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[2]
    paths = os.pathsep.join([str(root), str(root / "runtime")])
    specc = f"{Path(sys.executable).parent / 'specc'} predict {folder / 'model'} {folder / 'asked.parquet'}"
    return subprocess.run(
        ["bash", "-c", command.replace("PREDICT", specc)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("PREDICT > /dev/full", "stdout cannot be written: No space left"),
        ("PREDICT >&-", "stdout is closed"),
        ("(PREDICT; echo code $? >&2) | true", "its reader has gone"),
    ],
)
def test_a_stdout_that_takes_nothing(folder: Path, command: str, said: str) -> None:
    done = piped(folder, command)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert done.returncode == 1 or "code 1" in done.stderr
