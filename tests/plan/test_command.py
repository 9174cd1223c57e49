"""`specc plan`, from the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from specc.devices import from_yaml
from specc.driver import load
from tests.plan.asked import run

SPEC = """model small
param n_items = 1_000_000
table items = vocab(n_items, 16)
space user from request { id: vocab(500_000, 16), age: number(standard) }
space ad from candidate { item: items }
space history[t <= 100] from request { item: items }
joined = concat(user, ad, sum(history, over t))
predict click: binary = joined |> linear(80) |> relu |> linear(1)
device host = "cpu"
device dense = "auto"
place items on host
place rest on dense
train { optimizer = adam(lr = 0.001), batch = 64, epochs = 1 }
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "small.arec"
    path.write_text(SPEC)
    return path


def test_a_table_for_people(spec: Path) -> None:
    result = run(spec, "--devices", "cuda:0=250MB,cpu=64GB", "--batch", "128")
    assert result.exit_code == 0
    for part in (
        "small: 128 examples a step, every sequence at its bound",
        "training",
        "scoring",
        "cuda_0 (cuda:0)",
        "host (cpu)",
        "transfers",
        "history.item",
        "[t, 16]",
        "800 B",
        'device cuda_0 = "cuda:0"',
        "place rest on cuda_0",
        "it fits",
    ):
        assert part in result.output


def test_json(spec: Path) -> None:
    result = run(spec, "--devices", "cuda:0=250MB,cpu=64GB", "--batch", "128", "--json")
    plan = json.loads(result.output)
    assert plan["fits"]
    assert plan["batch"] == 128
    assert plan["devices"]["cuda_0"] == {"target": "cuda:0", "capacity": 250_000_000}
    assert plan["places"] == {"user": "host", "items": "cuda_0", "rest": "cuda_0"}
    assert set(plan["loads"]) == {"training", "scoring"}
    assert plan["loads"]["scoring"]["cuda_0"]["optimizer"] == 0
    assert {m["from"] for m in plan["moves"]} == {"batch", "host"}
    assert plan["loads"]["training"]["cuda_0"]["allocator_adds"] is None


def test_what_malloc_adds_stands_beside_the_prediction(spec: Path) -> None:
    given = ("--device", "dense=cpu", "--batch", "128")
    result = run(spec, *given)
    assert "host: on a CPU, malloc adds" in result.output
    assert "30 to 100 % of gradients and activations" in result.output.replace("\n", " ")
    load_ = json.loads(run(spec, *given, "--json").output)["loads"]["training"]["host"]
    moving = load_["gradients"] + load_["activations"]
    assert load_["allocator_adds"] == [int(0.3 * moving), int(1.0 * moving)]


def test_as_the_spec_has_it(spec: Path) -> None:
    plan = json.loads(run(spec, "--json").output)
    assert plan["places"] == {"items": "host", "rest": "dense"}
    assert plan["batch"] == 64
    assert plan["devices"]["host"]["capacity"] is None
    kept = run(spec, "--keep", "--devices", "cpu=10MB", "--json")
    assert kept.exit_code == 1
    assert json.loads(kept.output)["problems"][0]["name"] == "host"


def test_it_is_written_as_it_is_read(spec: Path, tmp_path: Path) -> None:
    file = tmp_path / "place.yaml"
    result = run(spec, "--devices", "cuda:0=250MB,cpu=64GB", "--write", file)
    assert f"--placement {file}" in result.output.replace("\n", "")
    placement = from_yaml(file)
    assert placement.places["rest"] == "cuda_0"
    again = run(spec, "--placement", file, "--json")
    assert json.loads(again.output)["places"] == dict(placement.places)


def test_lines_are_a_spec(spec: Path) -> None:
    result = run(spec, "--devices", "cuda:0=250MB,cpu=64GB", "--lines")
    spec.write_text(SPEC[: SPEC.index("device host")] + result.output)
    graph, report = load(spec)
    assert graph is not None, list(report)
    assert graph.places["rest"] == "cuda_0"


def test_what_does_not_fit_ends_with_a_fault(spec: Path) -> None:
    result = run(spec, "--set", "n_items=100_000_000", "--devices", "cuda:0=8GB,cuda:1=8GB,cuda:2=8GB")
    assert result.exit_code == 1
    words = " ".join(result.output.split())
    assert (
        "does not fit: items needs 19.2 GB (6.4 GB of rows, 12.8 GB of adam's state); no device has it"
        in words
    )
    assert "in 3 shards by row it would fit these devices" in words


def test_a_table_of_so_many_rows(spec: Path) -> None:
    by_rows = run(spec, "--rows", "items=3_000_000", "--rows", "user.id=7", "--json").output
    plan = json.loads(by_rows)
    assert plan["loads"]["scoring"]["host"]["tables"] == 3_000_000 * 16 * 4
    assert plan["loads"]["scoring"]["dense"]["tables"] == 7 * 16 * 4
    unknown = run(spec, "--rows", "itms=3")
    assert unknown.exit_code == 2
    assert "did you mean items?" in unknown.output


def test_places_that_are_said_are_kept(spec: Path) -> None:
    result = run(spec, "--devices", "cuda:0=80GB,cpu=64GB", "--place", "items=cpu", "--json")
    assert json.loads(result.output)["places"] == {"items": "host", "rest": "cuda_0"}
    wrong = run(spec, "--devices", "cuda:0=80GB", "--place", "items=cpu")
    assert wrong.exit_code == 2
    assert "items is to be on cpu, which --devices does not have" in wrong.output


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--devices", "cuda:0=80GX"], "80GB, 24GiB"),
        (["--devices", "cuda:0"], "has no size"),
        (["--batch", "0"], "--batch"),
        (["--rows", "items=many"], "items=100_000_000"),
        (["--rows", "items=0"], "items=100_000_000"),
        (["--lengths", "nowhere.parquet"], "nowhere.parquet"),
        (["--device", "gpu:1"], "no device"),
    ],
)
def test_wrong_usage(spec: Path, arguments: list[str], part: str) -> None:
    result = run(spec, *arguments)
    assert result.exit_code == 2
    assert part in result.output


def test_faults_of_a_spec(tmp_path: Path) -> None:
    assert run(tmp_path / "nowhere.arec").exit_code == 1
    path = tmp_path / "faulty.arec"
    path.write_text(SPEC.replace("sum(history", "sum(hstory"))
    result = run(path)
    assert result.exit_code == 1
    assert "history" in result.output


def test_lengths_of_data(spec: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = tmp_path / "examples.parquet"
    pq.write_table(
        pa.table({"history_item": [["a"] * 10, [], None, ["b"] * 200], "user_id": ["u"] * 4}), data
    )
    short = json.loads(run(spec, "--lengths", data, "--json").output)
    assert short["lengths"] == "data"
    full = json.loads(run(spec, "--json").output)
    # Mean length 27.5 of at most 100.
    assert (
        short["loads"]["scoring"]["host"]["activations"]
        < 0.5 * full["loads"]["scoring"]["host"]["activations"]
    )
    pq.write_table(pa.table({"other": [1]}), data)
    result = run(spec, "--lengths", data)
    assert result.exit_code == 1
    assert "no column of space `history`" in result.output


def test_no_tensor_library_is_loaded(spec: Path) -> None:
    code = (
        "import sys; from specc.cli import main\n"
        f"try: main(['plan', {str(spec)!r}, '--devices', 'cuda:0=80GB,cpu=64GB', '--json'])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
