"""Requests become Parquet examples, in the order of time, whatever order they were built in; of a spec that
is trained on requests they stay requests.

Promises: the rows of a file, and its row groups, depend on the requests alone: not on how many came at once,
nor on the memory that there was. Requests of one second are in the order of their users' hashes.
Memory: the requests of one stretch of time, of which there are as many as it takes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from specc.prepare.build import COUNT, PLACE, RANK, TIME, USER
from specc.prepare.codes import Keys, Values
from specc.prepare.draw import PLACES, REQUESTS, drawn
from specc.prepare.events import Plan
from specc.prepare.facts import Facts
from specc.prepare.mapping import WEIGHTS, refuses_null
from specc_runtime.encode.labels import of_requests

Ints = npt.NDArray[np.int64]
ROW_GROUP = 8_192
AT_ONCE = 16_384  # requests that become examples at once
STRETCHES = 200  # at most so many files are open
# Columns that no field is, for whoever evaluates: whose example it is, when it was, which belong together.
EXAMPLE_USER, EXAMPLE_TIME, EXAMPLE_REQUEST = "example_user", "example_time", "example_request"


@dataclass(frozen=True)
class Written:
    """What was written, by file: requests, examples (their candidates), rows of the file, and the times
    between which they lie.

    positive: how many of the examples have a positive label, where that can be said.
    """

    name: str
    path: Path
    requests: int
    examples: int
    rows: int
    positives: int | None
    begin: int
    end: int

    def within(self, folder: Path) -> Written:
        """Return the same in another folder."""
        return replace(self, path=folder / self.path.name)


class Stretches:
    """Tables of requests, kept by stretches of time. ends: the last second of each, ascending."""

    def __init__(self, folder: Path, ends: Ints) -> None:
        self.folder, self.ends = folder, ends
        self._writers: dict[int, tuple[Any, Any]] = {}

    @staticmethod
    def of(folder: Path, times: Ints, counts: Ints, most: int) -> Stretches:
        """Return stretches of at most `most` requests, or of a single second. times: every second that has
        some, ascending; counts: how many it has."""
        most = max(most, int(counts.sum()) // STRETCHES + 1)
        ends, total = [], 0
        for place, count in enumerate(counts.tolist()):
            if total and total + count > most:
                ends.append(int(times[place - 1]))
                total = 0
            total += count
        ends.append(int(times[-1]))
        return Stretches(folder, np.array(ends))

    def add(self, table: pa.Table) -> None:
        """Add requests, which are in the order of time."""
        times = table.column(TIME).to_numpy()
        ends = np.searchsorted(times, self.ends, side="right")
        begin = 0
        for stretch, end in enumerate(ends.tolist()):
            if end > begin:
                self._writer(stretch, table.schema).write_table(table.slice(begin, end - begin))
                begin = end

    def _writer(self, stretch: int, schema: pa.Schema) -> Any:
        if stretch not in self._writers:
            sink = pa.OSFile(str(self.folder / f"{stretch}.arrow"), "wb")
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            self._writers[stretch] = (sink, pa.ipc.new_stream(sink, schema, options=options))
        return self._writers[stretch][1]

    def close(self) -> None:
        for sink, writer in self._writers.values():
            writer.close()
            sink.close()

    def ordered(self) -> Iterator[pa.Table]:
        """Yield all requests, by time, the users' ranks and their events' places."""
        self.close()
        for stretch in sorted(self._writers):
            path = self.folder / f"{stretch}.arrow"
            with pa.OSFile(str(path)) as source, pa.ipc.open_stream(source) as reader:
                begin = int(self.ends[stretch - 1]) + 1 if stretch else None
                if begin == int(self.ends[stretch]):
                    # Of one second: they were added in the order of the users' ranks.
                    for batch in reader:
                        yield pa.Table.from_batches([batch])
                else:
                    table = reader.read_all()
                    keys = [table.column(name).to_numpy() for name in (PLACE, RANK, TIME)]
                    order = np.lexsort(keys)
                    for at in range(0, len(order), AT_ONCE):
                        yield table.take(pa.array(order[at : at + AT_ONCE]))
                    del table
            path.unlink()


@dataclass
class Decoding:
    """From codes to what the columns of examples hold. values: by field's path and prediction's name.
    nulls: by path of fields that take none, how many there were."""

    plan: Plan
    facts: Facts
    users: Keys
    values: Mapping[str, Values | None]
    nulls: Counter[str] = field(default_factory=Counter)

    def examples(self, requests: pa.Table) -> pa.Table:
        """Return a table with a row a candidate: those of a request follow one another."""
        counts = requests.column(COUNT).to_numpy()
        index = pa.array(np.repeat(np.arange(len(counts)), counts))
        columns: dict[str, pa.Array] = {}
        for number, entry in enumerate(self.plan.manifest["fields"]):
            found = self._noted(entry, self._field(number, entry, requests))
            columns[entry["column"]] = found.values if entry["role"] == "candidate" else found.take(index)
        for number, prediction in enumerate(self.plan.manifest["predictions"]):
            columns[prediction["column"]] = self._label(number, prediction, requests).values
        columns.update({name: column.take(index) for name, column in self._about(requests).items()})
        return pa.table(columns)

    def requests(self, requests: pa.Table) -> pa.Table:
        """Return a table with a row a request, with its candidates as lists in a random order; of a spec
        without candidates one label."""
        counts = requests.column(COUNT).to_numpy()
        order = self._order(requests, counts)
        columns: dict[str, pa.Array] = {}
        for number, entry in enumerate(self.plan.manifest["fields"]):
            found = self._field(number, entry, requests)
            if of_requests(self.plan.manifest):
                found = self._noted(entry, found)
            if entry["role"] == "candidate":
                found = _lists(found.values.take(order), counts)
            columns[entry["column"]] = found
        listed = any(space["role"] == "candidate" for space in self.plan.manifest["spaces"])
        for number, prediction in enumerate(self.plan.manifest["predictions"]):
            labels = self._label(number, prediction, requests).values
            columns[prediction["column"]] = _lists(labels.take(order), counts) if listed else labels
        return pa.table({**columns, **self._about(requests)})

    def _noted(self, entry: Mapping[str, Any], found: pa.Array) -> pa.Array:
        """Count the nulls of a field's column, where it takes none."""
        if refuses_null(entry) and (count := _nulls(found)):
            self.nulls[entry["path"]] += count
        return found

    def _order(self, requests: pa.Table, counts: Ints) -> pa.Array:
        """Return the order in which all candidates are given."""
        owner = np.repeat(np.arange(len(counts)), counts)
        users = self.facts.users[requests.column(USER).to_numpy()][owner]
        within = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
        draws = drawn(
            self.plan.settings.seed, PLACES, users, requests.column(PLACE).to_numpy()[owner], within
        )
        return pa.array(np.lexsort((draws, owner)))

    def _about(self, requests: pa.Table) -> dict[str, pa.Array]:
        codes = requests.column(USER).to_numpy()
        places = requests.column(PLACE).to_numpy()
        ids = drawn(0, REQUESTS, self.facts.users[codes], places, np.zeros(1, dtype=np.int64))
        return {
            EXAMPLE_USER: self.users.take(codes),
            EXAMPLE_TIME: requests.column(TIME).combine_chunks(),
            EXAMPLE_REQUEST: pa.array((ids >> np.uint64(1)).astype(np.int64)),
        }

    def _field(self, number: int, entry: Mapping[str, Any], requests: pa.Table) -> pa.Array:
        """Return a field's column of requests."""
        source, values = self.plan.fields[entry["path"]], self.values[entry["path"]]

        def decoded(codes: pa.Array) -> pa.Array:
            if source.constant is not None:
                return _cell(entry, pa.array([source.constant] * len(codes)))
            plain = codes if values is None else values.take(codes.to_numpy(zero_copy_only=False))
            if source.attribute == "moment":
                plain = plain.cast(pa.timestamp("ns", "UTC"))
            return _cell(entry, plain)

        levels = 1 if entry["role"] == "candidate" else len(entry["axes"])
        return _mapped(requests.column(f"f{number}").combine_chunks(), levels, decoded)

    def _label(self, number: int, prediction: Mapping[str, Any], requests: pa.Table) -> pa.Array:
        values = self.values[prediction["name"]]
        read = self.plan.labels.sources[prediction["name"]].how == "read"

        def decoded(codes: pa.Array) -> pa.Array:
            plain = codes.to_numpy(zero_copy_only=False)
            if values is not None:
                return values.take(plain)
            return pa.array(plain.astype(np.float64 if read else np.float32), from_pandas=True)

        return _mapped(requests.column(f"y{number}").combine_chunks(), 1, decoded)


def _nulls(column: pa.Array) -> int:
    """Return how many nulls a column has, at any level of its lists."""
    inside = _nulls(column.values) if pa.types.is_large_list(column.type) else 0
    return inside + int(column.null_count)


def _mapped(column: pa.Array, levels: int, change: Any) -> pa.Array:
    """Return a column with its innermost values changed, all at once."""
    if not levels:
        return change(column)
    offsets = column.offsets.to_numpy()
    inside = column.values.slice(offsets[0], offsets[-1] - offsets[0])
    return pa.LargeListArray.from_arrays(pa.array(offsets - offsets[0]), _mapped(inside, levels - 1, change))


def _cell(entry: Mapping[str, Any], values: pa.Array) -> pa.Array:
    """Return values as the field's column holds them: a bag is a list, even of one."""
    if entry["encoding"] not in ("bag", WEIGHTS) or pa.types.is_large_list(values.type):
        return values
    present = ~values.is_null().to_numpy(zero_copy_only=False)
    return _lists(values.drop_null(), present.astype(np.int64))


def _lists(values: pa.Array, lengths: Ints) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return pa.LargeListArray.from_arrays(pa.array(offsets), values)


@dataclass
class File:
    """A Parquet file that grows in whole row groups, which do not depend on how its rows come."""

    path: Path
    rows: int = 0
    _left: list[pa.Table] = field(default_factory=list)
    _waiting: int = 0
    _writer: pq.ParquetWriter | None = None

    def add(self, table: pa.Table) -> None:
        if self._writer is None:
            self._writer = pq.ParquetWriter(self.path, table.schema, compression="zstd")
        self._left.append(table)
        self._waiting += len(table)
        self.rows += len(table)
        if self._waiting >= ROW_GROUP:
            whole = pa.concat_tables(self._left)
            full = len(whole) // ROW_GROUP * ROW_GROUP
            self._writer.write_table(whole.slice(0, full), row_group_size=ROW_GROUP)
            rest = whole.slice(full)
            # A copy, as a slice keeps all that it is of.
            self._left = [rest.take(pa.array(np.arange(len(rest))))] if len(rest) else []
            self._waiting = len(rest)

    def close(self) -> None:
        if self._writer is not None:
            if self._waiting:
                self._writer.write_table(pa.concat_tables(self._left), row_group_size=ROW_GROUP)
            self._writer.close()
            self._writer = None


def write_parts(
    folder: Path,
    parts: Sequence[tuple[str, int, int]],
    ordered: Iterator[pa.Table],
    decoding: Decoding,
    requests: bool,
) -> tuple[Written, ...]:
    """Write NAME.parquet of each part that has requests, and requests.parquet of the last one. parts: names,
    and the times from and before which they are, ascending."""
    files = [File(folder / f"{name}.parquet") for name, *_ in parts]
    asked = File(folder / "requests.parquet") if requests else None
    listed = of_requests(decoding.plan.manifest)
    totals = np.zeros((len(parts), 3), dtype=np.int64)
    known = True
    spans: list[list[int]] = [[] for _ in parts]
    for table in ordered:
        times = table.column(TIME).to_numpy()
        for number, (_, begin, end) in enumerate(parts):
            first, stop = np.searchsorted(times, [begin, end], side="left").tolist()
            if stop <= first:
                continue
            own = table.slice(first, stop - first)
            made = decoding.requests(own) if listed else decoding.examples(own)
            files[number].add(made)
            positives = _positive(made, decoding.plan)
            known = positives is not None
            totals[number] += (len(own), int(own.column(COUNT).to_numpy().sum()), positives or 0)
            spans[number] = [*spans[number][:1], int(times[first]), int(times[stop - 1])]
            if asked is not None and number == len(parts) - 1:
                asked.add(made if listed else decoding.requests(own))
    for file in (*files, *([asked] if asked else [])):
        file.close()
    return tuple(
        Written(name, file.path, number, shown, file.rows, positive if known else None, span[0], span[-1])
        for (name, *_), file, (number, shown, positive), span in zip(
            parts, files, totals.tolist(), spans, strict=True
        )
        if span
    )


def _positive(examples: pa.Table, plan: Plan) -> int | None:
    """Return how many examples have a positive label of the first prediction that is binary; None without
    one."""
    import pyarrow.compute as pc

    from specc.prepare.labels import positive

    for prediction in plan.manifest["predictions"]:
        if prediction["kind"] not in ("real", "class"):
            values = examples.column(prediction["column"])
            if pa.types.is_large_list(values.type):
                values = pc.list_flatten(values)
            condition = prediction.get("condition") or {}
            if isinstance(condition.get("value"), str):
                same = pc.equal(values.cast(pa.large_string()), condition["value"])
                return int(pc.sum(same if condition["op"] == "==" else pc.invert(same)).as_py() or 0)
            numbers = pc.fill_null(values.cast(pa.float64()), np.nan).to_numpy()
            return int(positive(prediction, numbers).sum())
    return None
