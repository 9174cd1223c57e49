"""A text file in parts of whole records, in bounded memory; plain or compressed.

Promises: a part begins and ends where a record does, also where quoted cells hold line ends; each knows its
first row and line, and the line of every row of it. Files are read from their beginning to their end; what is
cut off, damaged or no UTF-8 is a DataError with its line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from specc_runtime.encode.faults import DataError, Fault, Origin

SIZE = 8 << 20
LONGEST = 256 << 20  # bytes of one record
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2"}
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Chunk:
    """start, size: which bytes of the (decompressed) file. first, line: the number and line of its first row.

    rows: how many records it has, blank lines left out. lines: as in Origin.
    """

    file: Path
    data: bytes = field(repr=False)
    start: int
    size: int
    first: int
    line: int
    rows: int
    lines: npt.NDArray[np.int32] | None = field(repr=False)

    @property
    def origin(self) -> Origin:
        return Origin(str(self.file), self.first, self.line, self.lines)


@dataclass(frozen=True)
class Quoting:
    """How records are told apart: where a quote opens a cell, separators and line ends do not count."""

    separator: bytes | None


def compression_of(file: Path) -> str | None:
    """By the file's first bytes."""
    with file.open("rb") as raw:
        head = raw.read(10)
    if head[:3] == b"BZh" and head[4:10] != b"1AY&SY":
        return None
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)


def stream(file: Path) -> pa.NativeFile:
    return pa.input_stream(str(file), compression=compression_of(file))


def chunks(file: Path, quoting: Quoting, size: int = SIZE, *, header: bool = False) -> Iterator[Chunk]:
    """The parts of a file, its byte order mark left out. Raises DataError.

    header: the first record comes as a part of its own, and row 1 is the one after it.
    """
    try:
        with stream(file) as raw:
            yield from chunks_of(file, raw.read, quoting, size, header)
    except (OSError, pa.ArrowException) as error:
        raise DataError([unreadable(file, error)]) from None


def reread(chunk: Chunk) -> Chunk:
    """Return a part with its bytes, which had been released. Raises DataError if the file has changed."""
    try:
        with stream(chunk.file) as raw:
            left = chunk.start
            if compression_of(chunk.file) is None:
                raw.seek(left)
                left = 0
            while left:
                got = len(raw.read(min(left, SIZE)))
                if not got:
                    break
                left -= got
            data = raw.read(chunk.size)
    except (OSError, pa.ArrowException) as error:
        raise DataError([unreadable(chunk.file, error)]) from None
    if len(data) != chunk.size:
        raise DataError([Fault(str(chunk.file), "it has changed while it was read")])
    return replace(chunk, data=data)


def unreadable(file: Path, error: Exception) -> Fault:
    text = str(error).partition("\n")[0].partition(". Detail:")[0]
    if isinstance(error, PermissionError) or "Permission denied" in text:
        return Fault(str(file), "you may not read it", help="see its permissions")
    if isinstance(error, FileNotFoundError):
        return Fault(str(file), "there is no such file", help="check the path")
    return Fault(str(file), f"it cannot be read, and may be cut off: {text}")


def chunks_of(
    file: Path, read: Callable[[int], bytes], quoting: Quoting, size: int = SIZE, header: bool = False
) -> Iterator[Chunk]:
    """The parts of what is read, as of a file. read: gives at most so many bytes, none at the end."""
    rest, start, first, line = b"", 0, 1, 1
    begun = False
    wanted = size
    while True:
        more = read(wanted)
        data = rest + more if rest else more
        if not begun:
            begun = True
            if data.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise DataError(
                    [Fault(str(file), "it is UTF-16", help="convert it: iconv -f UTF-16 -t UTF-8")]
                )
            if data.startswith(b"\xef\xbb\xbf"):
                data, start = data[3:], 3
        if not data:
            return
        ends, newlines, opened = record_ends(data, quoting)
        if not more and opened is not None:
            at = line + int(np.searchsorted(newlines, opened))
            raise DataError(
                [
                    Fault(
                        str(file),
                        "the quote that opens here is not closed: the file is cut off, or the quote a letter",
                        line=at,
                        help="close it, or write a quote within a cell twice and the cell in quotes",
                    )
                ]
            )
        if not more and (not len(ends) or ends[-1] != len(data) - 1):
            ends = np.append(ends, len(data))
        if not len(ends):
            if len(data) > LONGEST:
                help = "is there a quote that is not closed, or a file of another kind?"
                what = f"a record begins here that has more than {LONGEST >> 20} MB"
                raise DataError([Fault(str(file), what, line=line, help=help)])
            rest, wanted = data, max(size, len(data))
            continue
        if header:
            starts = [0, *(ends[:-1] + 1).tolist()]
            found = (i for i, end in enumerate(ends.tolist()) if data[starts[i] : end].strip(b"\r"))
            ends = ends[: next(found, len(ends)) + 1]
        end = min(int(ends[-1]) + 1, len(data))
        whole, rest, wanted = data[:end], data[end:], size
        part = _chunk(file, whole, start, first, line, ends, newlines)
        if part.rows:
            yield part
        if not header:
            first += part.rows
        header = header and not part.rows
        start += end
        line += int(np.searchsorted(newlines, end))


def _chunk(file: Path, data: bytes, start: int, first: int, line: int, ends: Ints, newlines: Ints) -> Chunk:
    _check_text(file, data, line)
    begins = np.concatenate([np.zeros(1, dtype=np.int64), ends[:-1] + 1])
    lengths = ends - begins
    letters = np.frombuffer(data, dtype=np.uint8)
    short = np.flatnonzero(lengths <= 1)
    blank = short[(lengths[short] == 0) | (letters[np.minimum(begins[short], len(data) - 1)] == 13)]
    if len(blank):
        begins = np.delete(begins, blank)
    rows = len(begins)
    lines = np.searchsorted(newlines, begins)
    plain = rows == 0 or int(lines[-1]) == rows - 1
    own = None if plain else (lines - lines[0]).astype(np.int32)
    return Chunk(file, data, start, len(data), first, line + (int(lines[0]) if rows else 0), rows, own)


def _check_text(file: Path, data: bytes, line: int) -> None:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        at = line + data.count(b"\n", 0, error.start)
        bad = data[error.start : error.start + 4].hex(" ")
        help = "convert it, such as with: iconv -f LATIN1 -t UTF-8"
        raise DataError(
            [Fault(str(file), f"the bytes {bad} are no UTF-8 text", line=at, help=help)]
        ) from None


def record_ends(data: bytes, quoting: Quoting) -> tuple[Ints, Ints, int | None]:
    """Where records end, where lines end, and the place of a quote that is still open at the end."""
    letters = np.frombuffer(data, dtype=np.uint8)
    newlines = np.flatnonzero(letters == 10)
    if quoting.separator is None or b'"' not in data:
        return newlines, newlines, None
    quotes = np.flatnonzero(letters == 34)
    edges = np.zeros(256, dtype=bool)
    edges[[10, 13, quoting.separator[0]]] = True
    around = np.concatenate([[10], letters, [10]])
    before, after = edges[around[quotes]], edges[around[quotes + 2]]
    doubled = np.concatenate([[False], np.diff(quotes) == 1])
    opens, closes = slice(0, None, 2), slice(1, None, 2)
    # Usually every other quote opens a cell: it begins one, or follows the quote that it doubles.
    following = np.append(doubled[1:], False)
    last = len(quotes) and quotes[-1] == len(data) - 1
    tidy = (before[opens] | doubled[opens]).all() and (after[closes] | following[closes]).all()
    if not tidy or (last and len(quotes) % 2 == 0 and doubled[-1]):
        quotes = _opening_and_closing(data, quotes, edges)
    inside = np.searchsorted(quotes, newlines) % 2 == 1
    opened = int(quotes[-1]) if len(quotes) % 2 else None
    return newlines[~inside], newlines, opened


def _opening_and_closing(data: bytes, quotes: Ints, edges: npt.NDArray[np.bool_]) -> Ints:
    """Return the quotes that open and close cells, in turn; one inside an unquoted cell is a character."""
    kept: list[int] = []
    skip = -1
    opened = False
    for place in quotes.tolist():
        if place == skip:
            continue
        if opened:
            if data[place + 1 : place + 2] == b'"':
                skip = place + 1
                continue
            opened = False
        elif place == 0 or edges[data[place - 1]]:
            opened = True
        else:
            continue
        kept.append(place)
    return np.array(kept, dtype=np.int64)
