"""From tables to batches: every field of a model's manifest, with what was learned from the training data.

Promises: all faults of a table are found before one error names them. The same table gives the same batch.
With `candidates` a table has one request a row, and the columns of candidates hold one more list: the
candidates of the request.
Leaves to others: reading files (data), what the batch is for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from specc_runtime.batch import NO_KEY, Bag, Batch, Schema
from specc_runtime.encode.columns import Ints, Packed
from specc_runtime.encode.crosses import Member, crossed
from specc_runtime.encode.earlier import as_before
from specc_runtime.encode.faults import (
    SHOWN,
    DataError,
    Fault,
    Origin,
    Unfit,
    texts_in,
    together,
)
from specc_runtime.encode.kinds import (
    Moments,
    Scale,
    filled,
    keys_of,
    measured,
    numbers_of,
    refuse,
    scaled,
    single,
    table_rows,
)
from specc_runtime.encode.labels import Labels, labels_of, of_requests, row_labels
from specc_runtime.encode.reading import Reading, column_of, encoding_of
from specc_runtime.encode.vocabulary import Learnt, Tally, Vocabulary, hashed

KEYS = "@keys"
"""Among a batch's labels: for each example the hash of a column that groups them, int64 [B]."""


@dataclass(frozen=True, eq=False)
class Encoders:
    """Turns tables into batches, with what was learned from the training data for it.

    vocabularies: by the manifest's names of them. scales: by path of the number fields that need one.
    classes: by class prediction whose labels are texts, what each class is called. format: that of the
    file they were read from.
    """

    manifest: Mapping[str, Any]
    vocabularies: Mapping[str, Vocabulary] = field(default_factory=dict)
    scales: Mapping[str, Scale] = field(default_factory=dict)
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    format: int = 2

    @cached_property
    def schema(self) -> Schema:
        """That of the batches."""
        return Schema.of(self.manifest)

    @staticmethod
    def learn(manifest: Mapping[str, Any], tables: Iterable[tuple[pa.Table, Origin]]) -> Encoders:
        """Learn vocabularies, scales and classes from the training data, in one pass.

        Labels are read where the tables have them. Raises DataError, with the faults of all tables up to
        a bound.
        """
        tallies: dict[str, Tally] = {}
        moments: dict[str, Moments] = {}
        labels: dict[str, tuple[Labels, Origin]] = {}
        faults: list[Fault] = []
        for table, origin in tables:
            read = Reading(manifest, table, origin, of_requests(manifest))
            for entry, packed in read.fields():
                of, default = encoding_of(entry), entry["options"].get("default")
                with read.noting(entry, packed):
                    if entry["vocabulary"] is not None:
                        tally = tallies.setdefault(entry["vocabulary"], Tally())
                        tally.add(keys_of(packed.values, of[1].get("default", default)))
                    elif _needs_scale(entry):
                        measures = measured(entry["options"], packed.values)
                        moments.setdefault(entry["path"], Moments()).add(measures, default)
            for prediction in manifest["predictions"]:
                if prediction["column"] in read.names:
                    with read.noting(prediction, None):
                        values = read.labels(prediction)
                        with read.noting(prediction, values):
                            known = labels.setdefault(prediction["name"], (Labels(prediction), origin))
                            known[0].add(values.values)
                            if name := (prediction.get("rows") or {}).get("vocabulary"):
                                tallies.setdefault(name, Tally()).add(
                                    keys_of(values.values, None).drop_null()
                                )
            faults += read.faults
            if len(faults) >= SHOWN:
                break
        if faults:
            raise DataError(together(faults))
        return Encoders(
            manifest,
            {
                name: tallies.get(name, Tally()).vocabulary(of["max"], of.get("min_count", 1))
                for name, of in vocabularies_of(manifest).items()
            },
            {
                entry["path"]: moments.get(entry["path"], Moments()).scale(entry["options"]["scale"])
                for entry in manifest["fields"]
                if _needs_scale(entry)
            },
            _classes(labels.values()),
        )

    def vocabulary(self, name: str) -> Vocabulary:
        """The vocabulary of a table ("items"), or of a field with a table of its own ("user.id").

        Raises KeyError, with the nearest name there is, for any other.
        """
        if name not in self.vocabularies:
            close = get_close_matches(name, self.vocabularies, 1)
            known = f"did you mean `{close[0]}`?" if close else f"there are {', '.join(self.vocabularies)}"
            raise KeyError(
                f"no table `{name}` has a vocabulary" + (f"; {known}" if self.vocabularies else "")
            )
        return self.vocabularies[name]

    def notes(self) -> list[str]:
        """Return which keys vocabularies left out and why, a sentence for each table that left out some."""
        found = ((name, v.learnt) for name, v in self.vocabularies.items())
        return [note for name, learnt in found if learnt is not None for note in _notes(name, learnt)]

    def columns(self, present: Iterable[str], labels: bool = True) -> list[str]:
        """Return which of a table's columns the model reads."""
        names = set(present)
        wanted = [c for f in self.manifest["fields"] if (c := column_of(f, names)) is not None]
        weights = (f["options"].get("weight") for f in self.manifest["fields"])
        wanted += [column for column in weights if column in names]
        if labels:
            wanted += [p["column"] for p in self.manifest["predictions"] if p["column"] in names]
        return list(dict.fromkeys(wanted))

    def encode(
        self,
        table: pa.Table,
        origin: Origin,
        *,
        candidates: bool = False,
        labels: bool = True,
        keys: str | None = None,
    ) -> Batch:
        """The batch of a table's rows.

        candidates: the columns of candidates hold lists, as in requests; so they do with labels where the
            training data are requests. labels: with labels, and with what only losses read. keys: a column
            whose hashes go along as `labels["@keys"]`.
        Raises DataError with every fault of the table.
        """
        candidates = candidates or (labels and of_requests(self.manifest))
        read = Reading(self.manifest, table, origin, candidates, training=labels)
        fields: dict[str, Tensor | Bag] = {}
        crosses = self.manifest.get("crosses", ())
        wanted = {path for cross in crosses for path in cross["of"]}
        members: dict[str, Member] = {}
        for entry, packed in read.fields():
            with read.noting(entry, packed):
                fields[entry["path"]] = self._values(read, entry, packed)
                if entry["path"] in wanted:
                    members[entry["path"]] = Member.of(entry, packed.values, read.axes(entry))
        for cross in crosses:
            if all(path in members for path in cross["of"]) and not read.faults:
                of = [members[path] for path in cross["of"]]
                rows = crossed(of, read.axes(cross), read.all_lengths, cross["n"])
                fields[cross["path"]] = _owned(rows)
        found: dict[str, Tensor] = {}
        if labels:
            for prediction in self.manifest["predictions"]:
                with read.noting(prediction, None):
                    values = read.labels(prediction)
                    with read.noting(prediction, values):
                        names = self.classes.get(prediction["name"])
                        if name := (prediction.get("rows") or {}).get("vocabulary"):
                            rows = row_labels(values.values, self.vocabularies.get(name))
                            found[prediction["name"]] = torch.from_numpy(rows)
                            continue
                        found[prediction["name"]] = labels_of(prediction, values.values, names)
        if keys is not None and not read.told(keys):
            with read.noting({"column": keys}, None):
                values = keys_of(read.keys(keys))
                if values.null_count:
                    raise Unfit("a column that groups examples has no value in some row")
                found[KEYS] = torch.from_numpy(hashed(values).view(np.int64))
        read.finish()
        return Batch(
            self.schema,
            len(table),
            fields,
            {axis: torch.from_numpy(x) for axis, x in read.lengths.items()},
            found,
            None if read.candidates is None else torch.from_numpy(read.candidates),
        )

    def _values(self, read: Reading, entry: Mapping[str, Any], packed: Packed) -> Tensor | Bag:
        encoding, options = entry["encoding"], entry["options"]
        if self.format == 1:
            texts = texts_in(read.table)
            were = None if texts is None else column_of(entry, read.names) in texts
            packed = replace(packed, values=as_before(encoding_of(entry)[0], packed.values, were))
        if encoding == "bag":
            inner, own = encoding_of(entry)
            if "default" in options:
                own = {**own, "default": options["default"]}
            rows = table_rows(inner, own, packed.values, self.vocabularies.get(entry["vocabulary"]))
            weights = read.weights(entry, packed) if "weight" in options else None
            return Bag(_owned(rows), torch.from_numpy(packed.lengths[-1]), weights)
        if entry["table"] is not None:
            vocabulary = self.vocabularies.get(entry["vocabulary"])
            return _owned(table_rows(encoding, options, packed.values, vocabulary))
        if encoding == "key":
            return torch.from_numpy(bits_of(keys_of(packed.values, options.get("default")))).reshape(-1, 1)
        found = numbers_of(filled(measured(options, packed.values), options.get("default")))
        if encoding == "vector":
            n, lengths = options["n"], packed.lengths[-1]
            refuse(lengths != n, lengths, f"numbers are there, and `vector({n})` has {n}", level=-1)
            return torch.from_numpy(single(found).reshape(-1, n))
        found = scaled(options["scale"], found, self.scales.get(entry["path"]))
        return torch.from_numpy(single(found).reshape(-1, 1))


def vocabularies_of(manifest: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """By name, the options of the table that a vocabulary is for."""
    rows = [p["rows"] for p in manifest["predictions"] if p.get("rows")]
    return {of["vocabulary"]: of["options"] for of in rows if of["vocabulary"] is not None} | {
        entry["vocabulary"]: encoding_of(entry)[1]
        for entry in manifest["fields"]
        if entry["vocabulary"] is not None
    }


def _needs_scale(entry: Mapping[str, Any]) -> bool:
    return entry["encoding"] == "number" and entry["options"]["scale"] in ("standard", "minmax")


def _owned(values: Ints) -> Tensor:
    """Return integers as a tensor, copied where they are a read-only view of the table's memory."""
    return torch.from_numpy(values if values.flags.writeable else values.copy())


def bits_of(keys: pa.Array) -> Ints:
    """Each key as 64 bits, equal where the keys are; NO_KEY where it is null."""
    found = np.full(len(keys), NO_KEY)
    known = np.asarray(keys.is_valid().to_numpy(zero_copy_only=False))
    bits = hashed(keys.drop_null()).view(np.int64)
    found[known] = np.where(bits == NO_KEY, NO_KEY + 1, bits)
    return found


def _classes(labels: Iterable[tuple[Labels, Origin]]) -> dict[str, tuple[str, ...]]:
    """The names of classes. Raises DataError for more names than classes, and where there is no label."""
    found: dict[str, tuple[str, ...]] = {}
    faults: list[Fault] = []
    for known, origin in labels:
        column = known.prediction["column"]
        if not known.present:
            help = f"`predict {known.prediction['name']}` has nothing to learn from"
            faults.append(Fault(origin.file, "no example has a label", column, help=help))
        elif known.prediction.get("among") == "request" and not known.chosen:
            help = "the label of a candidate that was chosen is 1"
            faults.append(Fault(origin.file, "no request has a candidate that was chosen", column, help=help))
        try:
            names = known.classes()
        except Unfit as unfit:
            faults.append(Fault(origin.file, unfit.what, column, help=unfit.help))
            continue
        if names is not None:
            found[known.prediction["name"]] = names
    if faults:
        raise DataError(faults)
    return found


def _notes(name: str, learnt: Learnt) -> list[str]:
    share = f"{100 * learnt.unknown:.2g} % of its values count as unknown"
    if learnt.beyond:
        rare = f", {learnt.rare:,} of them below `min_count`" if learnt.rare else ""
        return [
            f"{name}: {learnt.keys:,} different keys{rare}, {learnt.beyond:,} too many for the table: {share}"
        ]
    if learnt.rare:
        return [f"{name}: {learnt.rare:,} of {learnt.keys:,} keys are below `min_count`: {share}"]
    return []
