"""JSON lines: objects as they were written, and columns that only some rows have."""

from __future__ import annotations

import io
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from specc_runtime import Examples, labelled
from specc_runtime.data import Column, Stream, columns_of, read_tables
from specc_runtime.data.chunks import Quoting, chunks, chunks_of
from specc_runtime.data.json_lines import objects_of
from specc_runtime.encode import DataError, Encoders
from tests.data.specs import manifest

OBJECTS = st.dictionaries(
    st.sampled_from(["a", "b", 'x": ', "é", ""]),
    st.one_of(
        st.none(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=5), st.just('", "a": "'), st.lists(st.integers(), max_size=2), st.just({"a": 1}),
    ),
    max_size=4,
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(OBJECTS, max_size=4), st.sampled_from([", ", " ,\t"]), st.sampled_from([": ", " :", "\t: "]))
def test_objects_are_those_that_were_written(objects: list[dict[str, Any]], comma: str, colon: str) -> None:
    text = "\n".join(json.dumps(row, separators=(comma, colon)) for row in objects) + "\n"
    parts = chunks_of(Path("x"), io.BytesIO(text.encode()).read, Quoting(None))
    assert [row for part in parts for row in objects_of(part)] == objects


@pytest.mark.parametrize(
    "line", ['{"a": 1, "a": 2}', '{"a" :1, "a": 2}', '{"a": 1, "b": {"c": 2, "c": 2}}', '{"a":1,"\\u0061":2}']
)
def test_a_name_twice_in_one_object(line: str, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"b": "\\": "}\n' + line + '\n{"a": 1}\n')
    with pytest.raises(DataError, match=r"line 2: column `.` is there twice"):
        list(read_tables([tmp_path / "x.jsonl"], {"a": Column("key")}))


def test_a_key_that_a_whole_part_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever in a file of JSON lines a column begins and ends, rows without it have null."""
    monkeypatch.setattr("specc_runtime.data.files.chunks", partial(chunks, size=100))
    spec = """model m
    space user from request { id: vocab(10, 4), city: vocab(10, 4), age: number(none, default = 1) }
    predict click: binary = user |> linear(1)
    predict stars: real = user |> linear(1)
    """
    of = manifest(spec)
    rows = [{"user_id": f"u{i}", "click": i % 2} for i in range(60)]
    for i in (20, 21, 40):
        rows[i] |= {"city": f"c{i}", "user_age": i, "stars": 2}
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    examples = Examples([tmp_path / "x.jsonl"], columns_of(of))
    assert len(examples.units) > 5
    encoders = Encoders.learn(of, examples.tables())
    assert set(encoders.vocabularies["user.city"].keys.to_pylist()) == {"c20", "c21", "c40"}
    batches = list(Stream(examples, encoders, 60, shuffle=False))
    assert batches[0].column("user.age").flatten().tolist()[19:22] == [1, 20, 21]
    assert labelled(batches[0].labels["stars"]).nonzero().flatten().tolist() == [20, 21, 40]
