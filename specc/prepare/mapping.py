"""Which field of a spec takes which attribute of the events: by the names of fields and spaces.

A field takes, in this order: what the settings say; the column of the log (or item file) that is called like
the field or its column; the attribute that its name means:

    user, item, category, behaviour    by their usual names (`names.ALIASES`); `id` is what its space is of
    hour, weekday                      of the event's time, 0 to 23 and 0 (Monday) to 6
    age, gap, ago, time, recency       how long before the example a behaviour was; 0 for a candidate
    interval                           how long after the behaviour before it
    moment                             the event's time itself, for fields with the encoding `time`
    seconds, minutes, hours, days      age in that unit (also as a part: `gap_days`, `interval_hours`)

Promises: all that is unclear is in one error; how a column is read (keys, numbers, lists) is what the spec's
encoding says, and never guessed from the data.
Leaves to others: which events a sequence takes (sequences), labels (labels).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from specc.prepare.names import ALIASES, ATTRIBUTES, found_in, is_known, is_sequence
from specc.prepare.settings import UNITS, FieldSource, Settings, SpaceSource

_TIMES = {
    "hour": ("hour", "hour_of_day", "daytime"),
    "weekday": ("weekday", "day_of_week", "dow", "day"),
    "age": ("age", "gap", "ago", "time", "recency", "elapsed", "time_gap", "timestamp", "since"),
    "interval": ("interval",),
}


Kind = Literal["key", "number", "label", "time"]
WEIGHTS = "weights"


def columns_alone(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest with a field for each column: with the weights of bags, which are columns of their
    own, and without keys, which are read from the columns of their fields."""
    weights = [
        {**f, "path": f"{f['path']}.weight", "name": f["options"]["weight"], "column": f["options"]["weight"],
         "fallback": None, "encoding": WEIGHTS, "options": {}}
        for f in manifest["fields"] if f["encoding"] == "bag" and f["options"].get("weight")
    ]  # fmt: skip
    keys = {f["path"] for f in manifest["fields"] if f["encoding"] == "key"}
    fields = [f for f in manifest["fields"] if f["path"] not in keys]
    spaces = [{**s, "fields": [path for path in s["fields"] if path not in keys]} for s in manifest["spaces"]]
    return {**manifest, "spaces": spaces, "fields": [*fields, *weights]}


@dataclass(frozen=True)
class Input:
    """A column, and how it is read. name: as the mapping calls it. many: it may hold lists.
    split: what its texts are split by, or None."""

    file: Literal["log", "items"]
    name: str
    kind: Kind
    many: bool = False
    split: str | None = None


@dataclass(frozen=True)
class Columns:
    """By what they are called here, the places of the columns of the log and of the file of items."""

    log: Mapping[str, int]
    items: Mapping[str, int]

    def has(self, meaning: str) -> bool:
        if meaning in ("category", "behaviour"):
            return meaning in self.log or (meaning == "category" and meaning in self.items)
        return True

    @property
    def names(self) -> list[str]:
        known = [a for a in ATTRIBUTES if self.has(a)]
        return list(dict.fromkeys([*known, *self.log, *self.items]))


def map_fields(
    manifest: Mapping[str, Any],
    columns: Columns,
    settings: Settings,
    events: Mapping[str, SpaceSource],
) -> tuple[dict[str, FieldSource], dict[str, Input], list[str]]:
    """Return what every field is made of; of those that take a column, how it is read; and what is wrong.

    events: by sequence, which ones it takes.
    """
    faults: list[str] = []
    fields: dict[str, FieldSource] = {}
    inputs: dict[str, Input] = {}
    shared: dict[Any, FieldSource] = {}
    paths = {f["path"] for f in manifest["fields"]}
    faults += [f"the spec has no field `{n}`{close(n, paths)}" for n in settings.fields if n not in paths]
    for field in manifest["fields"]:
        source = settings.fields.get(field["path"]) or shared.get(_written(field)) or _field(field, columns)
        if source is not None and source.attribute == "age" and _of_request(field) and "age" in columns.log:
            source = FieldSource(column="age")  # how long ago an example is, is 0 in all of them
        if source is None:
            faults.append(_unclear(field, columns))
            continue
        if source.column is not None and source.column not in columns.names:
            source = source.model_copy(
                update={"column": found_in(source.column, columns.names) or source.column}
            )
        wrong = _check(field, source, columns)
        faults += wrong
        fields[field["path"]] = shared[_written(field)] = source
        name = source.column or source.attribute
        if not wrong and name is not None and (source.column or name in ("category", "behaviour")):
            inputs[field["path"]] = _input(field, name, columns, settings)
    faults += _one_column_each(manifest, fields, events)
    return fields, inputs, faults


def _written(field: Mapping[str, Any]) -> Any:
    """Return what fields have in common that are read from one column in one way."""
    return field["column"], field["space"], encoding_of(field)


def _of_request(field: Mapping[str, Any]) -> bool:
    return field["role"] == "request" and not field["axes"]


def encoding_of(field: Mapping[str, Any]) -> str:
    """Return a field's encoding; of a bag that of what it holds."""
    return str(field["options"]["of"]["encoding"] if field["encoding"] == "bag" else field["encoding"])


def refuses_null(field: Mapping[str, Any]) -> bool:
    """Return whether a null of a field's column is a fault to who trains on it."""
    options = field["options"]
    return field["encoding"] not in ("vocab", "bag", WEIGHTS) and options.get("default") is None


def _input(field: Mapping[str, Any], name: str, columns: Columns, settings: Settings) -> Input:
    static = name in columns.items and (field["role"] == "candidate" or bool(field["axes"]))
    many = field["encoding"] in ("bag", "vector", WEIGHTS)
    split = settings.split.get(name)
    if split is None and many:
        split = field["split"][-1] if field.get("split") else " " if is_sequence(name) else None
    encoding = encoding_of(field)
    number = encoding in ("number", "bucket", "vector", WEIGHTS)
    kind: Kind = "number" if number else "time" if encoding == "time" else "key"
    return Input("items" if static else "log", name, kind, many, split)


def _field(field: Mapping[str, Any], columns: Columns) -> FieldSource | None:
    name = field["name"].lower()
    own = [c for c in dict.fromkeys([*columns.log, *columns.items]) if c not in ATTRIBUTES and c != "time"]
    for wanted in (field["column"], field["name"]):
        found = found_in(wanted, own)
        if found is not None:
            return FieldSource(column=found)
    if encoding_of(field) == "time":
        return FieldSource(attribute="moment")
    if name == "id":
        owner = next((m for m in ("user", "item", "category") if is_known(field["space"], m)), None)
        sequence_or_candidate = field["role"] == "candidate" or field["axes"]
        return FieldSource(attribute=owner or ("item" if sequence_or_candidate else "user"))
    for meaning in ("user", "item", "category", "behaviour"):
        if is_known(name, meaning):
            return FieldSource(attribute=meaning) if columns.has(meaning) else None
    placed = not _of_request(field)
    if not placed and name == "age" in columns.log:
        return FieldSource(column=name)
    for meaning, names in _TIMES.items():
        if name in names and (placed or meaning in ("hour", "weekday")):
            return FieldSource(attribute=meaning)
    parts = name.split("_")
    unit = next((u for u in UNITS if u in parts or u[:-1] in parts), None)
    if unit is not None and placed:
        return FieldSource.model_validate(
            {"attribute": "interval" if "interval" in parts else "age", "unit": unit}
        )
    return None


def _check(field: Mapping[str, Any], source: FieldSource, columns: Columns) -> list[str]:
    path, of_request = field["path"], _of_request(field)
    if source.column is not None:
        if source.column not in columns.log and source.column not in columns.items:
            known = {*columns.names, *ATTRIBUTES}
            return [f"`{path}`: the log has no column `{source.column}`{close(source.column, known)}"]
        if of_request and source.column not in columns.log:
            return [
                f"`{path}`: `{source.column}` is of items, and the item of the example is its candidate's; a "
                "field of the request would give the label away"
            ]
        return []
    if source.attribute is None:
        return []
    if source.attribute not in ATTRIBUTES:
        return [
            f"`{path}`: there is no attribute `{source.attribute}`{close(source.attribute, set(ATTRIBUTES))}"
        ]
    if not columns.has(source.attribute):
        return [f"`{path}`: the log has no column of {source.attribute}; name it with --columns"]
    if source.attribute == "behaviour" and not field["axes"]:
        return [f"`{path}`: the behaviour of the example itself is what its label says"]
    if source.attribute == "age" and of_request:
        return [f"`{path}`: how long ago an example is, is 0 in all of them; a sequence's events have an age"]
    if source.attribute in ("item", "category") and of_request:
        return [f"`{path}`: the {source.attribute} of the example is its candidate's; "
                "a field of the request would give the label away"]  # fmt: skip
    return []


def _one_column_each(
    manifest: Mapping[str, Any], fields: Mapping[str, FieldSource], events: Mapping[str, SpaceSource]
) -> list[str]:
    """Return fields that would write one column with different things."""
    faults = []

    def taken(field: Mapping[str, Any]) -> object:
        name = field["space"]
        return field["role"], field["axes"], fields.get(field["path"]), events.get(name)

    owner: dict[str, Mapping[str, Any]] = {}
    for field in manifest["fields"]:
        other = owner.setdefault(field["column"], field)
        if taken(other) != taken(field) and field["path"] in fields and other["path"] in fields:
            faults.append(
                f"`{other['path']}` and `{field['path']}` are read from one column, `{field['column']}`, "
                "and would take "
                'different things; give one of them a column of its own in the spec (`from "…"`)'
            )
    return faults


def _unclear(field: Mapping[str, Any], columns: Columns) -> str:
    return (
        f"it is not clear what `{field['path']}` takes: the log has {', '.join(columns.names)}; say it, "
        "such as "
        f"--field {field['path']}=item, name a column of the log that has it (--columns {field['name']}=…), "
        f"or give it a constant (--field {field['path']}=0)"
    )


def close(name: str, known: set[str] | Sequence[str]) -> str:
    from specc.report.suggest import nearest

    found = nearest(name, known)
    return f"; did you mean `{found}`?" if found else ""


__all__ = ["ALIASES", "ATTRIBUTES", "Columns", "Input", "close", "encoding_of", "map_fields"]
