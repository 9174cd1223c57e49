"""What `specc data` calls fine, `specc train` takes, and what it calls faulty is refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.cli.test_data import SPEC, Rows, rows
from tests.cli.test_predict import run

# The same, with lists that may be texts.
SPLIT = SPEC.replace(
    "item: items, gap: bucket(log2, 8, 4)", 'item: items(split = "|"), gap: bucket(log2, 8, 4, split = "|")'
)
METRICS = ["auc", "gauc", "accuracy"]

CELLS: dict[str, Any] = {
    "user_id": st.sampled_from(["u1", "", None, "é"]),
    "user_age": st.sampled_from([0.0, -1.0, None, float("nan"), float("inf"), 1e300, "old"]),
    "user_shelf": st.sampled_from([0, 4, 5, -1, None]),
    "ad_price": st.sampled_from([0.0, None, -3.0, 1e40]),
    "history_item": st.sampled_from([None, [], ["i1"], ["i1", None], ["i1"] * 8]),
    "history_gap": st.sampled_from([None, [], [1.0], [1.0, None], [1.0] * 8]),
    "click": st.sampled_from([0.0, 1.0, 0.5, 1.5, -1.0, None, float("nan")]),
    "kind": st.sampled_from([0, 2, 3, None, "cup"]),
}
INJECTED = st.lists(
    st.sampled_from(sorted(CELLS)).flatmap(
        lambda name: st.tuples(
            st.sampled_from(["train", "valid"]), st.integers(0, 19), st.just(name), CELLS[name]
        )
    ),
    max_size=3,
)
DROPPED = st.sets(st.tuples(st.sampled_from(["train", "valid"]), st.sampled_from(sorted(CELLS))), max_size=1)


def as_parquet(part: Rows, path: Path) -> None:
    columns = {
        name: [row.get(name) for row in part] for name in dict.fromkeys(n for row in part for n in row)
    }
    try:
        table = pa.table(columns)
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # of several types: texts
        texts = {n for n, values in columns.items() if not any(isinstance(v, list) for v in values)}
        table = pa.table({n: [*map(_text, v)] if n in texts else v for n, v in columns.items()})
    pq.write_table(table, path.with_suffix(".parquet"))


def as_json(part: Rows, path: Path) -> None:
    path.with_suffix(".jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))


def as_csv(part: Rows, path: Path) -> None:
    names = list(dict.fromkeys(name for row in part for name in row))
    with path.with_suffix(".csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(names)
        out.writerows([_text(row.get(name)) for name in names] for row in part)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "|".join(map(_text, value))
    return "" if value is None else str(value)


@pytest.mark.parametrize("write", [as_parquet, as_json, as_csv])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    injected=INJECTED,
    dropped=DROPPED,
    names=st.sampled_from([None, ["cup", "pan", "lid"], ["cup", "pan", "cup"]]),
    held_out=st.sampled_from([None, "mixed", 0.0, 1.0, None]),
    metric=st.sampled_from(METRICS),
)
@example(injected=[], dropped=set(), names=None, held_out=1.0, metric="auc")
@example(injected=[], dropped=set(), names=None, held_out="mixed", metric="gauc")
@example(
    injected=[("train", 3, "kind", "mug")],
    dropped=set(),
    names=["cup", "pan", "lid"],
    held_out=None,
    metric="auc",
)
def test_training_agrees(
    write: Callable[[Rows, Path], None],
    injected: list[tuple[str, int, str, Any]],
    dropped: set[tuple[str, str]],
    names: list[str] | None,
    held_out: Any,
    metric: str,
) -> None:
    """On every mixture of faults, in every format. held_out: the labels of validation data."""
    parts: dict[str, Rows] = {"train": rows(20), "valid": rows(20, seed=1)}
    for row in (*parts["train"], *parts["valid"]):
        row["kind"] = row["kind"] if names is None else names[row["kind"]]
    if held_out not in (None, "mixed"):
        for row in parts["valid"]:
            row["click"] = held_out
    for name, place, column, value in injected:
        parts[name][place][column] = value
    for name, column in dropped:
        for row in parts[name]:
            del row[column]
    with TemporaryDirectory() as folder:
        inside = Path(folder)
        (inside / "data").mkdir()
        spec = inside / "shop.arec"
        spec.write_text(SPLIT.replace("epochs = 1", f"epochs = 1, metric = {metric}"))
        for name in ("train", "valid") if held_out is not None else ("train",):
            write(parts[name], inside / "data" / name)
        told = run("data", spec, inside / "data")
        done = run("train", spec, inside / "data", "-o", inside / "model")
    assert told.exit_code == done.exit_code, (told.output, done.output)
