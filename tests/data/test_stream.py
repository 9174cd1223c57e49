"""Batches from files: every example once, in an order that can be taken up again anywhere."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specc_runtime.data import Place, Stream, find_files
from specc_runtime.encode import KEYS, DataError, Encoders
from tests.data.specs import one_field

ROWS = 101


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two files with row groups of unequal sizes; x counts the rows."""
    folder = tmp_path_factory.mktemp("examples")
    for name, begin, end in (("a", 0, 60), ("b", 60, ROWS)):
        table = pa.table({"x": list(range(begin, end)), "y": [0.0] * (end - begin),
                          "who": [f"u{i % 7}" for i in range(begin, end)]})  # fmt: skip
        pq.write_table(table, folder / f"{name}.parquet", row_group_size=17)
    return find_files([folder])


def stream(files: list[Path], batch: int = 10, buffer: int = 30, **options: object) -> Stream:
    return Stream(files, Encoders(one_field("ids(1000, 2)")), batch, buffer=buffer, **options)  # type: ignore[arg-type]


def order(of: Stream, start: Place) -> list[int]:
    return [int(x) for batch, _ in of.epoch(start) for x in batch.column("s.x")]


@pytest.mark.parametrize("buffer", [1, 30, 1000])
@pytest.mark.parametrize("shuffle", [True, False])
def test_an_epoch_has_every_example_once(files: list[Path], shuffle: bool, buffer: int) -> None:
    of = stream(files, buffer=buffer, shuffle=shuffle)
    found = order(of, Place())
    assert sorted(found) == list(range(ROWS))
    assert (found == list(range(ROWS))) == (not shuffle)
    sizes = [batch.size for batch in of]
    assert sizes == [10] * 10 + [1]
    assert len(sizes) == of.steps()


def test_the_order_is_the_seeds_and_the_epochs(files: list[Path]) -> None:
    first = order(stream(files, seed=1), Place())
    assert first == order(stream(files, seed=1), Place())
    assert first != order(stream(files, seed=2), Place())
    assert first != order(stream(files, seed=1), Place(epoch=1))


@settings(max_examples=15, deadline=None)
@given(batch=st.integers(1, 40), buffer=st.integers(1, 150), after=st.integers(0, 100))
def test_an_epoch_is_taken_up_where_it_stood(files: list[Path], batch: int, buffer: int, after: int) -> None:
    of = stream(files, batch=batch, buffer=buffer)
    steps = list(of.epoch(Place(epoch=2)))
    after = min(after, len(steps) - 1)
    rest = [x for b, _ in steps[after + 1 :] for x in b.column("s.x").tolist()]
    assert order(stream(files, batch=batch, buffer=buffer), steps[after][1]) == rest


@settings(max_examples=15, deadline=None)
@given(
    batch=st.integers(1, 120), buffer=st.integers(1, 150), ranks=st.integers(1, 4), shuffle=st.booleans(),
    after=st.integers(0, 100),
)  # fmt: skip
def test_ranks_have_parts_of_the_batches_of_one(
    files: list[Path], batch: int, buffer: int, ranks: int, shuffle: bool, after: int
) -> None:
    """From any place on, and also where a batch has fewer examples than there are ranks."""

    def steps(rank: int, ranks: int, at: Place) -> list[tuple[list[float], Place]]:
        of = stream(files, batch=batch, buffer=buffer, shuffle=shuffle, rank=rank, ranks=ranks)
        return [(b.column("s.x").tolist(), place) for b, place in of.epoch(at)]

    whole = steps(0, 1, Place(1))
    start = whole[min(after, len(whole) - 1)][1] if after % 2 else Place(1)
    whole = steps(0, 1, start)
    parts = [steps(rank, ranks, start) for rank in range(ranks)]
    for number, (rows, place) in enumerate(whole):
        assert [x for part in parts for x in part[number][0]] == rows
        assert {part[number][1] for part in parts} == {place}
    assert {len(part) for part in parts} == {len(whole)}


def test_a_rank_knows_faults_by_their_rows_in_the_file(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [*range(33), 5000, *range(16)], "y": [0.0] * 50}), tmp_path / "f.parquet")
    with pytest.raises(DataError, match=r"f\.parquet, row 34, column `x`: 5000 is not one of the ids"):
        read_by_both([tmp_path / "f.parquet"])


def read_by_both(files: list[Path]) -> None:
    for rank in range(2):
        list(stream(files, rank=rank, ranks=2))


def test_keys_go_along(files: list[Path]) -> None:
    batch = next(iter(stream(files, batch=ROWS, buffer=1000, keys="who")))
    groups = dict(zip(batch.column("s.x").tolist(), batch.labels[KEYS].tolist(), strict=True))
    assert all((groups[i] == groups[j]) == (i % 7 == j % 7) for i in range(20) for j in range(20))


@pytest.mark.parametrize("keys", ["x", "s_x"])
def test_a_field_that_is_the_key_is_missed_once(keys: str, tmp_path: Path) -> None:
    pq.write_table(pa.table({"y": [0.0]}), tmp_path / "f.parquet")
    with pytest.raises(DataError) as found:
        list(stream([tmp_path / "f.parquet"], keys=keys))
    assert len(found.value.faults) == 1


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as found:
        find_files([tmp_path / "nowhere.parquet", tmp_path / "empty"])
    assert len(found.value.faults) == 2
    (tmp_path / "text.parquet").write_text("not parquet")
    pq.write_table(pa.table({"x": pa.array([], pa.int64())}), tmp_path / "none.parquet")
    with pytest.raises(DataError, match=r"text\.parquet: it is no Parquet file"):
        stream(find_files([tmp_path / "text.parquet"]))
    with pytest.raises(DataError, match=r"none\.parquet: there is no example in it"):
        stream(find_files([tmp_path / "none.parquet"]))


def test_a_fault_names_its_row_in_the_file(tmp_path: Path) -> None:
    values = list(range(50))
    values[33] = 5000
    pq.write_table(pa.table({"x": values, "y": [0.0] * 50}), tmp_path / "f.parquet", row_group_size=10)
    with pytest.raises(DataError, match=r"f\.parquet, row 34, column `x`: 5000 is not one of the ids"):
        list(stream([tmp_path / "f.parquet"]))
