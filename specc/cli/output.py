"""Tables that come piece by piece, into a file by its name or as JSON lines on stdout.

Promises: a file is there whole or not at all (a device or a pipe gets what there is); a column has one type,
that of all pieces' values. A disk that is full and a reader that has gone are told in a sentence.
Memory: one piece.
"""

from __future__ import annotations

import errno
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

from specc.cli.common import fail

if TYPE_CHECKING:
    import pyarrow as pa

F = TypeVar("F", bound=Callable[..., Any])
COLUMNAR = (".parquet", ".pq", ".arrow", ".feather", ".csv")
KINDS = (*COLUMNAR, ".jsonl", ".ndjson")


def output_option(command: F) -> F:
    """Add the option `-o`, as `output`."""
    return click.option(
        "-o",
        "--output",
        type=click.Path(path_type=Path, dir_okay=False),
        callback=lambda ctx, param, given: _known(given),
        help="A .parquet, .arrow, .csv or .jsonl file; without it JSON lines on stdout.",
    )(command)


def _known(output: Path | None) -> Path | None:
    if output is None or output.suffix.lower() in KINDS or (output.exists() and not output.is_file()):
        return output
    raise click.BadParameter(
        f"what {str(output)!r} is to be is not known by its name: end it in .parquet, .arrow, .csv or .jsonl"
    )


def write_tables(tables: Iterable[pa.Table], output: Path | None) -> int:
    """Write tables to a file, or to stdout; how many rows there were. Ends the command where that fails.

    Raises what `tables` does: nothing stands at `output` then but what did before.
    """
    if output is None:
        return _to_stdout(tables)
    from specc_runtime.files import replace_file, unwritable

    with replace_file(output) as path:
        source, file = _Source(tables), _File(path, output.suffix.lower())
        try:
            for table in source:
                file.write(table)
            file.close()
        except OSError as error:
            if error is source.raised:
                raise
            raise unwritable(output, error) from None
        finally:
            file.let_go()
    return file.rows


class _Source:
    """Some tables. raised: the fault that was met in making them, which is none of the file's."""

    def __init__(self, tables: Iterable[pa.Table]) -> None:
        self.tables = tables
        self.raised: BaseException | None = None

    def __iter__(self) -> Iterator[pa.Table]:
        try:
            yield from self.tables
        except Exception as error:
            self.raised = error
            raise


def _to_stdout(tables: Iterable[pa.Table]) -> int:
    if sys.stdout is None:
        fail("stdout is closed: nothing can be written to it; name a file with -o")
    source, rows = _Source(tables), 0
    try:
        for table in source:
            for line in json_lines(table):
                click.echo(line)
            rows += len(table)
        sys.stdout.flush()
    except OSError as error:
        if error is source.raised:
            raise
        # What is left in the buffer would fail again where Python ends.
        with open(os.devnull, "w") as nothing:
            os.dup2(nothing.fileno(), 1)
        gone = error.errno == errno.EPIPE
        why = "its reader has gone" if gone else error.strerror or str(error)
        fail(f"stdout cannot be written: {why}")
    return rows


class _File:
    """Writes a table after another to a file.

    A column that turns out to hold more than its type so far has (texts after integers, numbers after nulls)
    gets the type that has both, and what was written is written again.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self.path, self.kind, self.rows = path, kind, 0
        self._schema: pa.Schema | None = None
        self._writer: Any = None
        self._raw: IO[bytes] | None = None

    def write(self, table: pa.Table) -> None:
        self.rows += len(table)
        if self.kind not in COLUMNAR:
            self._raw = self._raw or self.path.open("wb")
            self._raw.writelines((line + "\n").encode() for line in json_lines(table))
            return
        table = flat(table) if self.kind == ".csv" else table
        schema = table.schema if self._schema is None else _of_both(self._schema, table.schema)
        if self._schema is None:
            self._open(self.path, schema)
        elif not schema.equals(self._schema):
            self._widen(schema)
        self._writer.write_table(_as(table, schema))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._raw is not None:
            self._raw.close()
            self._raw = None

    def let_go(self) -> None:
        """Close what an error has left open."""
        with suppress(Exception):
            self.close()
        with suppress(OSError):
            if self._raw is not None:
                self._raw.close()

    def _open(self, path: Path, schema: pa.Schema) -> None:
        import pyarrow as pa
        import pyarrow.csv
        import pyarrow.parquet

        self._schema, self._raw = schema, path.open("wb")
        match self.kind:
            case ".csv":
                self._writer = pyarrow.csv.CSVWriter(self._raw, schema)
            case ".arrow" | ".feather":
                self._writer = pa.ipc.new_file(self._raw, schema)
            case _:
                self._writer = pyarrow.parquet.ParquetWriter(self._raw, schema, compression="zstd")

    def _widen(self, schema: pa.Schema) -> None:
        before = self._schema
        self.close()
        if self.kind == ".csv":  # it has no types: nothing of what was written changes
            self._schema = schema
            self._append(schema)
            return
        if not self.path.is_file():
            raise OSError(errno.ESPIPE, f"the type of a column changes from {before} to {schema}")
        old = self.path.with_name(self.path.name + ".before")
        self.path.rename(old)
        self._open(self.path, schema)
        for table in _tables_of(old, self.kind):
            self._writer.write_table(_as(table, schema))
        old.unlink()

    def _append(self, schema: pa.Schema) -> None:
        import pyarrow.csv

        self._raw = self.path.open("ab")
        options = pyarrow.csv.WriteOptions(include_header=False)
        self._writer = pyarrow.csv.CSVWriter(self._raw, schema, write_options=options)


def _of_both(first: pa.Schema, second: pa.Schema) -> pa.Schema:
    """Return the schema that has the values of both."""
    import pyarrow as pa

    fields = []
    for field in first:
        other = second.field(field.name).type
        if field.type.equals(other) or pa.types.is_null(other):
            fields.append(field)
        elif pa.types.is_null(field.type):
            fields.append(pa.field(field.name, other))
        elif _is_number(field.type) and _is_number(other) and pa.float64() in (field.type, other):
            fields.append(pa.field(field.name, pa.float64()))
        else:
            fields.append(pa.field(field.name, pa.large_string()))
    return pa.schema(fields, first.metadata)


def _is_number(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _as(table: pa.Table, schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    for place, field in enumerate(schema):
        kind = table.schema.field(place).type
        if pa.types.is_large_string(field.type) and pa.types.is_nested(kind):
            table = flat(table)
    return table.cast(schema)


def _tables_of(path: Path, kind: str) -> Iterator[pa.Table]:
    import pyarrow as pa
    import pyarrow.parquet

    if kind in (".arrow", ".feather"):
        with pa.ipc.open_file(str(path)) as file:
            for index in range(file.num_record_batches):
                yield pa.Table.from_batches([file.get_batch(index)])
        return
    with pyarrow.parquet.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group)


def json_lines(table: pa.Table) -> Iterator[str]:
    for row in table.to_pylist():
        yield json.dumps(_plain(row), ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: a number that is not finite is null, a time or bytes a text."""
    match value:
        case dict():
            return {key: _plain(one) for key, one in value.items()}
        case list():
            return [_plain(one) for one in value]
        case float():
            return value if math.isfinite(value) else None
        case bool() | int() | str() | None:
            return value
        case bytes():
            return value.decode(errors="replace")
        case _:
            return str(value)


def flat(table: pa.Table) -> pa.Table:
    """Return a table for CSV, which has no lists: they become JSON texts."""
    import pyarrow as pa

    for place, field in enumerate(table.schema):
        if pa.types.is_nested(field.type):
            texts = [None if v is None else json.dumps(_plain(v), ensure_ascii=False)
                     for v in table.column(place).to_pylist()]  # fmt: skip
            table = table.set_column(place, field.name, pa.array(texts, pa.large_string()))
    return table
