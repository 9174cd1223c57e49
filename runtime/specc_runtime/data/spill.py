"""Tables kept in a temporary file without a name: what text was parsed to, so that it is parsed once.

Promises: the file goes when the process ends, however it ends, and no other process sees it. It is in the
folder that AREC_CACHE names, else in ~/.cache/arec, else where temporary files are; it leaves a gigabyte of
that disk free. Where it cannot be written there is an OSError, and what was written before can be read.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from pyarrow import ipc

RESERVE = 1 << 30  # bytes of the disk that are left free

Place = tuple[int, int]
"""Offset and size."""


class Spill:
    def __init__(self) -> None:
        """Raises OSError if there is no folder for it."""
        last: OSError | None = None
        for folder in _folders():
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=folder) as file:
                    self._file = os.dup(file.fileno())
            except OSError as error:
                last = error
                continue
            weakref.finalize(self, os.close, self._file)
            self.folder, self._end = folder, 0
            return
        raise last or OSError("there is no folder for temporary files")

    def write(self, table: pa.Table) -> Place:
        sink = pa.BufferOutputStream()
        with ipc.new_stream(sink, table.schema, options=ipc.IpcWriteOptions(compression="lz4")) as writer:
            writer.write_table(table)
        data = memoryview(sink.getvalue())
        if shutil.disk_usage(self.folder).free < RESERVE + len(data):
            raise OSError(errno.ENOSPC, "the disk is almost full")
        at, done = self._end, 0
        while done < len(data):
            done += os.pwrite(self._file, data[done:], at + done)
        self._end += len(data)
        return at, len(data)

    def read(self, place: Place) -> pa.Table:
        at, size = place
        # By position, as processes that were forked share the file.
        data = os.pread(self._file, size, at)
        return ipc.open_stream(pa.py_buffer(data)).read_all()


def _folders() -> Iterator[Path]:
    if named := os.environ.get("AREC_CACHE"):
        yield Path(named)
        return
    if cache := os.environ.get("XDG_CACHE_HOME"):
        yield Path(cache) / "arec"
    elif home := os.environ.get("HOME"):
        yield Path(home) / ".cache" / "arec"
    yield Path(tempfile.gettempdir())
