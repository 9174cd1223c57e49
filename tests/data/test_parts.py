"""Which files are learned from and which tested on: by their names, or refused where that is not clear."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from specc.cli import main
from specc_runtime.data import find_files, find_parts, find_tests
from specc_runtime.encode import DataError

CASES = Path(__file__).parents[3] / "shared" / "cases" / "data"
there = pytest.mark.skipif(not CASES.is_dir(), reason="../shared/cases is absent")


def folder(tmp_path: Path, *names: str) -> Path:
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".parquet"):
            pq.write_table(pa.table({"x": [1, 2]}), path)
        else:
            path.write_text("x\n1\n")
    return tmp_path


def names(files: list[Path], base: Path) -> list[str]:
    return [str(file.relative_to(base)) for file in files]


@pytest.mark.parametrize(
    ("files", "train", "valid", "test"),
    [
        (["a.csv", "b.csv"], ["a.csv", "b.csv"], [], []),
        (["train.parquet", "test.parquet"], ["train.parquet"], [], ["test.parquet"]),
        (["train.csv.gz", "dev.csv.gz"], ["train.csv.gz"], ["dev.csv.gz"], []),
        (
            ["train/a.csv", "train/b/c.csv", "val/x.csv", "test/y.csv"],
            ["train/a.csv", "train/b/c.csv"],
            ["val/x.csv"],
            ["test/y.csv"],
        ),
        (["train-0.csv", "train-1.csv", "Test_0.csv"], ["train-0.csv", "train-1.csv"], [], ["Test_0.csv"]),
        (["value.csv", "device.csv", "testify.csv"], ["device.csv", "testify.csv", "value.csv"], [], []),
        (["train.csv", ".train.csv", "_temporary/a.csv", "_SUCCESS"], ["train.csv"], [], []),
        (["train.csv", "prepare.yaml", "requests.parquet"], ["train.csv"], [], []),
        (["log[1].csv", "a*.csv"], ["a*.csv", "log[1].csv"], [], []),
    ],
)  # fmt: skip
def test_parts_are_what_they_are_called(
    files: list[str], train: list[str], valid: list[str], test: list[str], tmp_path: Path
) -> None:
    parts = find_parts([folder(tmp_path, *files)])
    assert names(parts.train, tmp_path) == train
    assert names(parts.valid, tmp_path) == valid
    assert names(parts.test, tmp_path) == test
    said = "\n".join(parts.said)
    assert bool(valid or test or train == ["train.csv"]) == ("learned from" in said)
    assert bool(test) == ("tested on" in said)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["train/a.csv", "b.csv"], "beside train it has b.csv"),
        (["train.csv", "more/b.csv"], "beside train.csv it has more/b.csv"),
        (["a.csv", "b.jsonl"], "files of several formats: CSV, JSON lines"),
        (["train/a.csv", "train.csv"], "train, train.csv are all called train"),
        (["more/train/a.csv", "more/test/b.csv"], "it is called test, and is inside"),
        (["train/test/a.csv", "train/b.csv"], "it is called test, and is inside"),
        (["valid.csv"], "it has a part called valid, and none called train"),
        (["notes.md"], "the folder has no file of examples"),
        ([], "the folder has no file of examples"),
    ],
)
def test_what_is_not_clear_is_refused(files: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as found:
        find_parts([folder(tmp_path, *files)])
    assert said in str(found.value)


def test_files_by_their_own_names(tmp_path: Path) -> None:
    folder(tmp_path, "train.csv", "test.csv", "a.csv")
    train, test, other = (tmp_path / name for name in ("train.csv", "test.csv", "a.csv"))
    assert find_parts([train, test]).test == [test]
    # One file is what it is given as.
    assert find_parts([test]).train == [test]
    assert find_parts([other, tmp_path / "test.csv"]).train == [other, test]
    with pytest.raises(DataError, match="it is not said which part it is"):
        find_parts([train, test, other])
    with pytest.raises(DataError, match="there is no such file"):
        find_parts([tmp_path / "*.csv"])


def test_what_is_tested_on(tmp_path: Path) -> None:
    folder(tmp_path, "both/train.csv", "both/test.csv", "plain/a.csv", "train/train.csv")
    tests, said = find_tests([tmp_path / "both"])
    assert tests == [tmp_path / "both" / "test.csv"]
    assert "its part called test is taken" in said[0]
    assert find_tests([tmp_path / "plain"])[0] == find_files([tmp_path / "plain"])
    with pytest.raises(DataError, match="it has no part called test, but train"):
        find_tests([tmp_path / "train"])
    with pytest.raises(DataError, match="it has several parts"):
        find_files([tmp_path / "both"])


def record(path: Path, **changes: Any) -> None:
    files = {
        file.name: {"rows": 2, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        for file in path.glob("*.parquet")
    }
    (path / "data.json").write_text(json.dumps({"format": 1, "files": files, **changes}))


def test_a_folder_is_what_its_record_says(tmp_path: Path) -> None:
    folder(tmp_path, "train.parquet", "test.parquet")
    record(tmp_path)
    assert len(find_parts([tmp_path]).train) == 1
    record(tmp_path, complete=False)
    with pytest.raises(DataError, match="it is not complete"):
        find_parts([tmp_path])
    record(tmp_path)
    folder(tmp_path, "valid.parquet")
    with pytest.raises(DataError, match=r"valid\.parquet: data\.json does not list it"):
        find_parts([tmp_path])
    (tmp_path / "valid.parquet").unlink()
    pq.write_table(pa.table({"x": [1, 2, 3]}), tmp_path / "test.parquet")
    with pytest.raises(DataError, match=r"test\.parquet: it has 3 rows, and data\.json says 2"):
        find_parts([tmp_path])
    pq.write_table(pa.table({"x": [1, 3]}), tmp_path / "test.parquet")
    with pytest.raises(DataError, match=r"test\.parquet: it is not the file that data\.json describes"):
        find_parts([tmp_path])
    (tmp_path / "test.parquet").unlink()
    with pytest.raises(DataError, match=r"data\.json lists it, and it is not there"):
        find_parts([tmp_path])
    record(tmp_path, files={"../x.parquet": {}})
    with pytest.raises(DataError, match="which is outside"):
        find_parts([tmp_path])
    (tmp_path / "data.json").write_text("{")
    with pytest.raises(DataError, match=r"data\.json: it cannot be read"):
        find_parts([tmp_path])


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@there
def test_the_case_of_split_folders(tmp_path: Path) -> None:
    case = CASES / "split_folders"
    done = run("train", case / "s.arec", case / "data", "-o", tmp_path / "m", "--epochs", "1", "--json")
    assert done.exit_code == 0, done.output
    assert "data/test: tested on" in done.stderr
    assert "data/train: learned from" in done.stderr
    assert json.loads(done.stdout)["test"]


@there
def test_the_cases_of_absent_columns_and_leading_nulls(tmp_path: Path) -> None:
    case = CASES / "absent_column"
    done = run("train", case / "defm.arec", case / "defm.parquet", "-o", tmp_path / "m", "--epochs", "1")
    assert done.exit_code == 0, done.output
    scored = [run("score", tmp_path / "m", case / name).stdout for name in ("d.jsonl", "d2.jsonl")]
    assert scored[0] == scored[1] != ""
    case = CASES / "json_leading_null"
    done = run("train", case / "base.arec", case / "tr.parquet", "-o", tmp_path / "n", "--epochs", "1")
    assert done.exit_code == 0, done.output
    lines = [run("score", tmp_path / "n", case / f"{name}.jsonl").stdout.splitlines()
             for name in ("shift", "shift_ok")]  # fmt: skip
    assert len(lines[0]) == 600
    assert lines[0][1:] == lines[1][1:]


LABELLED = """user_id;item;price;click
u1;007;1.5;1
u2;7;NA;0
u1;x;0.25;1
"""
SPEC = """model m
space user from request { id: vocab(9, 4) }
space ad from candidate { item: vocab(9, 4), price: number(standard, default = 0) }
predict click: binary = concat(user, ad) |> linear(1)
train { batch = 2, epochs = 1 }
"""


def test_a_text_file_trains_and_evaluates(tmp_path: Path) -> None:
    (tmp_path / "m.arec").write_text(SPEC)
    (tmp_path / "log.csv").write_text(LABELLED)
    spec, log, out = tmp_path / "m.arec", tmp_path / "log.csv", tmp_path / "out"
    done = run("train", spec, log, "-o", out)
    assert done.exit_code == 1
    assert "log.csv, line 3, column `price`: `NA` is not a number" in done.output
    assert "--null 'NA'" in done.output
    done = run("train", spec, log, "-o", out, "--null", "NA")
    assert done.exit_code == 0, done.output
    done = run("evaluate", out, log, "--null", "NA", "--sep", ";")
    assert done.exit_code == 0, done.output
    bare = tmp_path / "bare.csv"
    bare.write_text(LABELLED.partition("\n")[2])
    names_of_columns = ("--columns", "user_id,item,price,click")
    done = run("train", spec, bare, "-o", tmp_path / "bare", "--null", "NA", *names_of_columns)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--no-header"], "--no-header needs --columns"),
        (["--sep", ""], "cannot separate cells"),
        (["--columns", "a,a"], "a is there twice"),
        (["--columns", "a=1,b"], "'b' is not NAME=COLUMN"),
        (["--no-header", "--columns", "a=x"], "without a header columns go by place"),
    ],
)
def test_options_that_cannot_be(options: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "m.arec").write_text(SPEC)
    (tmp_path / "log.csv").write_text(LABELLED)
    done = run("train", tmp_path / "m.arec", tmp_path / "log.csv", *options)
    assert done.exit_code == 2
    assert said in done.output
