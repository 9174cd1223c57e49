"""A log becomes a folder of examples, on Spark.

Promises: the examples are those that one machine makes, in several files a part (`train/part-00000.parquet`),
each in the order of time. The folder is there as a whole or not at all.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from specc.prepare.folder import WORK, input_of, replaced, write_record
from specc.prepare.labels import first_line
from specc.prepare.mapped import Mapped, map_all
from specc.prepare.mapping import columns_alone
from specc.prepare.output import Written
from specc.prepare.raw import Raw, open_files
from specc.prepare.reading import LINES
from specc.prepare.run import MEMORY, Prepared, Progress
from specc.prepare.settings import Settings, bytes_of
from specc.prepare.settle import (
    ALL_EVENTS,
    POPULARITY,
    beyond,
    missing_negatives,
    missing_values,
    odd_labels,
    settled,
)
from specc.prepare.spark import writing
from specc.prepare.spark.files import Log, find, is_remote
from specc.prepare.spark.reading import LINE, PATH, ROW, START, TOLD, Columns, Told, clock_of, look, read
from specc.prepare.spark.session import conf_of, started, watched
from specc.prepare.spark.statements import EVENTS, known_of, moments_in
from specc.prepare.splits import parts_of
from specc.prepare.told import mapping_lines
from specc.prepare.totals import odd_events
from specc.prepare.whole import Global

# How much more a task takes at its peak than its events as rows: copies that are in order, keys as texts.
PEAK = 16
EVENT, INPUT = 40, 12  # bytes of an event as a row, and of each column of it


def prepare_on_spark(
    manifest: Mapping[str, Any],
    log: Sequence[str],
    directory: Path,
    settings: Settings,
    requests: bool = False,
    *,
    conf: tuple[str, ...] = (),
    memory: str = MEMORY,
    overwrite: bool = False,
    progress: Progress = lambda what, done, whole: None,
) -> Prepared:
    """Write the folders train and test (valid, requests), prepare.yaml and data.json to a folder.

    log: paths of this machine, or what Spark reads, such as s3a://…. conf: Spark's settings, `key=value`.
    memory: about how much a task may use; more parts are made of fewer users. Else as `prepare`.
    Raises PrepareError, DataError and FileError.
    """
    manifest, settings_of_spark = columns_alone(manifest), conf_of(conf)
    items = open_files([Path(settings.items)], settings, settings.item_columns) if settings.items else []
    progress("starting Spark", 0, None)
    with tempfile.TemporaryDirectory() as scratch, started(settings_of_spark) as session:
        found, first = find(session, log, settings, Path(scratch))
        mapped = map_all(manifest, found.table, items[0].table if items else None, settings)
        inputs = [Path(name) for name in found.names if not is_remote(name)] + [i.path for i in items]
        with replaced(directory, inputs, overwrite) as fresh:
            run = _Run(session, mapped, found, first, items, bytes_of(memory), progress)
            written, files = run.write(fresh, requests)
            said = settled(mapped, run.known.plan, found.table, items[0].table if items else None)
            inputs_said = [*found.inputs, *(input_of(item.path) for item in items)]
            write_record(fresh, manifest, said, inputs_said, files)
        return Prepared(
            tuple(replace(w, path=directory / w.name) for w in written),
            said,
            first_line(said["labels"], mapped.labels.negatives),
            run.clock,
            mapping_lines(said, set(mapped.sampled), mapped.together),
            tuple(run.notes),
            run.users,
            len(run.known.items),
            run.known.totals.events,
        )


class _Run:
    """One log on its way. notes: what there is to say."""

    def __init__(
        self,
        session: Any,
        mapped: Mapped,
        log: Log,
        first: Raw,
        items: Sequence[Raw],
        memory: int,
        progress: Progress,
    ) -> None:
        self.session, self.mapped, self.log = session, mapped, log
        self.memory, self.progress = memory, progress
        self.notes = list(mapped.notes)
        self.users = 0
        units, shapes = look(first, mapped, mapped.settings)
        self.columns = Columns.of(mapped, shapes)
        config = {
            **log.as_data(),
            "manifest": mapped.manifest,
            "settings": mapped.settings.model_dump(mode="json", exclude_none=True),
            "catalogue": None if not items else vars(items[0].table),
            "units": units,
            "shapes": shapes,
        }
        from pyspark import StorageLevel

        events = self._raw().mapInArrow(lambda batches: read(batches, config), self.columns.spark)
        self.everything = events.persist(StorageLevel.DISK_ONLY)
        with watched(session, "reading events", progress):
            told = self._told()
        self.clock = f"times are {clock_of(told.clocks.get(''))}"
        self.notes += told.notes(LINES) + odd_events(told.totals)
        self.notes += odd_labels(mapped, told.totals, self.columns.names)
        self.events = self.everything.where(f"{TOLD} is null").drop(TOLD)
        self.events.createOrReplaceTempView(EVENTS)
        with watched(session, "learning what was known when", progress):
            self.known, notes = known_of(session, mapped, log.table, items, self.columns, told)
        self.notes += notes + self._beyond(self.known)
        _ = self.known.plan  # faults of labels and behaviours, before more is done

    def _raw(self) -> Any:
        """Return the log as Spark reads it: lines, or columns by their places."""
        from pyspark.sql import functions as F

        path = F.col("_metadata.file_path").alias(PATH)
        if self.log.format != "parquet":
            lines = self.session.read.option("lineSep", "\n").text(list(self.log.paths))
            start = F.col("_metadata.file_block_start").alias(START)
            return lines.select(F.col(LINE), path, start)
        names = self.log.table.names or ()
        table = self.session.read.parquet(*self.log.paths)
        places = sorted(set(self.mapped.places.values()))
        columns = [F.col(f"`{names[place].replace('`', '``')}`").alias(f"p{place}") for place in places]
        row = F.col("_metadata.row_index").alias(ROW)
        return table.select(*columns, path, F.lit(0).cast("long").alias(START), row)

    def _told(self) -> Told:
        told = Told()
        for row in self.everything.where(f"{TOLD} is not null").select(TOLD).toLocalIterator():
            told.merge(row[0])
        told.settled(self.log.names).totals.checked()
        return told

    def _beyond(self, known: Global) -> list[str]:
        held = {"the items' keys": known.items.nbytes, "changes of items": 0}
        held["changes of items"] = sum(table.nbytes for table in known.known.values())
        if self.mapped.settings.sampling == "popularity":
            held[ALL_EVENTS] = POPULARITY * known.totals.events
        return beyond(held, self.memory)

    def write(self, fresh: Path, requests: bool) -> tuple[list[Written], dict[str, dict[str, Any]]]:
        """Write the parts to a folder; return what each has, and what data.json says of each file."""
        from pyspark import StorageLevel

        width = PEAK * (EVENT + INPUT * len(self.columns.names))
        context = self.session.sparkContext
        divided = max(math.ceil(self.known.totals.events * width / self.memory), context.defaultParallelism)
        by_user = self.events.repartition(divided, "user").persist(StorageLevel.DISK_ONLY)
        shared = context.broadcast(self.known.files())
        with watched(self.session, "learning when examples are", self.progress):
            counted = by_user.mapInArrow(lambda batches: writing.times(batches, shared), writing.COUNTED)
            counted = counted.groupBy("second").sum("count").withColumnRenamed("sum(count)", "count")
            found = counted.toArrow()
        mask = found.column("second").is_valid()
        users = found.filter(found.column("second").is_null()).column("count").to_pylist()
        self.users = int(users[0]) if users else 0
        self.everything.unpersist()
        self.known = replace(
            self.known, parts=tuple(parts_of(*moments_in(found.filter(mask)), self.mapped.settings))
        )
        shared.unpersist()
        shared = context.broadcast(self.known.files())
        work = fresh / WORK
        work.mkdir()
        (work / writing.TOKEN).touch()
        place = str(work.absolute())
        with watched(self.session, "making examples", self.progress):
            done = by_user.mapInArrow(
                lambda batches: writing.write(batches, shared, place, requests), writing.WRITTEN
            ).collect()
        made = _gathered(fresh, work, sorted((json.loads(row[0]) for row in done), key=lambda r: r["part"]))
        shutil.rmtree(work)
        written = [made.parts[part.name] for part in self.known.parts]
        self.notes += missing_negatives(written, self.mapped.labels.negatives)
        self.notes += missing_values(made.nulls)
        return written, made.files


class _Gathered:
    """What all tasks wrote."""

    def __init__(self) -> None:
        self.parts: dict[str, Written] = {}
        self.files: dict[str, dict[str, Any]] = {}
        self.nulls: Counter[str] = Counter()


def _gathered(fresh: Path, work: Path, tasks: Sequence[Mapping[str, Any]]) -> _Gathered:
    """Move the files of tasks to where they belong."""
    found = _Gathered()
    for task in tasks:
        found.nulls.update(task["nulls"])
        for file in task["files"]:
            part = fresh / file["name"]
            part.mkdir(exist_ok=True)
            name = f"part-{task['part']:05d}.parquet"
            os.replace(work / task["folder"] / file["path"], part / name)
            found.files[f"{file['name']}/{name}"] = {"rows": file["rows"], "sha256": file["sha256"]}
            if "requests" in file:
                _add(found.parts, file)
    return found


def _add(parts: dict[str, Written], file: Mapping[str, Any]) -> None:
    names = ("name", "path", "requests", "examples", "rows", "positives", "begin", "end")
    more = Written(**{name: file[name] for name in names})
    before = parts.get(more.name)
    if before is None:
        parts[more.name] = more
        return
    positives = [p for p in (before.positives, more.positives) if p is not None]
    parts[more.name] = replace(
        before,
        requests=before.requests + more.requests,
        examples=before.examples + more.examples,
        rows=before.rows + more.rows,
        positives=sum(positives) if len(positives) == 2 else None,
        begin=min(before.begin, more.begin),
        end=max(before.end, more.end),
    )
