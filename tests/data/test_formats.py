"""The same examples from every format are the same batches; what is wrong with a file is told where it is."""

from __future__ import annotations

import bz2
import contextlib
import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import feather, ipc

from specc_runtime import Bag, Batch, Examples, encoded
from specc_runtime.data import Column, Dialect, Stream, Typing, columns_of, names_of, read_tables
from specc_runtime.encode import DataError, Encoders
from tests.data.specs import manifest

SPEC = """model m
table kinds = vocab(60, 4)
table genres = vocab(40, 4)
space user from request { id: vocab(3000, 4), age: bucket([18, 30], 4, default = 0), zip: hash(1000, 4) }
space ad from candidate { item: ids(500, 4), price: number(standard), genres: bag(genres, sum, split = "|") }
space past[t <= 5] from request { kind: kinds(split = "|"), gap: number(none, split = "|") }
predict click: binary = concat(user, ad, sum(past, over t)) |> linear(1)
predict stars: real = concat(user, ad) |> linear(1)
"""
ROWS = 2000
KEYS = ["7", "007", "1e5", "-3", "7.0", "x y", 'a "quoted", key', "ü", "two\nlines", "18446744073709551615"]


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """Examples as JSON has them: keys of digits are numbers where JSON has such."""
    random = np.random.default_rng(0)

    def key(text: str) -> int | str:
        return int(text) if random.random() < 0.5 and str(_int(text)) == text else text

    found: list[dict[str, Any]] = []
    for i in range(ROWS):
        steps = int(random.integers(0, 8))
        found.append(
            {
                "id": key(f"{random.integers(0, 99)}") if i % 3 else key(KEYS[i % len(KEYS)]),
                "age": None if i % 11 == 0 else int(random.integers(0, 60)),
                "zip": key(f"{random.integers(0, 99999):05}"),
                "item": int(random.integers(0, 500)),
                "price": round(float(random.normal()), 3),
                "genres": [key(str(g)) for g in random.integers(0, 30, random.integers(0, 4))] or None,
                "kind": [key(str(k)) for k in random.integers(0, 50, steps)] or None,
                "gap": [round(float(g), 2) for g in random.random(steps)] or None,
                "click": bool(random.random() < 0.5),
                "stars": None if i % 7 == 0 else float(random.integers(1, 11)) / 2,
            }
        )
    return found


def _int(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def cell(value: Any) -> str:
    if isinstance(value, list):
        return "|".join(map(cell, value))
    return "" if value is None else str(value)


def delimited(rows: list[dict[str, Any]], separator: str = ",", header: bool = True, **options: Any) -> str:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, **options)
    if header:
        writer.writerow(rows[0])
    writer.writerows([cell(v) for v in row.values()] for row in rows)
    return text.getvalue()


def plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without what a file of cells without quotes cannot hold."""
    return [{**row, "id": "k" if isinstance(row["id"], str) and set(row["id"]) & set('\n",') else row["id"]}
            for row in rows]  # fmt: skip


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps({k: v for k, v in row.items() if v is not None}) + "\n" for row in rows)


def arrow(rows: list[dict[str, Any]]) -> pa.Table:
    """Keys as texts, which a column of one type has to have."""

    def text(value: Any) -> Any:
        return [text(v) for v in value] if isinstance(value, list) else None if value is None else str(value)

    texts = ("id", "zip", "genres", "kind")
    return pa.Table.from_pylist([{k: text(v) if k in texts else v for k, v in row.items()} for row in rows])


def texted(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([{k: cell(v) or None for k, v in row.items()} for row in rows])


WRITERS: dict[str, Callable[[Path, list[dict[str, Any]]], Any]] = {
    "a.csv": lambda p, r: p.write_text(delimited(r)),
    "bom.csv": lambda p, r: p.write_bytes(b"\xef\xbb\xbf" + delimited(r).encode()),
    "quoted.csv": lambda p, r: p.write_text(delimited(r, quoting=csv.QUOTE_ALL, lineterminator="\n")),
    "semicolons.csv": lambda p, r: p.write_text(delimited(r, ";")),
    "a.tsv": lambda p, r: p.write_text(delimited(r, "\t")),
    "a.csv.gz": lambda p, r: p.write_bytes(gzip.compress(delimited(r).encode())),
    "parts.csv.gz": lambda p, r: p.write_bytes(
        b"".join(gzip.compress(part.encode()) for part in delimited(r).splitlines(True))
    ),
    "a.csv.bz2": lambda p, r: p.write_bytes(bz2.compress(delimited(r).encode())),
    "a.csv.zst": lambda p, r: _zstd(p, delimited(r)),
    "a.jsonl": lambda p, r: p.write_text(lines(r)),
    "a.jsonl.gz": lambda p, r: p.write_bytes(gzip.compress(lines(r).encode())),
    "log[1]*?.csv": lambda p, r: p.write_text(delimited(r)),
    "a.parquet": lambda p, r: pq.write_table(arrow(r), p, row_group_size=300),
    "texts.parquet": lambda p, r: pq.write_table(texted(r), p, row_group_size=300),
    "dictionary.parquet": lambda p, r: pq.write_table(
        texted(r).set_column(0, "id", texted(r).column("id").dictionary_encode()), p
    ),
    "a.feather": lambda p, r: feather.write_feather(arrow(r), str(p), chunksize=300),
    "a.arrow": lambda p, r: _ipc(p, arrow(r)),
    "without_a_suffix": lambda p, r: pq.write_table(arrow(r), p),
}  # fmt: skip


def _zstd(path: Path, text: str) -> None:
    with pa.output_stream(str(path), compression="zstd") as out:
        out.write(text.encode())


def _ipc(path: Path, table: pa.Table) -> None:
    with ipc.new_file(str(path), table.schema) as out:
        out.write_table(table, max_chunksize=257)


def batch_of(path: Path, encoders: Encoders, dialect: Dialect | None = None) -> Batch:
    examples = Examples([path], columns_of(encoders.manifest), dialect or Dialect())
    return Batch.collate(list(Stream(examples, encoders, 700, shuffle=False)))


def learned(path: Path, dialect: Dialect | None = None) -> Encoders:
    of = manifest(SPEC)
    return Encoders.learn(of, Examples([path], columns_of(of), dialect or Dialect()).tables())


def same(one: Batch, other: Batch) -> bool:
    def equal(a: Any, b: Any) -> bool:
        if isinstance(a, Bag):
            return equal(a.values, b.values) and equal(a.lengths, b.lengths)
        return torch.equal(torch.nan_to_num(a, -7.0), torch.nan_to_num(b, -7.0))

    groups = ((one.fields, other.fields), (one.lengths, other.lengths), (one.labels, other.labels))
    return one.size == other.size and all(
        set(a) == set(b) and all(equal(a[name], b[name]) for name in a) for a, b in groups
    )


@pytest.fixture(scope="module")
def first(rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> tuple[Encoders, Batch]:
    """Encoders learned from JSON lines, and the batch of all examples."""
    path = tmp_path_factory.mktemp("first") / "a.jsonl"
    path.write_text(lines(rows))
    encoders = learned(path)
    return encoders, batch_of(path, encoders)


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_batches(
    name: str, rows: list[dict[str, Any]], first: tuple[Encoders, Batch], tmp_path: Path
) -> None:
    path = tmp_path / name
    WRITERS[name](path, rows)
    encoders, batch = first
    assert batch.size == ROWS
    assert same(batch_of(path, encoders), batch)
    own = learned(path)
    # Sums over other parts are rounded otherwise.
    assert own.scales["ad.price"].shift == pytest.approx(encoders.scales["ad.price"].shift, rel=1e-12)
    assert own.scales["ad.price"].by == pytest.approx(encoders.scales["ad.price"].by, rel=1e-12)
    for table, vocabulary in encoders.vocabularies.items():
        assert own.vocabularies[table].keys.equals(vocabulary.keys), table


def test_cells_without_a_header_and_with_several_characters_between(
    rows: list[dict[str, Any]], first: tuple[Encoders, Batch], tmp_path: Path
) -> None:
    of = plain(rows)
    (tmp_path / "a.csv").write_text(delimited(of))
    wanted = batch_of(tmp_path / "a.csv", first[0])
    names = dict.fromkeys(of[0])
    cells = ["::".join(cell(v) for v in row.values()) for row in of]
    (tmp_path / "a.dat").write_text("\n".join(cells))
    by_place = Dialect(columns={name: place for place, name in enumerate(names)})
    assert same(batch_of(tmp_path / "a.dat", first[0], by_place), wanted)
    (tmp_path / "named.dat").write_text("\n".join(["::".join(f"x_{n}" for n in names), *cells]))
    by_name = Dialect(separator="::", columns={name: f"x_{name}" for name in names})
    assert same(batch_of(tmp_path / "named.dat", first[0], by_name), wanted)


def test_data_in_memory_gives_the_same_batches(
    rows: list[dict[str, Any]], first: tuple[Encoders, Batch]
) -> None:
    encoders, batch = first
    assert same(encoded(encoders, rows), batch)
    assert same(encoded(encoders, {name: [row[name] for row in rows] for name in rows[0]}), batch)
    assert same(encoded(encoders, arrow(rows)), batch)
    assert same(encoded(encoders, texted(rows)), batch)
    arrays = {name: [row[name] for row in rows] for name in rows[0]}
    arrays["item"], arrays["price"] = (
        np.array(arrays["item"]),
        torch.tensor(arrays["price"], dtype=torch.float64),
    )
    assert same(encoded(encoders, arrays), batch)
    unlabelled = encoded(encoders, [{k: v for k, v in row.items() if k != "click"} for row in rows])
    assert not unlabelled.labels
    examples = Examples.of(rows, columns_of(encoders.manifest))
    assert same(Batch.collate(list(Stream(examples, encoders, 300, shuffle=False))), batch)


def test_pandas(rows: list[dict[str, Any]], first: tuple[Encoders, Batch], tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    encoders, batch = first
    assert same(encoded(encoders, pandas.DataFrame(rows)), batch)
    assert same(encoded(encoders, arrow(rows).to_pandas()), batch)
    # Integers with gaps are floats in a frame, and written so.
    frame = pandas.DataFrame({"a": [1, None, 3]})
    frame.to_csv(tmp_path / "f.csv", index=False)
    found = list(read_tables([tmp_path / "f.csv"], {"a": Column("key")}, Dialect(integral=frozenset("a"))))
    assert found[0][0].column("a").to_pylist() == [1, None, 3]
    said: list[str] = []
    list(read_tables([tmp_path / "f.csv"], {"a": Column("key")}, tell=said.append))
    assert any("--integral a" in text for text in said)


def test_settings_that_act_on_nothing_are_told(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1, 2], "b": [0.5, 1.0]}), tmp_path / "f.parquet")
    (tmp_path / "f.csv").write_text("a;b\n1;0.5\n")
    columns = {"a": Column("key"), "b": Column("number")}
    dialect = Dialect(";", {"a": "a"}, integral=frozenset(["a", "b", "c"]))

    def told(*names: str) -> list[str]:
        said: list[str] = []
        files = [tmp_path / name for name in names]
        list(read_tables(files, columns, dialect, tell=said.append))
        assert Examples(files, columns, dialect).notes == said
        return [text for text in said if "says nothing here" in text or "say nothing here" in text]

    of_keys = [
        f"--integral {name} says nothing here: no column of keys is called `{name}`" for name in ("b", "c")
    ]
    of_text = "--sep and --columns say nothing here: there is no file of separated text"
    assert told("f.csv") == told("f.csv", "f.parquet") == of_keys
    assert told("f.parquet") == [of_text, *of_keys]
    dialect = Dialect()
    assert told("f.parquet") == told("f.csv") == []


def test_polars(rows: list[dict[str, Any]], first: tuple[Encoders, Batch]) -> None:
    polars = pytest.importorskip("polars")
    assert same(encoded(first[0], polars.from_arrow(arrow(rows))), first[1])


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=6)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(CELLS, min_size=2, max_size=2), min_size=1, max_size=8), st.data())
def test_cells_are_what_was_written(tmp_path_factory: Any, cells: list[list[str]], data: Any) -> None:
    """Against Python's own writer of CSV, whatever is quoted, in parts of whatever size."""
    from specc_runtime.data import chunks, delimited, files

    text = io.StringIO()
    quoting = data.draw(st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]))
    writer = csv.writer(text, quoting=quoting, lineterminator=data.draw(st.sampled_from(["\n", "\r\n"])))
    writer.writerow(["a", "b"])
    writer.writerows(cells)
    path = tmp_path_factory.getbasetemp() / "cells.csv"
    path.write_bytes(text.getvalue().encode())
    reader = files.Reader(path, {name: Column("key") for name in "ab"}, files.Typing(Dialect()))
    layout = delimited.layout_of(path, Dialect(separator=","))
    found: list[tuple[str | None, str | None]] = []
    lines_of: list[int] = []
    size = data.draw(st.integers(1, 40))
    for chunk in chunks.chunks(path, layout.quoting, size, header=True):
        if chunk.line == 1:
            continue
        table = delimited.cells_of(chunk, layout, layout.places(None))
        found += list(zip(table["a"].to_pylist(), table["b"].to_pylist(), strict=True))
        lines_of += [chunk.origin.line_of(i) or 0 for i in range(chunk.rows)]
    assert found == [tuple(row) for row in cells]
    # The line of each record is where Python's reader is before it.
    assert reader.names == ["a", "b"]
    written = text.getvalue().replace("\r\n", "\n")
    known = csv.reader(io.StringIO(written, newline=""))
    begins, line = [], 0
    for _ in known:
        begins.append(line + 1)
        line = known.line_num
    assert lines_of == begins[1:]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b"\n\n", "it is empty"),
        (b"x,y\n", "there is no example in it"),
        (b"x,y\n1,2\n3\n4,5,6\n", "line 3: there are 1 cell, and 2 columns: `3`"),
        (b"x,y\n1,2\n3\n4,5,6\n", "line 4: there are 3 cells, and 2 columns: `4,5,6`"),
        (b'x,y\n1,0\n"2,0\n3,0\n', "line 3: the quote that opens here is not closed"),
        (b"x,y\n1,0\n\xff2,0\n", "line 3: the bytes ff 32 2c 30 are no UTF-8 text"),
        ("x,y\n1,0\n".encode("utf-16"), "it is UTF-16"),
        (b"x,y\r1,0\r2,0\r", "its lines end with CR alone"),
        (b"x,y,x\n1,0,2\n", "column `x`: the column is there twice"),
        (b'x,y\n"1\n",0\n\nn/a,0\n2,maybe\n', "line 5, column `x`: `n/a` is not a number"),
        (b'x,y\n"1\n",0\n\nn/a,0\n2,maybe\n', "line 6, column `y`: `maybe` is not a number"),
        (b"z,y,also\n1,0,2\n", "column `s_x`: there is no such column (nor `x`)"),
        (b"s_X,y,also\n1,0,2\n", "did you mean `s_X`?"),
        (b"p,q\n1,0\n", "it has none of the model's columns: `s_x`, `s_also`"),
        (gzip.compress(b"x,y\n" + b"1,0\n" * 9000, mtime=0)[:40], "it cannot be read, and may be cut off"),
        (b'{"x": 1, "y": 0}\n{"x": 2, "y"\n', "line 2: it is not JSON"),
        (b'{"x": 1, "y": 0}\n\n{"x": 2, "x": 3}\n', "line 3: column `x` is there twice"),
        (b'{"x": 1, "y": 0}\n[1, 2]\n', "line 2: there is an array, and a line should be one object"),
        (b'{"x": 1, "y": 0}\n{"x": NaN}\n', "line 2: NaN is not JSON"),
        (b'{"x": 1, "y": 0}\n{"x": [1], "y": 0}\n', "line 2, column `x`: there is a list"),
        (b'{"x": 1, "y": 0}\n{"x": "a", "y": 0}\n', "line 2, column `x`: `a` is not a number"),
        (b'{"x": 1, "y": 0}\n{"x": {"a": 1}, "y": 0}\n', "line 2, column `x`: there is an object"),
        (b'{"x": ' + b"[" * 100_000 + b"\n", "line 1: it is not JSON that can be read"),
        (b'{"x": ' + b"9" * 5000 + b', "y": 0}\n', "line 1: it is not JSON that can be read"),
        (b"PAR1 cut off", "it cannot be read"),
        (b"ARROW1\0\0cut off", "it cannot be read"),
        (b"FEA1....", "it is Feather of version 1"),
    ],
)  # fmt: skip
def test_hostile_files(content: bytes, said: str, tmp_path: Path) -> None:
    of = manifest(
        "model m\nspace s from request { x: number, also: number(default = 0) }\n"
        "predict y: binary = s |> linear(1)\n"
    )
    path = tmp_path / "data"
    path.write_bytes(content)

    def read() -> None:
        examples = Examples([path], columns_of(of))
        list(Stream(examples, Encoders.learn(of, examples.tables()), 10))

    with pytest.raises(DataError) as found:
        read()
    assert f"{path}" in str(found.value)
    assert said in str(found.value)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60), st.sampled_from([b"", b"x,y\n", b'{"x": 1, "y": 0}\n', b"PAR1", b"\x1f\x8b"]))
def test_no_bytes_end_in_a_traceback(tmp_path_factory: Any, content: bytes, begin: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz"
    path.write_bytes(begin + content)
    with contextlib.suppress(DataError):
        for table, _ in read_tables([path], {"x": Column("number"), "y": Column("key")}, others=True):
            table.validate(full=True)
        names_of(path)


def test_lists_and_nulls_of_json(tmp_path: Path) -> None:
    """A null may be the first of a list, and a column may come late."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"k": [null, "a"]}\n{"k": null}\n{}\n{"k": [], "late": 1}\n{"k": [1, 2.0, "3", true]}\n')
    columns = {"k": Column("key", 1), "late": Column("number")}
    (table, _), = read_tables([path], columns)  # fmt: skip
    table.validate(full=True)
    assert table.column("k").to_pylist() == [[None, "a"], None, None, [], ["1", "2", "3", "1"]]
    assert table.column("late").to_pylist() == [None, None, None, 1.0, None]


def test_nested_lists_in_texts(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("v,w\n1 2|3,1\n,NA\n|4,2\n")
    columns = {"v": Column("key", 2, ("|", " ")), "w": Column("number")}
    (table, origin), = read_tables([path], columns, Dialect(nulls=("NA",)))  # fmt: skip
    assert table.column("v").to_pylist() == [[[1, 2], [3]], None, [None, [4]]]
    assert table.column("w").to_pylist() == [1.0, None, 2.0]
    assert origin.line_of(2) == 4
    with pytest.raises(DataError, match=r'line 2, column `v`: .*\n.*`split = "\|"`'):
        list(read_tables([path], {"v": Column("key", 1)}))


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_columns_of_every_type_of_text(kind: pa.DataType) -> None:
    typing = Typing(Dialect(nulls=("NA",)))

    def typed(values: list[str | None], column: Column) -> list[Any]:
        found: list[Any] = typing.typed("x", pa.array(values, kind), column, blank=True).to_pylist()
        return found

    assert typed(["1|2", "NA", None, "3", ""], Column("key", 1, ("|",))) == [[1, 2], None, None, [3], None]
    assert typed(["1.5", "NA", ""], Column("number")) == [1.5, None, None]
    assert typed(["True", "NA", "0"], Column("label")) == [1.0, None, 0.0]
    assert typed(["7", "x"], Column("key")) == ["7", "x"]


def test_columns_of_every_type_of_list() -> None:
    kinds = (
        pa.list_(pa.int32()),
        pa.large_list(pa.int8()),
        pa.list_view(pa.uint64()),
        pa.list_(pa.int64(), 2),
    )
    for kind in kinds:
        values = pa.array([[1, 2], None, [3, 4]], kind)
        for some, wanted in ((values, [[1, 2], None, [3, 4]]), (values.slice(1), [None, [3, 4]])):
            assert Typing(Dialect()).typed("x", some, Column("key", 1), blank=False).to_pylist() == wanted


def test_faults_of_several_files_come_together(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n1\nb\n")
    (tmp_path / "b.jsonl").write_text('{"x": 1}\n{"x": "c"}\n{"x": "d"}\n')
    files = [tmp_path / name for name in ("a.csv", "none.csv", "b.jsonl")]
    with pytest.raises(DataError) as found:
        list(read_tables(files, {"x": Column("number")}))
    said = [str(fault).partition("\n")[0].removeprefix(f"{tmp_path}/") for fault in found.value.faults]
    assert said == [
        "a.csv, line 3, column `x`: `b` is not a number",
        "none.csv: there is no such file",
        "b.jsonl, line 2, column `x`: `c` is not a number (and 1 more)",
    ]


def test_without_room_text_is_parsed_again(
    rows: list[dict[str, Any]], first: tuple[Encoders, Batch], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "no folder").write_text("")
    monkeypatch.setenv("AREC_CACHE", str(tmp_path / "no folder"))
    for name in ("a.csv", "a.csv.gz", "a.jsonl"):
        WRITERS[name](tmp_path / name, rows)
        examples = Examples([tmp_path / name], columns_of(first[0].manifest))
        assert any("parsed again" in note for note in examples.notes)
        for _ in range(2):
            assert same(Batch.collate(list(Stream(examples, first[0], 700, shuffle=False))), first[1])


def test_workers_give_every_example_once(rows: list[dict[str, Any]], first: tuple[Encoders, Batch]) -> None:
    from torch.utils import _pytree as pytree
    from torch.utils.data import DataLoader

    encoders, batch = first
    examples = Examples.of(rows * 5, columns_of(encoders.manifest))
    stream = Stream(examples, encoders, 600, buffer=1000)
    assert len(examples.units) > 1
    found = list(DataLoader(stream, batch_size=None, num_workers=2))
    assert sum(len(part) for part in found) == 5 * ROWS
    prices = torch.cat([part.column("ad.price") for part in found]).squeeze(1)
    assert torch.equal(prices.sort().values, batch.column("ad.price").squeeze(1).repeat(5).sort().values)
    doubled = pytree.tree_map(lambda x: x * 2, batch)
    assert torch.equal(doubled.column("user.id"), batch.column("user.id") * 2)
    assert same(batch.to("cpu", non_blocking=True), batch)
