"""Which files a log is, and how Spark reads them.

Promises: files that this machine sees are found, told apart and checked as on one machine; others are found
by Spark. Names are names, nothing is globbed. Text is read by lines, so that files may be read in pieces.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow.parquet as pq

from specc.prepare.mapped import Table
from specc.prepare.raw import Raw, open_files
from specc.prepare.settings import PrepareError, Settings
from specc_runtime.data.delimited import Layout

HEAD = 2000  # lines or rows of a file that this machine does not see, to tell its columns by
_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_PACKED = re.compile(r"\.(gz|zst|bz2)\Z")


@dataclass(frozen=True)
class Log:
    """names: of the files, as they were given or found. paths: the same for Spark. orders: by file, by place
    of a column in the first file, its place in this one. bytes: of all files."""

    format: str
    names: tuple[str, ...]
    paths: tuple[str, ...]
    orders: tuple[Mapping[int, int], ...]
    layout: Layout | None
    table: Table
    bytes: int

    @property
    def inputs(self) -> list[dict[str, Any]]:
        """Return what data.json says of them."""
        return [{"name": name} for name in self.names]

    def as_data(self) -> dict[str, Any]:
        """Return for JSON what a task needs."""
        layout = None if self.layout is None else {**asdict(self.layout), "file": str(self.layout.file)}
        return {
            "format": self.format,
            "files": {plain(path): number for number, path in enumerate(self.paths)},
            "orders": [sorted(order.items()) for order in self.orders],
            "layout": layout,
            "table": asdict(self.table),
        }


def is_remote(path: str) -> bool:
    """Return whether a path is of another file system than this machine's."""
    return bool(_REMOTE.match(path)) and not path.startswith("file://")


def plain(uri: str) -> str:
    """Return a path in the one form that what Spark is told and what it tells have in common."""
    found = re.sub(r"\Afile:/*", "/", unquote(uri))
    return re.sub(r"\\(.)", r"\1", found)


def find(session: Any, given: Sequence[str], settings: Settings, scratch: Path) -> tuple[Log, Raw]:
    """Return the files of a log, and the first of them, or its beginning. scratch: a folder on this machine.
    Raises PrepareError and DataError."""
    remote = [path for path in given if is_remote(path)]
    if remote and len(remote) < len(given):
        raise PrepareError(
            f"{remote[0]} is in another file system than {next(p for p in given if p not in remote)}; "
            "name files of one"
        )
    found = _elsewhere(session, remote, settings, scratch) if remote else _here(given, settings)
    if found[0].format == "arrow":
        raise PrepareError(
            f"{found[0].names[0]} is an Arrow file, which Spark does not read; write Parquet, or prepare on "
            "one machine, without --engine"
        )
    return found


def _here(given: Sequence[str], settings: Settings) -> tuple[Log, Raw]:
    files = open_files([Path(re.sub(r"\Afile:/*", "/", path)) for path in given], settings, settings.columns)
    formats = {file.format for file in files}
    first = files[0]
    if len(formats) > 1:
        raise PrepareError(f"the log's files have several formats: {', '.join(sorted(formats))}")
    marks = {(f.layout.separator, f.layout.header) for f in files if f.layout is not None}
    if len(marks) > 1:
        raise PrepareError("the log's files differ in what separates their cells, or in having a header")
    log = Log(
        first.format,
        tuple(str(file.path) for file in files),
        tuple("file:" + _escaped(str(file.path.absolute())) for file in files),
        tuple(file.order for file in files),
        first.layout,
        first.table,
        sum(file.path.stat().st_size for file in files),
    )
    return log, first


def _escaped(path: str) -> str:
    """Return a path in which nothing is a pattern to Hadoop."""
    return re.sub(r"([{}\[\]*?\\])", r"\\\1", path)


def _elsewhere(session: Any, given: Sequence[str], settings: Settings, scratch: Path) -> tuple[Log, Raw]:
    listing = session.read.format("binaryFile").option("recursiveFileLookup", "true")
    rows: list[Any] = []
    for path in given:
        rows += sorted(
            listing.load(_escaped(path)).select("path", "length").collect(), key=lambda row: row.path
        )
    rows = [row for row in rows if row.length]
    if not rows:
        raise PrepareError(f"{', '.join(given)}: there is no file with content")
    paths = [_escaped(row.path) for row in rows]
    parquet = [bool(re.search(r"\.(parquet|pq)\Z", row.path, re.I)) for row in rows]
    if any(parquet) and not all(parquet):
        raise PrepareError("the log's files have several formats: Parquet, and text")
    head = scratch / _PACKED.sub("", Path(rows[0].path).name)
    if parquet[0]:
        _same_columns(session, paths, [row.path for row in rows])
        pq.write_table(session.read.parquet(paths[0]).limit(HEAD).toArrow(), head)
    else:
        lines = session.read.option("lineSep", "\n").text(paths[0]).limit(HEAD).collect()
        head.write_text("".join(f"{line.value}\n" for line in lines), encoding="utf-8", newline="")
    first = Raw(head, settings, settings.columns)
    same = {place: place for place in range(first.width)}
    log = Log(
        first.format,
        tuple(row.path for row in rows),
        tuple(paths),
        (same,) * len(rows),
        first.layout,
        Table(rows[0].path, first.names, first.width),
        sum(row.length for row in rows),
    )
    return log, first


def _same_columns(session: Any, paths: Sequence[str], names: Sequence[str]) -> None:
    """Raises PrepareError for files that lack columns of the first, which Spark would take for nulls."""
    wanted = session.read.parquet(paths[0]).columns
    faults = []
    for path, name in zip(paths[1:], names[1:], strict=True):
        lacking = set(wanted) - set(session.read.parquet(path).columns)
        if lacking:
            faults.append(f"{name}: it has no column `{', '.join(sorted(lacking))}`, and {names[0]} has")
    if faults:
        raise PrepareError("\n".join(faults))
