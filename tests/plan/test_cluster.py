"""Tables that are divided between devices: every byte is held once, and sent as the formulas say."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from specc.plan.cluster import cluster_of
from specc.plan.sizes import SizeError
from tests.plan.asked import run

SPEC = """model small
table items = vocab(1_000_000, 16)
table kinds = vocab(40, 8)
space user from request { id: vocab(500_000, 16), age: number(standard) }
space ad from candidate { item: items, kind: kinds }
space history[t <= 100] from request { item: items }
joined = concat(user, ad, sum(history, over t))
predict click: binary = joined |> linear(80) |> relu |> linear(1)
train { optimizer = adagrad(lr = 0.001), batch = 64, epochs = 1 }
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "small.arec"
    path.write_text(SPEC)
    return path


@pytest.mark.parametrize("number", [1, 2, 8, 200])
def test_every_byte_is_held_once(spec: Path, number: int) -> None:
    plan = json.loads(run(spec, "--devices", f"{number}x80GB", "--json").output)
    assert plan["fits"]
    dense = 4 * (57 * 80 + 80 + 80 + 1)
    tables = 4 * (16 * 1_500_000 + 8 * 40)
    assert sum(device["tables"] for device in plan["devices"]) == pytest.approx(tables)
    assert sum(d["optimizer"] for d in plan["devices"]) == pytest.approx(tables + number * dense)
    assert all(device["dense"] == 2 * dense for device in plan["devices"])
    mean = sum(wire["total"] for wire in plan["wire"]) / number
    assert max(wire["total"] for wire in plan["wire"]) <= 1.2 * mean


def test_what_is_sent_is_what_the_formulas_say(spec: Path) -> None:
    plan = json.loads(run(spec, "--devices", "4x80GB", "--batch", "128", "--wire", "10GB/s", "--json").output)
    items = next(table for table in plan["tables"] if table["table"] == "items")
    assert items["held"] == "by rows"
    assert items["rows"] == pytest.approx(101 * 128, rel=0.01)
    rows = {table["table"]: table for table in plan["tables"]}
    divided = [t for t in rows.values() if t["device"] is None]
    share = 3 / 4
    least = min(plan["wire"], key=lambda wire: wire["total"])
    whole = [t for t in rows.values() if t["device"] is not None]
    ids = sum(8 * t["rows"] * share for t in divided) + sum(8 * t["rows"] for t in whole)
    assert least["ids"] == pytest.approx(ids)
    assert least["rows"] == least["gradients"]
    assert plan["seconds"]["wire"] == pytest.approx(max(w["total"] for w in plan["wire"]) / 10e9)
    step = plan["seconds"]["step"]
    assert plan["examples_a_second"] == pytest.approx(4 * 128 / step)
    assert json.loads(run(spec, "--devices", "1x80GB", "--json").output)["wire"][0]["total"] == 0


def test_what_does_not_fit_says_how_many_would(spec: Path) -> None:
    given = (spec, "--rows", "items=10_000_000_000")
    result = run(*given, "--devices", "8x80GB")
    assert result.exit_code == 1
    assert "does not fit: the fullest device needs 160 GB, and has 76 GB" in result.output
    assert "about 17 devices of this size would hold it" in result.output
    assert run(*given, "--devices", "17x80GB").exit_code == 0
    assert run(*given, "--devices", "16x80GB").exit_code == 1


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--devices", "0x80GB"), "has no device"),
        (("--devices", "8x80"), "is not a size"),
        (("--devices", "8x80GB", "--keep"), "divides tables between equal devices"),
        (("--devices", "8x80GB", "--wire", "fast"), "is not a size"),
        (("--devices", "cuda:0=80GB", "--wire", "50GB"), "--wire is of a cluster"),
        (("--engine", "torchrec"), "--engine is of a cluster"),
    ],
)
def test_what_makes_no_sense_is_refused(spec: Path, options: tuple[str, ...], error: str) -> None:
    result = run(spec, *options)
    assert result.exit_code == 2
    assert error in " ".join(result.output.replace("│", " ").split())


def test_tables_that_are_not_on_sharded_are_copied(spec: Path) -> None:
    spec.write_text(SPEC + "place items on sharded\n")
    asked = (spec, "--devices", "4x80GB", "--rows", "items=100_000_000")
    plan = json.loads(run(*asked, "--json").output)
    held = {table["table"]: table["held"] for table in plan["tables"]}
    assert held == {"items": "by rows", "user.id": "copied", "kinds": "copied"}
    copied = 4 * (16 * 500_000 + 8 * 40)
    assert {device["tables"] for device in plan["devices"]} == {4 * 16 * 100_000_000 / 4 + copied}
    rows = {table["table"]: table["rows"] for table in plan["tables"]}
    ids = 8 * (rows["items"] * 3 / 4 + 3 * rows["user.id"] + 3 * rows["kinds"])
    assert all(wire["ids"] == pytest.approx(ids) for wire in plan["wire"])
    assert "a copy on each" in run(*asked).output
    assert "every device has a copy of user.id, kinds" in run(spec, "--devices", "4x60MB").output
    alone = run(spec)
    assert "whole here, and sharded where several processes train: items" in alone.output
    assert json.loads(run(spec, "--json").output)["sharded"] == ["items"]
    proposed = run(spec, "--devices", "cuda:0=50MB,cpu=256GB", "--lines").output
    assert "place items, user on host" in proposed
    assert "sharded" not in proposed


@pytest.mark.skipif(find_spec("torchrec") is None, reason="torchrec is not installed")
def test_torchrec_s_planner_divides_what_fits_no_device(spec: Path) -> None:
    given = (spec, "--rows", "items=2_000_000_000", "--devices", "8x80GB", "--engine", "torchrec")
    plan = json.loads(run(*given, "--json").output)["torchrec"]
    items = next(row for row in plan if row["table"] == "items")
    assert items["sharding"] == "row_wise"
    assert items["devices"] == list(range(8))
    assert "0 to 7" in run(*given).output


def test_without_torchrec_that_is_said(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchrec", None)
    result = run(spec, "--devices", "8x80GB", "--engine", "torchrec")
    assert result.exit_code == 1
    assert "takes torchrec, which cannot be loaded" in result.output
    assert "pip install" in result.output


def test_clusters_are_numbers_of_devices() -> None:
    assert cluster_of("8x80GB") == (8, 80 * 10**9)
    assert cluster_of("2 x 24GiB") == (2, 24 * 2**30)
    assert cluster_of("cuda:0=80GB") is None
    with pytest.raises(SizeError, match="no device"):
        cluster_of("8x0GB")
