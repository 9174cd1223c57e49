"""Examples looked over before anything is trained: one pass, in a fixed amount of memory.

Promises: what the encoders refuse is found by the encoders themselves, part by part, so that data without a
fault here can be trained on; all else is counted on the way.
Leaves to others: reading files (data), what to make of the figures (findings).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from specc.survey.columns import Axis, Column, joined
from specc.survey.sketch import Distinct, Floats, Ints, Spread
from specc_runtime import data, labelled
from specc_runtime.data import Dialect, Typing, columns_of, find_parts, names_of, read_tables
from specc_runtime.data.files import Gathered, Reader
from specc_runtime.data.json_lines import with_absent
from specc_runtime.encode import DataError, Encoders, Fault, Origin
from specc_runtime.encode.agree import TOGETHER
from specc_runtime.encode.clock import Clock
from specc_runtime.encode.faults import PartlyRead, Unfit, names_in
from specc_runtime.encode.labels import of_requests
from specc_runtime.train import Recipe, TrainingError
from specc_runtime.train.census import unasked
from specc_runtime.train.choice import check
from specc_runtime.train.session import USER

MOST_FAULTS = 200  # kinds of faults that are kept apart
ABSENT = "there is no such column"
ROWS = 1 << 14  # rows looked over at once


@dataclass(eq=False)
class Part:
    """What was seen of one part of the data ("train", "valid", "test", or "data").

    rows: looked over. whole: they are all. names: the columns of its first file. columns: by field path.
    labels: by prediction. examples: the rows' hashes. faults: as readers and encoders name them, by column
    and kind. told: what else the reader had to say. read: columns that the model reads. clocks, times: of
    columns that it does not read and that have times. grouped: something groups its examples. kinds: by
    prediction the labels that there are, of each half (up to 0.5, above it) one. unasked: by choice among a
    request's candidates, requests with none that was chosen.
    """

    name: str
    files: Sequence[Path]
    names: tuple[str, ...] = ()
    rows: int = 0
    whole: bool = True
    columns: dict[str, Column] = field(default_factory=dict)
    labels: dict[str, Column] = field(default_factory=dict)
    examples: Distinct = field(default_factory=Distinct)
    faults: dict[tuple[str | None, str], Fault] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    read: frozenset[str] = frozenset()
    clocks: dict[str, Clock] = field(default_factory=dict)
    times: dict[str, Spread] = field(default_factory=dict)
    grouped: bool = False
    kinds: dict[str, Tensor] = field(default_factory=dict)
    unasked: dict[str, int] = field(default_factory=dict)

    def met(self, names: Iterable[str], before: dict[str, None]) -> None:
        """Take in the columns that some rows of JSON lines have. before: those of the rows before them, which
        grow by them. A column that rows lack is null there if any other row of the file has it."""
        for name in set(names) - set(before):
            for kind in [kind for kind in self.faults if kind[0] == name and kind[1].startswith(ABSENT)]:
                del self.faults[kind]
        before.update(dict.fromkeys(names))

    def note(self, faults: Iterable[Fault]) -> None:
        """Keep faults, those of one kind as one."""
        for fault in faults:
            kind = (fault.column, re.sub(r"`[^`]*`|'[^']*'|\"[^\"]*\"|[-+]?\d[\d.,e+-]*", "…", fault.what))
            known = self.faults.get(kind)
            if known is not None:
                self.faults[kind] = replace(known, more=known.more + 1 + fault.more)
            elif len(self.faults) < MOST_FAULTS:
                self.faults[kind] = fault


def parts_of(paths: Iterable[Path]) -> list[Part]:
    """Return the parts that `specc train` would take some files and folders for. Raises DataError."""
    found = find_parts(paths)
    divided = found.valid or found.test
    given = {"train": found.train, "valid": found.valid, "test": found.test}
    if not divided:
        return [Part("data", found.train)]
    return [Part(name, files) for name, files in given.items() if files]


def look(
    part: Part,
    manifest: Mapping[str, Any],
    encoders: Encoders,
    dialect: Dialect,
    trained: bool,
    limit: int | None,
) -> Iterator[int]:
    """Look over a part, and give after each piece how many rows have been seen.

    encoders: those of a trained model, or blank ones. limit: rows to stop after.
    """
    bounds = {axis["id"]: axis["bound"] for axis in manifest["axes"]}
    columns, listed = columns_of(manifest), of_requests(manifest)
    for entry in manifest["fields"]:
        vocabulary = encoders.vocabularies.get(entry["vocabulary"]) if trained else None
        kind = columns[entry["column"]].kind
        of_candidate = listed and entry["role"] == "candidate"
        part.columns[entry["path"]] = Column.of(entry, kind, bounds, vocabulary, of_candidate)
    for prediction in manifest["predictions"]:
        kind = columns[prediction["column"]].kind
        part.labels[prediction["name"]] = Column(
            prediction["name"], prediction["column"], "label", {}, [Axis("candidates", None)] * listed, kind,
            listed=listed,
        )  # fmt: skip
    try:
        part.names = tuple(names_of(part.files[0], dialect))
    except DataError as error:
        part.note(error.faults)
        return
    keys = _groups(part, manifest)
    part.grouped = keys is not None or listed
    if keys is not None:
        columns.setdefault(keys, data.Column("key"))
    part.read = frozenset(columns)
    part.clocks = {name: Clock() for name in part.names if name not in columns and is_time(name)}
    wanted = {**{name: data.Column("as it is") for name in part.clocks}, **columns}
    for table, origin, bad in _tables(part, wanted, dialect):
        for at in range(0, len(table), ROWS):
            piece = table.slice(at, ROWS)
            left = len(piece) if limit is None else min(limit - part.rows, len(piece))
            _add(part, manifest, encoders, piece.slice(0, left), origin.after(at), keys, bad)
            yield part.rows
            part.whole = left == len(piece)
            if not part.whole:
                return
    if not part.rows and not part.faults:
        part.note([Fault(", ".join(map(str, part.files)), "there is no example in it")])


def _tables(
    part: Part, columns: Mapping[str, data.Column], dialect: Dialect
) -> Iterator[tuple[pa.Table, Origin, set[str | None]]]:
    """Yield the rows of a part, in those of the columns that can be read, and the names of the others. What
    cannot be read at all is noted, too, and what follows goes on."""
    typing = Typing(dialect)
    for file in part.files:
        try:
            reader = Reader(file, columns, typing)
            met: dict[str, None] = {}
            for some in reader.parts():
                bad: set[str | None] = set()
                try:
                    table = reader.read(some)
                except PartlyRead as error:
                    part.note(error.faults)
                    table, bad = error.table, {fault.column for fault in error.faults}
                except DataError as error:
                    part.note(error.faults)
                    continue
                if reader.names is None:
                    part.met(names_in(table), met)
                    table = with_absent(table, [name for name in met if name not in bad], columns)
                yield table, some.origin, bad
        except DataError as error:
            part.note(error.faults)
    part.told += typing.notes


def learnt_labels(
    part: Part, manifest: Mapping[str, Any], dialect: Dialect, limit: int | None
) -> tuple[Mapping[str, tuple[str, ...]], tuple[Fault, ...]]:
    """Find the classes by name that a part's labels have, as training learns them, and the faults in
    that."""
    wanted = {p["column"] for p in manifest["predictions"]}
    columns = {name: column for name, column in columns_of(manifest).items() if name in wanted}

    def tables() -> Iterator[tuple[pa.Table, Origin]]:
        left = limit
        with Gathered():  # they are found again with all columns
            for table, origin in read_tables(part.files, columns, dialect):
                yield (table if left is None else table.slice(0, left)), origin
                left = None if left is None else left - len(table)
                if left is not None and left <= 0:
                    return

    try:
        return Encoders.learn({**manifest, "fields": [], "crosses": []}, tables()).classes, ()
    except DataError as error:
        return {}, error.faults


def told_of_labels(parts: Sequence[Part], learnt: Sequence[Fault]) -> None:
    """Put the faults that training finds in the labels of all rows together in place of what was found of the
    same labels row by row. That a sample has no label says nothing of the rest."""
    first = parts[0]
    empty = {c.name for c in first.labels.values() if c.nulls == c.values and not first.whole}
    learnt = [fault for fault in learnt if fault.column not in empty]
    columns = {fault.column for fault in learnt}
    for part in parts:
        part.faults = {k: f for k, f in part.faults.items() if f.column not in columns or f.help == TOGETHER}
    first.note(learnt)


def told_of_recipe(parts: Sequence[Part], manifest: Mapping[str, Any]) -> None:
    """Note what training refuses of the recipe: a metric that the validation data cannot have. That a sample
    has no labels of some kind says nothing of the rest."""
    for part in parts:
        if part.name != "valid" or part.faults:
            continue
        try:
            check(Recipe.of(manifest).metric, manifest, part.grouped, [part.kinds] if part.whole else None)
        except TrainingError as error:
            part.note([Fault(", ".join(map(str, part.files)), str(error))])


def is_time(name: str) -> bool:
    """Return whether a column that the model does not read is taken for times, by its name."""
    words = re.split(r"[^a-z]+", name.lower())
    return any(word in ("time", "timestamp", "ts", "date", "datetime", "day") for word in words)


def _groups(part: Part, manifest: Mapping[str, Any]) -> str | None:
    """Return the column whose values group the examples that a model is evaluated on."""
    group = manifest["train"].get("group")
    if part.name not in ("valid", "test"):
        return None
    if group is None:
        return USER if USER in part.names and not of_requests(manifest) else None
    field = next((f for f in manifest["fields"] if f["path"] == group), None)
    options = (group,) if field is None else (field["column"], field["fallback"])
    return next((name for name in options if name in part.names), None)


def _see_times(part: Part, table: pa.Table) -> None:
    for name, clock in list(part.clocks.items()):
        if name not in table.column_names:
            continue
        try:
            found = clock.read(table.column(name).combine_chunks())
        except Unfit:
            del part.clocks[name]
            part.times.pop(name, None)
            continue
        part.times.setdefault(name, Spread()).add(found.drop_null().to_numpy().astype(np.float64))


def _see_kinds(part: Part, prediction: str, labels: Tensor) -> None:
    known = torch.cat([part.kinds.get(prediction, labels[:0]), labels[labelled(labels)]])
    part.kinds[prediction] = torch.stack([known.min(), known.max()]) if len(known) else known


def _add(
    part: Part,
    manifest: Mapping[str, Any],
    encoders: Encoders,
    table: pa.Table,
    origin: Origin,
    keys: str | None,
    bad: set[str | None],
) -> None:
    labels: Floats | None = None
    candidates: Ints | None = None
    _see_times(part, table)
    try:
        batch = encoders.encode(table, origin, keys=keys)
        for prediction in manifest["predictions"]:
            _see_kinds(part, prediction["name"], batch.labels[prediction["name"]])
        given = [batch.labels[p["name"]].double().numpy() for p in manifest["predictions"]]
        labels = np.stack(given, 1) if given else None
        if batch.candidates is not None:
            candidates = batch.candidates.numpy()
            for name in (p["name"] for p in manifest["predictions"] if p.get("among") == "request"):
                part.unasked[name] = part.unasked.get(name, 0) + unasked(batch, name)
    except DataError as error:
        part.note(fault for fault in error.faults if fault.column not in bad)
    part.rows += len(table)
    names = set(table.column_names)
    hashes = []
    for place, entry in enumerate((*manifest["fields"], *manifest["predictions"])):
        column = part.columns[entry["path"]] if "path" in entry else part.labels[entry["name"]]
        name = next((n for n in (entry["column"], entry.get("fallback")) if n in names), None)
        if name is None:
            column.absent |= entry["column"] not in bad
            continue
        column.name = name
        found = column.add(table.column(name), labels, candidates)
        if found is not None:
            hashes.append((place, found))
    part.examples.add(joined(hashes, len(table)))
