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
from specc.prepare.events import Events, Plan, behaviours_named, eligible
from specc.prepare.facts import Facts, ranked
from specc.prepare.folder import WORK, replaced, write_record
from specc.prepare.labels import constant, first_line
from specc.prepare.mapped import Mapped, Table, map_all
from specc.prepare.mapping import Input, columns_alone
from specc.prepare.output import Decoding, Stretches, Written, write_parts
from specc.prepare.raw import Raw, open_files
from specc.prepare.reading import Reader
from specc.prepare.scan import BEHAVIOUR_KEY, ITEM_KEY, USER_KEY, Scan, scan, thin_days
from specc.prepare.sequences import label_behaviours, map_sequences, unknown_behaviours
from specc.prepare.settings import PrepareError, Settings, bytes_of
from specc.prepare.splits import parts_of
from specc.prepare.told import mapping_lines

Ints = npt.NDArray[np.int64]
MEMORY = "2GB"
# Bytes with random access at a time: about the size of a processor's caches. More would fit into memory, but
# cache misses would make each event slower.
CACHED = 1 << 24
POPULARITY = 12  # bytes an event, for draws by popularity
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
    mapped = map_all(manifest, _table(files), _table(items) if items else None, settings)
    inputs = [file.path for file in (*files, *items)]
    with replaced(directory, inputs, overwrite) as fresh:
        work = fresh / WORK
        work.mkdir()
        run = _Run(mapped, files, items, work, bytes_of(memory), progress)
        written = run.write(fresh, requests)
        shutil.rmtree(work)
        settled = run.settled()
        write_record(fresh, manifest, settled, inputs, written)
    return Prepared(
        tuple(w.within(directory) for w in written),
        settled,
        first_line(settled["labels"], mapped.labels.negatives),
        run.times,
        mapping_lines(settled, set(mapped.sampled), mapped.together),
        tuple(run.notes),
        len(run.scan.users.values),
        len(run.scan.items.values),
        run.scan.events,
    )


class _Run:
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
        self.tables = (_table(files), _table(items) if items else None)
        self.mapped, self.work, self.memory, self.progress = mapped, work, memory, progress
        self.notes = list(mapped.notes)
        self.scan = self._scan(files)
        self.catalogue = self._catalogue(items)
        self.plan = self._plan()
        self.facts = self._facts()

    def _scan(self, files: Sequence[Raw]) -> Scan:
        mapped = self.mapped
        inputs = mapped.of("log") + ([BEHAVIOUR_KEY] if "behaviour" in mapped.places else [])
        inputs = list(dict.fromkeys(inputs))
        asked = mapped.of_sampled
        by_item = asked if asked or mapped.settings.sampling == "popularity" else None
        reader = Reader(files, mapped.places, mapped.settings, ("user", "item"))
        found = scan(
            reader.pieces([USER_KEY, ITEM_KEY, *inputs], timed=True), inputs, mapped.settings, self.work,
            self.memory, by_item, lambda count: self.progress("reading events", count, None),
        )  # fmt: skip
        self.times = f"times are {reader.clock}"
        self.notes += reader.notes
        self.notes += [f"{count:,} events {bound} are left out" for bound, count in found.left_out.items()]
        self.notes += thin_days(found.days) + self._beyond(found) + self._labels_lacking(found)
        return found

    def _labels_lacking(self, found: Scan) -> list[str]:
        """Return what is odd about labels: events without one, and predictions with one label for all."""
        notes = []
        for name, wanted in self.mapped.label_inputs.items():
            if absent := found.absent[wanted]:
                notes.append(
                    f"{absent:,} of {found.events:,} events have no `{wanted.name}`, the label of `{name}`"
                )
            least, most = found.ranges.get(wanted, (0.0, 1.0))
            if least == most:
                notes.append(f"warning: every label of `{name}` in column `{wanted.name}` is {least:g}")
        return notes

    def _beyond(self, found: Scan) -> list[str]:
        """Return a warning of what is kept of the log, where that takes more than there may be."""
        held = {"the users' keys": found.users.nbytes, "the items' keys": found.items.nbytes}
        held |= {f"the different values of `{i.name}`": values.nbytes for i, values in found.values.items()}
        if self.mapped.settings.sampling == "popularity":
            held["all events, to sample by popularity,"] = POPULARITY * found.events
        total, most = sum(held.values()), max(held, key=lambda name: held[name])
        if total <= self.memory:
            return []
        return [
            f"warning: {total / 2**30:,.1f} GB are held at once, --memory is {self.memory / 2**30:,.1f} GB; "
            f"{most} take {held[most] / 2**30:,.1f}. What belongs to items, such as vectors, takes less in a "
            "file of items (--items)"
        ]

    def _catalogue(self, items: Sequence[Raw]) -> Catalogue:
        if not items:
            return Catalogue()
        reader = Reader(items, self.mapped.item_places, self.mapped.settings, ("item",))
        found = read_catalogue(reader, self.mapped.of("items"), self.scan.items, str(items[0].path))
        self.notes += found.notes
        return found

    def _plan(self) -> Plan:
        """Settle what is read. Raises PrepareError for behaviours that the log does not have."""
        mapped, kinds = self.mapped, self.scan.kinds
        manifest, settings = mapped.manifest, mapped.settings
        spaces = map_sequences(manifest, mapped.axes, kinds, mapped.labelled, settings)
        sources = dict(mapped.labels.sources)
        if len(sources) > 1:
            for name, source in sources.items():
                if source.how == "made" and name not in settings.labels:
                    sources[name] = source.model_copy(update={"behaviours": label_behaviours(name, kinds)})
        labels = type(mapped.labels)(sources, mapped.labels.negatives)
        faults = unknown_behaviours(behaviours_named(settings, spaces, labels), kinds)
        faults += constant(labels, {p["name"]: p.get("among", p["kind"]) for p in manifest["predictions"]})
        faults += self._labels_out_of_range()
        if faults:
            raise PrepareError("\n".join(faults))
        names = self.scan.names
        return Plan(
            manifest, settings, mapped.fields, spaces, labels,
            columns={path: names[i] for path, i in mapped.inputs.items() if i.file == "log"},
            static={path: _static(i) for path, i in mapped.inputs.items() if i.file == "items"},
            groups={s: names[i] for s, i in mapped.group_inputs.items() if i.file == "log"},
            group_static={s: _static(i) for s, i in mapped.group_inputs.items() if i.file == "items"},
            label_columns={name: names[i] for name, i in mapped.label_inputs.items()},
            together=tuple(names[i] for i in mapped.shared) if mapped.together else None,
        )  # fmt: skip

    def _labels_out_of_range(self) -> list[str]:
        faults = []
        for prediction in self.mapped.manifest["predictions"]:
            wanted = self.mapped.label_inputs.get(prediction["name"])
            if wanted is None or prediction["kind"] in ("real", "class") or prediction.get("condition"):
                continue
            least, most = self.scan.ranges.get(wanted, (0.0, 1.0))
            if least < -1 or most > 1:
                faults.append(
                    f"`{prediction['name']}` is binary, and its labels in column `{wanted.name}` go from "
                    f"{least:g} to {most:g}; "
                    f"say in the spec which are positive: `predict {prediction['name']}: binary from "
                    f'"{wanted.name}" >= …`'
                )
        return faults

    def _facts(self) -> Facts:
        found, settings = self.scan, self.mapped.settings
        hashes = found.users.hashes()
        self.progress("learning what was known when", 0, None)
        return Facts(
            users=hashes,
            user_rank=ranked(hashes),
            items=len(found.items.values),
            pool=found.pool(settings.sampling, round(settings.utc_offset * 3600), self.memory // 32),
            since=found.since,
            span=found.until - found.since + 2,
            known=found.known(self.mapped.of_sampled, self.memory // 16),
            static={_static(i): held for i, held in self.catalogue.held.items()},
            label_codes=self._label_codes(),
            behaviours={str(b): code for code, b in enumerate(found.behaviours.values.to_pylist())},
        )

    def _label_codes(self) -> dict[str, int]:
        codes = {}
        for prediction in self.mapped.manifest["predictions"]:
            wanted = self.mapped.label_inputs.get(prediction["name"])
            value = (prediction.get("condition") or {}).get("value")
            if wanted is not None and isinstance(value, str):
                held = self.scan.values[wanted]
                assert isinstance(held, Keys)
                codes[prediction["name"]] = int(held.known(pa.array([value]))[0])
        return codes

    # ------------------------------------------------------------------------------------ writing

    def groups(self) -> Iterator[npt.NDArray[Any]]:
        """Yield the events of some users at a time, by the users' hashes."""
        return self.scan.by_user.groups(min(self.memory // 32, CACHED))

    def write(self, folder: Path, requests: bool) -> tuple[Written, ...]:
        times, counts = self._times()
        parts = parts_of(times, counts, self.mapped.settings)
        most = min(self.memory // 8, 2 * CACHED)
        stretches = Stretches.of(self.work, times, counts, most // self._widest())
        done, whole = 0, int(counts.sum())
        for rows in self.groups():
            for table in build(rows, self.facts, self.plan):
                stretches.add(table)
                done += self._events(table)
                self.progress("making examples", done, whole)
        decoding = self._decoding()
        written = write_parts(folder, parts, self._told(stretches.ordered(), whole), decoding, requests)
        self._note_missing(written)
        self.notes += [
            f"warning: `{path}` is null {count:,} times, and takes no null: `specc train` refuses it; give "
            "the field a default in the spec, such as `default = 0`, or fill the log in"
            for path, count in decoding.nulls.items()
        ]
        return written

    def _times(self) -> tuple[Ints, Ints]:
        """Return every second that has requests, and how many."""
        found: list[tuple[Ints, Ints]] = []
        for rows in self.groups():
            if self.plan.settings.history_min:
                events = Events(rows, self.facts, self.plan)
                moments = events.time[events.examples]
            else:
                moments = rows["time"][eligible(rows, self.plan, self.facts)]
            times, counts = np.unique(moments, return_counts=True)
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

    def _decoding(self) -> Decoding:
        values: dict[str, Values | None] = {}
        for field in self.mapped.manifest["fields"]:
            path, source = field["path"], self.mapped.fields[field["path"]]
            wanted = self.mapped.inputs.get(path)
            if wanted is not None:
                values[path] = (self.scan.values if wanted.file == "log" else self.catalogue.values)[wanted]
            else:
                values[path] = {"user": self.scan.users, "item": self.scan.items}.get(str(source.attribute))
        for name, label in self.plan.labels.sources.items():
            wanted = self.mapped.label_inputs.get(name)
            held = self.scan.values[wanted] if wanted is not None else None
            values[name] = (
                self.scan.items if label.how == "item" else held if isinstance(held, Keys) else None
            )
        return Decoding(self.plan, self.facts, self.scan.users, values)

    def _note_missing(self, written: Sequence[Written]) -> None:
        negatives = self.mapped.labels.negatives
        missing = sum(w.requests * (1 + negatives) - w.examples for w in written)
        if negatives and missing:
            self.notes.append(
                f"{missing:,} negative{'s' * (missing != 1)} could not be found: "
                "nothing else had come by then, or everything "
                "was taken in "
                "those sessions"
            )

    def settled(self) -> dict[str, Any]:
        """Return the settings with all that was found."""
        mapped = self.mapped
        names = {
            "columns": mapped.places,
            "item_columns": mapped.item_places if mapped.settings.items else {},
        }
        return mapped.settings.model_copy(
            update={
                **{key: self._named(key, places) for key, places in names.items()},
                "negatives": mapped.labels.negatives,
                "request": mapped.request.name if mapped.request is not None else None,
                "fields": dict(mapped.fields),
                "spaces": dict(self.plan.spaces),
                "labels": dict(self.plan.labels.sources),
            }
        ).model_dump(mode="json", exclude_none=True)

    def _named(self, key: str, places: Mapping[str, int]) -> dict[str, int | str]:
        """Return the columns that are not called by their own names."""
        table = self.tables[0 if key == "columns" else 1]
        said = getattr(self.mapped.settings, key)
        if table is None:
            return {}
        names = table.names or ()
        once = {name for name in names if names.count(name) == 1}
        return {
            name: names[place] if names and names[place] in once else place
            for name, place in places.items()
            if not names or names[place] != name or name in said
        }


def _table(files: Sequence[Raw]) -> Table:
    return Table(str(files[0].path), files[0].names, files[0].width)


def _static(wanted: Input) -> str:
    """Return how facts call a column of the file of items."""
    return f"{wanted.kind} {int(wanted.many)} {wanted.name}"
