"""A log becomes a folder of examples, from its first line to the last file."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from specc.prepare.build import COUNT, build
from specc.prepare.catalogue import Catalogue, read_catalogue
from specc.prepare.codes import Keys, Values
from specc.prepare.events import moments
from specc.prepare.facts import Facts, ranked
from specc.prepare.folder import WORK, files_of, input_of, replaced, write_record
from specc.prepare.labels import first_line
from specc.prepare.mapped import Mapped, map_all
from specc.prepare.mapping import columns_alone
from specc.prepare.output import Decoding, Stretches, Written, write_parts
from specc.prepare.raw import Raw, open_files
from specc.prepare.reading import Reader
from specc.prepare.scan import BEHAVIOUR_KEY, ITEM_KEY, USER_KEY, Scan, scan
from specc.prepare.settings import Settings, bytes_of
from specc.prepare.settle import (
    ALL_EVENTS,
    POPULARITY,
    beyond,
    inputs_of,
    label_codes,
    meanings,
    missing_negatives,
    missing_values,
    odd_labels,
    plan_of,
    settled,
    static_name,
)
from specc.prepare.splits import parts_of
from specc.prepare.told import mapping_lines
from specc.prepare.totals import odd_events, offset_of

Ints = npt.NDArray[np.int64]
MEMORY = "2GB"
# Bytes with random access at a time: about the size of a processor's caches. More would fit into memory, but
# cache misses would make each event slower.
CACHED = 1 << 24
Progress = Callable[[str, int, int | None], None]
"""Told what is done now, how much of it, and of how much: events, or requests."""


@dataclass(frozen=True)
class Prepared:
    """files: what was written. settings: all that was settled, as `prepare.yaml` says it. labels: whether
    they were read or made, in words. times: what they were read as.
    mapping: what each field, sequence and prediction takes, in words. notes: what was skipped and what looks
    wrong. users, items, events: how many the log has."""

    files: tuple[Written, ...]
    settings: Mapping[str, Any]
    labels: str
    times: str
    mapping: Sequence[tuple[str, str]]
    notes: tuple[str, ...]
    users: int
    items: int
    events: int


def prepare(
    manifest: Mapping[str, Any],
    log: Path | Sequence[Path],
    directory: Path,
    settings: Settings,
    requests: bool = False,
    *,
    memory: str = MEMORY,
    overwrite: bool = False,
    progress: Progress = lambda what, done, whole: None,
) -> Prepared:
    """Write train.parquet, test.parquet (valid.parquet, requests.parquet), prepare.yaml and data.json to a
    folder, which is there as a whole or not at all.

    manifest: of the spec's model. log: a file, several, or a folder of them. requests: also the test examples
    as requests with candidates, to score. memory: about how much may be used; it does not change what is
    written. overwrite: replace a folder that holds other files, too.
    Raises PrepareError, DataError and FileError.
    """
    manifest = columns_alone(manifest)
    files = open_files([log] if isinstance(log, Path) else log, settings, settings.columns)
    items = open_files([Path(settings.items)], settings, settings.item_columns) if settings.items else []
    mapped = map_all(manifest, files[0].table, items[0].table if items else None, settings)
    inputs = [file.path for file in (*files, *items)]
    with replaced(directory, inputs, overwrite) as fresh:
        work = fresh / WORK
        work.mkdir()
        run = Run(mapped, files, items, work, bytes_of(memory), progress)
        written = run.write(fresh, requests)
        shutil.rmtree(work)
        said = settled(mapped, run.plan, files[0].table, items[0].table if items else None)
        write_record(fresh, manifest, said, [input_of(path) for path in inputs], files_of(fresh, written))
    return Prepared(
        tuple(w.within(directory) for w in written),
        said,
        first_line(said["labels"], mapped.labels.negatives),
        run.times,
        mapping_lines(said, set(mapped.sampled), mapped.together),
        tuple(run.notes),
        len(run.scan.users.values),
        len(run.scan.items.values),
        run.scan.totals.events,
    )


class Run:
    """One log on its way. notes: what there is to say."""

    def __init__(
        self,
        mapped: Mapped,
        files: Sequence[Raw],
        items: Sequence[Raw],
        work: Path,
        memory: int,
        progress: Progress,
    ) -> None:
        self.mapped, self.work, self.memory, self.progress = mapped, work, memory, progress
        self.notes = list(mapped.notes)
        self.scan = self._scan(files)
        self.catalogue = self._catalogue(items)
        self.plan = plan_of(mapped, self.scan.totals, self.scan.names)
        self.values = {**self.scan.values, **self.catalogue.values}
        self.facts = self._facts()

    def _scan(self, files: Sequence[Raw]) -> Scan:
        mapped, inputs = self.mapped, inputs_of(self.mapped)
        asked = mapped.of_sampled
        by_item = asked if asked or mapped.settings.sampling == "popularity" else None
        reader = Reader(files, mapped.places, mapped.settings, ("user", "item"), files[0].names)
        found = scan(
            reader.pieces([USER_KEY, ITEM_KEY, *inputs], timed=True), inputs, mapped.settings, self.work,
            self.memory, by_item, lambda count: self.progress("reading events", count, None),
        )  # fmt: skip
        self.times = f"times are {reader.clock}"
        self.notes += reader.notes
        totals = found.totals
        self.notes += odd_events(totals) + self._beyond(found) + odd_labels(mapped, totals, found.names)
        return found

    def _beyond(self, found: Scan) -> list[str]:
        held = {"the users' keys": found.users.nbytes, "the items' keys": found.items.nbytes}
        held |= {f"the different values of `{i.name}`": values.nbytes for i, values in found.values.items()}
        if self.mapped.settings.sampling == "popularity":
            held[ALL_EVENTS] = POPULARITY * found.totals.events
        return beyond(held, self.memory)

    def _catalogue(self, items: Sequence[Raw]) -> Catalogue:
        if not items:
            return Catalogue()
        reader = Reader(items, self.mapped.item_places, self.mapped.settings, ("item",), items[0].names)
        found = read_catalogue(reader, self.mapped.of("items"), self.scan.items, str(items[0].path))
        self.notes += found.notes
        return found

    def _facts(self) -> Facts:
        found, settings, totals = self.scan, self.mapped.settings, self.scan.totals
        hashes = found.users.hashes()
        self.progress("learning what was known when", 0, None)
        kinds = found.values.get(BEHAVIOUR_KEY)
        return Facts(
            users=hashes,
            user_rank=ranked(hashes),
            items=len(found.items.values),
            pool=found.pool(settings.sampling, offset_of(settings), self.memory // 32),
            since=totals.since,
            span=totals.until - totals.since + 2,
            known=found.known(self.mapped.of_sampled, self.memory // 16),
            static={static_name(i): held for i, held in self.catalogue.held.items()},
            label_codes=label_codes(self.mapped, self.values),
            behaviours=kinds.names() if isinstance(kinds, Keys) else {},
        )

    # ------------------------------------------------------------------------------------ writing

    def groups(self) -> Iterator[npt.NDArray[Any]]:
        """Yield the events of some users at a time, by the users' hashes."""
        return self.scan.by_user.groups(min(self.memory // 32, CACHED))

    def write(self, folder: Path, requests: bool) -> tuple[Written, ...]:
        times, counts = self.times_of()
        parts = parts_of(times, counts, self.mapped.settings)
        most = min(self.memory // 8, 2 * CACHED)
        stretches = Stretches.of(self.work, times, counts, most // self._widest())
        done, whole = 0, int(counts.sum())
        for rows in self.groups():
            for table in build(rows, self.facts, self.plan):
                stretches.add(table)
                done += self._events(table)
                self.progress("making examples", done, whole)
        decoding = Decoding(self.plan, self.facts, self.scan.users, self._meanings())
        written = write_parts(folder, parts, self._told(stretches.ordered(), whole), decoding, requests)
        self.notes += missing_negatives(written, self.mapped.labels.negatives)
        self.notes += missing_values(decoding.nulls)
        return written

    def static_values(self, name: str) -> Values:
        """Return what the codes of a column of the file of items stand for."""
        return next(held for wanted, held in self.catalogue.values.items() if static_name(wanted) == name)

    def _meanings(self) -> dict[str, Values | None]:
        return meanings(self.mapped, self.plan, self.values, self.scan.users, self.scan.items)

    def times_of(self) -> tuple[Ints, Ints]:
        """Return every second that has requests, and how many."""
        found: list[tuple[Ints, Ints]] = []
        for rows in self.groups():
            times, counts = np.unique(moments(rows, self.facts, self.plan), return_counts=True)
            found.append((times, counts))
        times, place = np.unique(np.concatenate([t for t, _ in found]), return_inverse=True)
        counts = np.zeros(len(times), dtype=np.int64)
        np.add.at(counts, place, np.concatenate([c for _, c in found]))
        return times, counts

    def _widest(self) -> int:
        """Return the bytes that a request may have."""
        bounds = {axis["id"]: axis["bound"] for axis in self.mapped.manifest["axes"]}
        total = 64
        for field in self.mapped.manifest["fields"]:
            values = 1 + self.mapped.labels.negatives if field["role"] == "candidate" else 1
            for axis in field["axes"]:
                values *= bounds[axis]
            total += 8 * values
        return total

    def _told(self, tables: Iterator[pa.Table], whole: int) -> Iterator[pa.Table]:
        done = 0
        for table in tables:
            yield table
            done += self._events(table)
            self.progress("writing examples", done, whole)

    def _events(self, requests: pa.Table) -> int:
        """Return how many events some requests are made of."""
        return (
            len(requests) if self.plan.together is None else int(pc.sum(requests.column(COUNT)).as_py() or 0)
        )
