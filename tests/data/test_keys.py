"""One key is one key, whatever it was read from."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import feather

from specc_runtime import Examples, encoded
from specc_runtime.data import columns_of, read_tables
from specc_runtime.encode import DataError, Encoders, Origin, load_encoders, write_encoders
from specc_runtime.encode.faults import Unfit
from specc_runtime.encode.keys import canonical
from specc_runtime.encode.vocabulary import Tally, Vocabulary, hashed
from tests.data.specs import one_field

HERE = Origin("data.parquet")
VALUES = ["0", "-1", "7", "007", "-0", "+7", "1e5", "0x0A", "7.0", "", "é", "9007199254740993",
          "9223372036854775807", "9223372036854775808", "-9223372036854775808", "18446744073709551615",
          "18446744073709551616", "1180591620717411303424", "x" * 1_000_000]  # fmt: skip


def forms(text: str) -> list[pa.Array]:
    """A key in every type that can hold it."""
    found = [pa.array([text], kind) for kind in (pa.string(), pa.large_string(), pa.string_view())]
    found.append(pa.array([text]).dictionary_encode())
    if str(int(text) if text.strip("-").isdecimal() else None) == text:
        value = int(text)
        if -(2**63) <= value < 2**63:
            found.append(pa.array([value], pa.int64()))
        if 0 <= value < 2**64:
            found += [pa.array([value], pa.uint64()), pa.array([value], pa.uint64()).dictionary_encode()]
        if abs(value) < 2**53:
            found += [pa.array([float(value)]), pa.array([float(value)]).dictionary_encode()]
        found.append(pa.array([Decimal(value)], pa.decimal128(38, 0)))
        if abs(value) < 10**30:
            found.append(pa.array([Decimal(value)], pa.decimal128(38, 2)))
    return found


@pytest.mark.parametrize("text", VALUES, ids=lambda text: text[:24])
def test_a_key_is_found_from_every_form(text: str) -> None:
    others = pa.array([other for other in VALUES if other != text])
    for learned in forms(text):
        tally = Tally()
        tally.add(canonical(others))
        tally.add(canonical(pa.concat_arrays([learned, learned])))
        vocabulary = tally.vocabulary(100)
        # Seen twice, it is the first; all others are other keys.
        assert vocabulary.keys[0].as_py() == text
        assert len(vocabulary.keys) == len(VALUES)
        for asked in forms(text):
            assert vocabulary.rows(canonical(asked)).tolist() == [1], (learned.type, asked.type)
            assert hashed(canonical(asked)) == hashed(canonical(learned))


KEYS = st.one_of(
    st.none(), st.text(max_size=5), st.integers(-3, 12).map(str), st.integers(-(2**70), 2**70).map(str),
    st.sampled_from(["007", "-0", "00", "1.0", " 1", "1 "]),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(KEYS, max_size=20), st.lists(KEYS, max_size=20))
def test_a_vocabulary_is_that_of_the_texts(train: list[str | None], asked: list[str | None]) -> None:
    """Against Python's own dictionaries."""
    tally = Tally()
    for part in (train[: len(train) // 2], train[len(train) // 2 :]):
        tally.add(canonical(pa.array(part, pa.string())))
    vocabulary = tally.vocabulary(1000)
    counts = {text: train.count(text) for text in train if text is not None}
    rows = {str(key): i + 1 for i, key in enumerate(vocabulary.keys.to_pylist())}
    assert set(rows) == set(counts)
    assert sorted(vocabulary.counts.tolist(), reverse=True) == vocabulary.counts.tolist()
    assert all(counts[text] == vocabulary.counts[row - 1] for text, row in rows.items())
    found = vocabulary.rows(canonical(pa.array(asked, pa.string())))
    assert found.tolist() == [0 if text is None else rows.get(text, 0) for text in asked]
    for text in filter(None, asked):
        alone = canonical(pa.array([text]))
        assert vocabulary.rows(alone).tolist() == [rows.get(text, 0)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-(2**63), 2**64 - 1), max_size=10), st.randoms())
def test_the_same_data_give_the_same_vocabulary(values: list[int], random: Any) -> None:
    first, second = Tally(), Tally()
    first.add(canonical(pa.array([str(v) for v in values], pa.string())))
    for value in random.sample(values, len(values)):
        second.add(canonical(pa.array([value], pa.uint64() if value >= 0 else pa.int64())))
    one, other = first.vocabulary(100), second.vocabulary(100)
    assert one.keys.equals(other.keys)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (pa.array([1.0, 7.5]), "7.5 is not an integer"),
        (pa.array([float("inf")]), "inf is not an integer"),
        (pa.array([2.0**53]), "9007199254740992.0 has more digits than a float keeps"),
        (pa.array([Decimal("7.5")]), "7.5 is not an integer"),
        (
            pa.array([0], pa.timestamp("s")),
            "the column is timestamp[s], and it should hold",
        ),
        (pa.array([b"\xff"]), "bytes that are no UTF-8"),
    ],
)
def test_what_is_no_key_is_refused(values: pa.Array, said: str) -> None:
    with pytest.raises(Unfit) as found:
        canonical(values)
    assert said in str(found.value)


def test_encoders_of_the_first_format_score_as_before_or_are_refused(tmp_path: Path) -> None:
    of = one_field("vocab(9, 4)")
    large = 2**64 - 5
    write_encoders(
        Encoders(of, {"s.x": Vocabulary(pa.array([large - 2**64, 3]), np.array([2, 1]))}), tmp_path
    )
    written = json.loads((tmp_path / "encoders.json").read_text())
    (tmp_path / "encoders.json").write_text(json.dumps({**written, "format": 1}))
    table = pa.table({"x": pa.array([large, 3, 4], pa.uint64())})
    batch = load_encoders(tmp_path, of).encode(table, HERE, labels=False)
    assert batch.column("s.x").tolist() == [1, 2, 0]
    hashes = load_encoders(tmp_path, one_field("hash(100, 4)"))
    texts = hashes.encode(pa.table({"x": ["a", "b"]}), HERE, labels=False)
    assert texts.column("s.x").tolist() == [h % 100 for h in hashed(pa.array(["a", "b"], pa.large_string()))]
    with pytest.raises(DataError, match="row 2, column `x`: `7` is an integer in a text"):
        hashes.encode(pa.table({"x": ["a", "7"]}), HERE, labels=False)


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_what_the_first_format_hashed_as_texts_is_refused_in_files(tmp_path: Path, suffix: str) -> None:
    """A reader gives a column of digits in texts as integers, which that format hashed otherwise."""
    of = one_field("hash(100, 4)")
    encoders = Encoders(of, format=1)
    path = tmp_path / f"x.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.table({"x": ["3", "7"]}), path)
    else:
        path.write_text("x\n3\n7\n" if suffix == "csv" else '{"x": "3"}\n{"x": "7"}\n')
    columns = columns_of(of, labels=False)
    for tables in (read_tables([path], columns), Examples([path], columns).tables()):
        ((table, origin),) = tables
        with pytest.raises(DataError, match="`3` is an integer in a text, which this model hashes as a text"):
            encoders.encode(table, origin, labels=False)
    assert len(encoded(Encoders(of), {"x": ["3", "7"]})) == 2  # of today's format
    with pytest.raises(DataError, match="is an integer in a text"):
        encoded(encoders, {"x": ["3", "7"]})


def test_unsigned_keys_of_the_first_format_keep_their_rows_in_files(tmp_path: Path) -> None:
    of, large = one_field("vocab(9, 4)"), 2**64 - 5
    encoders = Encoders(of, {"s.x": Vocabulary(pa.array([large - 2**64, 3]), np.array([2, 1]))}, format=1)
    pq.write_table(pa.table({"x": pa.array([large, 3, None, 4], pa.uint64())}), tmp_path / "x.parquet")
    ((table, origin),) = read_tables([tmp_path / "x.parquet"], columns_of(of, labels=False))
    assert encoders.encode(table, origin, labels=False).column("s.x").tolist() == [1, 2, 0, 0]


SEPARATED = {"a.csv": ",", "a.tsv": "\t", "a.csv.gz": ","}


def _number(text: str) -> Any:
    return int(text) if text.lstrip("-").isdecimal() and str(int(text)) == text else text


def written(folder: Path, name: str, keys: list[str]) -> Path:
    """Keys in a file of some format; where it has numbers, those that are integers are numbers."""
    path = folder / name
    if name in SEPARATED:
        mark = SEPARATED[name]
        lines = [f"x{mark}y", *(f'"{key}"{mark}1' for key in keys)]
        text = ("\n".join(lines) + "\n").encode()
        path.write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    elif name == "a.jsonl":
        path.write_text("".join(json.dumps({"x": _number(k), "y": 1}) + "\n" for k in keys), encoding="utf-8")
    else:
        values = {
            "text.parquet": lambda: pa.array(keys),
            "text.arrow": lambda: pa.array(keys),
            "int.parquet": lambda: pa.array([int(k) for k in keys], pa.int64()),
            "uint.parquet": lambda: pa.array([int(k) for k in keys], pa.uint64()),
            "float.parquet": lambda: pa.array([float(k) for k in keys]),
        }[name]()
        table = pa.table({"x": values, "y": pa.array([1.0] * len(keys))})
        if name.endswith("arrow"):
            feather.write_feather(table, str(path))
        else:
            pq.write_table(table, path)
    return path


TEXTS = (*SEPARATED, "a.jsonl", "text.parquet", "text.arrow")
CASES = {
    "all": ([v for v in VALUES if v], TEXTS),
    "signed": (["0", "-1", "7", str(2**53 + 1), str(2**63 - 1), str(-(2**63))], (*TEXTS, "int.parquet")),
    "unsigned": (["0", "7", str(2**53 + 1), str(2**63), str(2**64 - 1)], (*TEXTS, "uint.parquet")),
    "small": (["0", "7", "123456"], (*TEXTS, "int.parquet", "uint.parquet", "float.parquet")),
}


@pytest.mark.parametrize("case", CASES)
def test_a_key_trained_from_one_file_is_found_in_any_other(case: str, tmp_path: Path) -> None:
    keys, names = CASES[case]
    of = one_field("vocab(100, 4)")
    # The n-th key comes n times more, so that each has a row of its own that no order of texts decides.
    many = [key for n, key in enumerate(keys) for _ in range(n + 1)] if case != "all" else keys
    files = {name: written(tmp_path, name, many) for name in names}
    found = {}
    for learned in names:
        encoders = Encoders.learn(of, read_tables([files[learned]], columns_of(of)))
        for asked in names:
            rows = [
                encoders.encode(table, origin).column("s.x").tolist()
                for table, origin in read_tables([files[asked]], columns_of(of))
            ]
            found[learned, asked] = [row for part in rows for row in part]
    first = next(iter(found.values()))
    assert 0 not in first
    assert len(set(first)) == len(keys)
    assert all(rows == first for rows in found.values())
