"""What is known of a whole log before the events of some users become examples: small, and without any user.

Promises: `Global` is all that `build` needs beside the events. It says values as they are, and no codes that
depend on the order in which a log was read: on one machine and on many it is the same. It is written as JSON
and Arrow, and read back as it was.
Memory: items, and of each day those that it had; 12 bytes an event for draws by popularity; every change of
an attribute of an item.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from specc.prepare.events import Plan
from specc.prepare.facts import Pool
from specc.prepare.mapped import Mapped, Table, map_all
from specc.prepare.mapping import Input
from specc.prepare.scan import columns_of
from specc.prepare.settings import Settings
from specc.prepare.settle import inputs_of, plan_of
from specc.prepare.splits import Part
from specc.prepare.totals import Totals, offset_of

Ints = npt.NDArray[np.int64]
JSON = "global.json"
ITEM, TIME, VALUE = "item", "time", "value"


@dataclass(frozen=True, eq=False)
class Global:
    """manifest: with a field for each column (`mapping.columns_alone`). log, catalogue: the columns of the
    log and of the file of items.

    texts: the columns of events (`user`, `item`, `c0`, …) whose keys are texts in some event. items: the keys
    of all items, by their hashes. pool: what may be drawn, its items by their places in `items`. known: by
    column of events, for each change its item (a place), second and value. static: of the file of items, a
    row an item, by what facts call the column. parts: which examples are trained on, and tested on.
    """

    manifest: Mapping[str, Any]
    settings: Settings
    log: Table
    catalogue: Table | None
    totals: Totals
    texts: frozenset[str]
    items: pa.Array
    pool: Pool
    known: Mapping[str, pa.Table]
    static: pa.Table
    parts: tuple[Part, ...] = ()

    @cached_property
    def mapped(self) -> Mapped:
        return map_all(self.manifest, self.log, self.catalogue, self.settings)

    @cached_property
    def names(self) -> dict[Input, str]:
        """By input of the log, what its column of events is called."""
        return columns_of(inputs_of(self.mapped))

    @cached_property
    def plan(self) -> Plan:
        return plan_of(self.mapped, self.totals, self.names)

    def files(self) -> dict[str, bytes]:
        """Return the same as files, by name."""
        said = {
            "manifest": self.manifest,
            "settings": self.settings.model_dump(mode="json", exclude_none=True),
            "log": asdict(self.log),
            "catalogue": None if self.catalogue is None else asdict(self.catalogue),
            "totals": self.totals.as_data(),
            "texts": sorted(self.texts),
            "parts": self.parts,
            "known": list(self.known),
        }
        tables = {
            "items": pa.table({ITEM: self.items}),
            "pool": pa.table({ITEM: self.pool.items, TIME: self.pool.times}),
            "static": self.static,
            **{f"known-{name}": table for name, table in self.known.items()},
        }
        found = {f"{name}.arrow": _packed(table) for name, table in tables.items()}
        return {JSON: json.dumps(said, ensure_ascii=False).encode(), **found}

    @staticmethod
    def of_files(files: Mapping[str, bytes]) -> Global:
        """Return what `files` had."""
        said = json.loads(files[JSON])
        pool, catalogue = _unpacked(files["pool.arrow"]), said["catalogue"]
        settings = Settings.model_validate(said["settings"])
        places, times = (pool.column(name).to_numpy() for name in (ITEM, TIME))
        return Global(
            said["manifest"],
            settings,
            Table(**said["log"]),
            None if catalogue is None else Table(**catalogue),
            Totals.of_data(said["totals"]),
            frozenset(said["texts"]),
            _unpacked(files["items.arrow"]).column(ITEM).combine_chunks(),
            Pool(places, times, offset_of(settings)),
            {name: _unpacked(files[f"known-{name}.arrow"]) for name in said["known"]},
            _unpacked(files["static.arrow"]),
            tuple(Part(*part) for part in said["parts"]),
        )

    def save(self, folder: Path) -> None:
        """Write a folder, whole or not at all. Raises FileError."""
        from specc_runtime.files import replace_folder

        owns = (".json", ".arrow")
        with replace_folder(folder, lambda name: name.endswith(owns)) as fresh:
            for name, content in self.files().items():
                (fresh / name).write_bytes(content)

    @staticmethod
    def load(folder: Path) -> Global:
        """Return what `save` wrote. Raises OSError."""
        return Global.of_files({path.name: path.read_bytes() for path in Path(folder).iterdir()})


def _packed(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return bytes(sink.getvalue())


def _unpacked(content: bytes) -> pa.Table:
    """Return a table of a single piece; it lies in the bytes, and no copy is made."""
    with pa.ipc.open_stream(pa.py_buffer(content)) as reader:
        return reader.read_all().combine_chunks()
