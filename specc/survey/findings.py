"""What a survey means for training: faults, which training refuses, warnings and notes.

Promises: every fault that the encoders found is one here; warnings are of data that can be trained on and
most likely should not be; notes say what training will do with the values as they are. All of them at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from specc.report.suggest import nearest
from specc.survey.columns import Column
from specc.survey.sketch import Distinct, Spread, moment
from specc.survey.survey import Part

Level = Literal["fault", "warning", "note"]
ORDER: tuple[Level, ...] = ("fault", "warning", "note")
_SURE = np.log(1e-9)  # how unlikely chance has to be before a column is said to give the label away


@dataclass(frozen=True)
class Finding:
    """level: whether training refuses it. part: of the data, "" for all. column: where it is, if in one."""

    level: Level
    part: str
    column: str | None
    what: str
    help: str = ""


def findings(manifest: Mapping[str, Any], parts: Sequence[Part]) -> list[Finding]:
    """Return everything there is to say, faults first."""
    found: list[Finding] = []
    for part in parts:
        found += _faults(part)
        found += [Finding("note", part.name, None, text) for text in part.told]
        found += _absent(manifest, part)
        for column in part.columns.values():
            if not column.absent:
                found += _column(part.name, column)
        found += _labels(part)
        found += _examples(part)
    found += _leaks(manifest, parts[0])
    found += _vocabularies(manifest, parts)
    found += _between(parts)
    found += _times(parts)
    found += _unread(parts)
    return sorted(found, key=lambda f: ORDER.index(f.level))


def _faults(part: Part) -> Iterator[Finding]:
    for fault in part.faults.values():
        row = "" if fault.row is None else f", row {fault.row:,}"
        if fault.line is not None:
            row = f", line {fault.line:,}"
        more = f" (and {fault.more:,} more)" if fault.more else ""
        yield Finding("fault", part.name, fault.column, f"{fault.what}{more}, {fault.file}{row}", fault.help)


def _absent(manifest: Mapping[str, Any], part: Part) -> Iterator[Finding]:
    refused = {fault.column for fault in part.faults.values()}
    read = {c.name for c in (*part.columns.values(), *part.labels.values()) if not c.absent}
    for column in part.columns.values():
        if not column.absent or column.name in refused or not part.rows:
            continue
        if column.axes:
            means = "every list is empty"
        elif "default" in column.options:
            means = f"every value is the default {column.options['default']!r}"
        else:
            means = "every value is unknown"
        close = nearest(column.name, [n for n in part.names if n not in read])
        help = f"did you mean `{close}`? Name it in the spec with `from`" if close else ""
        yield Finding("warning", part.name, column.name, f"there is no such column: {means}", help)


def _column(part: str, column: Column) -> Iterator[Finding]:
    if column.nulls and column.values:
        share = column.nulls / column.values
        if "default" in column.options:
            means = f"read as the default {column.options['default']!r}"
        elif column.encoding == "label":
            means = "refused"
        elif column.encoding == "vocab":
            means = "unknown values to its vocabulary"
        else:
            means = "refused"
        if means != "refused":  # which the encoders have said
            level: Level = "warning" if share > 0.5 else "note"
            yield Finding(level, part, column.name, f"{percent(share)} of the values are null: {means}")
    for axis in column.axes:
        if axis.cut:
            yield Finding(
                "note",
                part,
                column.name,
                f"{percent(axis.cut / axis.lists)} of the lists are longer than {axis.bound:,} and cut (the "
                f"longest has {axis.longest:,}): {percent(axis.lost / axis.places)} of the values are left "
                "out, the first ones of each list",
                f"raise the bound of `{axis.name}` if they matter",
            )
        elif axis.lists > 1 and not axis.places:
            yield Finding("warning", part, column.name, "every list is empty")
    if column.rows > 1 and not column.inner and column.whole.number == 1:
        what = "every value is null" if column.nulls else "it has one value in every row"
        yield Finding("warning", part, column.name, f"{what}: nothing can be learned from it")
    if column.unknown is not None and (known := column.values - column.nulls):
        share = column.unknown / known
        if column.unknown:
            yield Finding(
                "warning" if share > 0.5 else "note",
                part,
                column.name,
                f"{percent(share)} of the values are unknown to the trained model",
            )


def _labels(part: Part) -> Iterator[Finding]:
    for label in part.labels.values():
        if label.nulls and label.values:
            what = f"{percent(label.nulls / label.values)} of the rows have no label, and are left out of it"
            yield Finding("note", part.name, label.name, what)
        if label.rows > 1 and not label.absent and label.whole.number == 1 and not label.nulls:
            yield Finding("warning", part.name, label.name, "the label is the same in every row")
        if unasked := part.unasked.get(label.path):
            what = (
                f"in {percent(unasked / part.rows)} of the requests no candidate was chosen: they ask nothing"
            )
            yield Finding("note", part.name, label.name, what)


def _leaks(manifest: Mapping[str, Any], part: Part) -> Iterator[Finding]:
    for place, prediction in enumerate(manifest["predictions"]):
        label = part.labels[prediction["name"]]
        if label.absent:
            continue
        for column in part.columns.values():
            if column.absent:
                continue
            if column.name == label.name:
                what = f"it is the label of `{prediction['name']}`, and `{column.path}` reads it as an input"
                yield Finding("warning", part.name, column.name, what, "take the field out of the spec")
            elif _gives_away(column, place):
                what = f"it gives away the label of `{prediction['name']}`: equal values have equal labels"
                yield Finding(
                    "warning",
                    part.name,
                    column.name,
                    what,
                    "was it known before the label was? If not, take the field out of the spec",
                )


def _gives_away(column: Column, place: int) -> bool:
    """Return whether equal values always have equal labels, and that would hardly be chance."""
    seen = column.whole
    if not len(seen.hashes) or seen.low.shape[1] <= place:
        return False
    low, high = seen.low[:, place], seen.high[:, place]
    told = np.isfinite(low) & np.isfinite(high)
    low, high, counts = low[told], high[told], seen.counts[told]
    if not len(low) or (low != high).any() or low.min() == low.max():
        return False
    # Every label by its frequency: the chance that all of a value's rows have one label.
    labels, inverse = np.unique(low, return_inverse=True)
    shares = np.bincount(inverse, counts, len(labels)) / counts.sum()
    rows, often = np.unique(counts, return_counts=True)
    most = shares.max()
    logs = rows * np.log(most) + np.log([((shares / most) ** n).sum() for n in rows])
    return bool(np.dot(logs, often) < _SURE)


def _examples(part: Part) -> Iterator[Finding]:
    again = part.rows - part.examples.number
    if part.examples.full or again > 0:
        share = max(again, 0) / max(part.rows, 1)
        if share > 0.001:
            about = "about " if part.examples.full else ""
            what = f"{about}{percent(share)} of the rows are there before, with the same label"
            yield Finding("warning" if share > 0.5 else "note", part.name, None, what)


def _vocabularies(manifest: Mapping[str, Any], parts: Sequence[Part]) -> Iterator[Finding]:
    """Find vocabularies that the first part has more keys for than they have room, and keys of other parts
    that the first does not have. Fields that share a vocabulary are looked at together."""
    train = parts[0]
    shared: dict[str, list[str]] = {}
    for entry in manifest["fields"]:
        column = train.columns[entry["path"]]
        if entry["vocabulary"] is not None and column.vocabulary is None and not column.absent:
            shared.setdefault(entry["vocabulary"], []).append(entry["path"])
    for name, paths in shared.items():
        columns = [train.columns[path] for path in paths]
        whole = Distinct()
        for column in columns:
            whole.merge(column.distinct)
        room, least = columns[0].options["max"] - 1, columns[0].options.get("min_count", 1)
        seen = np.sort(whole.counts)[::-1]
        often = seen[seen >= least]
        share = whole.number / max(len(seen), 1)  # keys for each one that is kept
        if least > 1 and train.whole and len(often) < len(seen):
            what = (
                f"{percent(1 - often.sum() / seen.sum())} of the values are keys below `min_count`: unknown"
            )
            yield Finding("note", train.name, _names(columns), what)
        if round(len(often) * share) > room:
            about = "about " if whole.full else "" if train.whole else "at least "
            lost = 1 - often[: round(room / share)].sum() / seen.sum()
            yield Finding(
                "warning",
                train.name,
                _names(columns),
                f"{about}{whole.number:,} keys, and the vocabulary has room for {room:,}: the rarest ones, "
                f"{percent(lost)} of the values, are unknown",
                f"raise the size of `{name}`, or use `hash`",
            )
        if train.whole:
            yield from _new(train, parts[1:], paths, whole)


def _names(columns: Sequence[Column]) -> str:
    return ", ".join(dict.fromkeys(c.name for c in columns))


def _new(train: Part, others: Sequence[Part], paths: Sequence[str], known: Distinct) -> Iterator[Finding]:
    for other in others:
        for path in paths:
            column = other.columns[path]
            told, shared, _ = column.distinct.shared(known)
            if told and shared < told:
                share = 1 - shared / told
                what = f"{percent(share)} of the values are not in {train.name}, and so unknown"
                yield Finding("warning" if share > 0.5 else "note", other.name, column.name, what)


def _between(parts: Sequence[Part]) -> Iterator[Finding]:
    """Find examples of one part in another. Rows of few different values repeat by chance: as often as in the
    first part itself."""
    for at, first in enumerate(parts):
        counts = first.examples.counts
        chance = counts[counts > 1].sum() / max(counts.sum(), 1)
        for other in parts[at + 1 :]:
            told, shared, _ = other.examples.shared(first.examples)
            if not shared:
                continue
            whole = "" if first.whole and other.whole else " of those read"
            what = f"{percent(shared / told)} of the rows{whole} are in {first.name}, too"
            if shared / told > 1.5 * chance + 0.001:
                help = f"a test on examples that were trained on; {percent(chance)} of {first.name} repeats"
                yield Finding("warning", other.name, None, what, help)
            else:
                yield Finding("note", other.name, None, f"{what}, as by chance: rows repeat as often within")


def _times(parts: Sequence[Part]) -> Iterator[Finding]:
    """Find parts of which the later one begins before the one before it ends."""
    for first, other in itertools.pairwise(parts):
        for name, spread in _clocks(first).items():
            later = _clocks(other).get(name)
            if later is None or not spread.count or not later.count or spread.most < later.least:
                continue
            what = f"it begins at {moment(later.least)}, and {first.name} ends at {moment(spread.most)}"
            yield Finding("warning" if first.whole else "note", other.name, name, what)


def _clocks(part: Part) -> dict[str, Spread]:
    own = {c.name: c.spread for c in part.columns.values() if c.kind == "time" and not c.axes}
    return {**own, **part.times}


def _unread(parts: Sequence[Part]) -> Iterator[Finding]:
    rest = [name for name in parts[0].names if name not in parts[0].read]
    if rest:
        yield Finding("note", parts[0].name, None, f"not read by the spec: {', '.join(rest)}")


def percent(share: float) -> str:
    """Return a share, such as 12.3 %; small ones are not rounded to nothing."""
    if 0 < share < 0.001:
        return "under 0.1 %"
    return f"{100 * share:.1f} %"
