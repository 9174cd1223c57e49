"""Which field of a spec takes which attribute of the events: by the names of fields and spaces.

A field takes, in this order: what the settings say; the column of the log (or item file) that is called like
the field or its column; the attribute that its name means:

    user, item, category, behaviour    by their usual names (ALIASES of log); `id` is what its space is of
    hour, weekday                      of the event's time, 0 to 23 and 0 (Monday) to 6
    age, gap, ago, time, recency       how long before the example a behaviour was; 0 for a candidate
    interval                           how long after the behaviour before it
    seconds, minutes, hours, days      age in that unit (also as a part: `gap_days`, `interval_hours`)

A sequence takes the events its name means: `unclicked`, `noise`, `negatives` sampled ones; `context`,
`session`, `current` those of the session so far; `clicked` the positive ones; `views`, `carts`, `favs`,
`buys` those behaviours, and `keeps` carts and favourites; any other name all of them.

Labels are 1 and 0, of `real` predictions 1 and -1; of several predictions each is 1 for the behaviours that
its name means (`click`, `cart`, `fav`, `buy`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from specc.prepare.log import ALIASES, Log, behaviours_of
from specc.prepare.settings import UNITS, FieldSource, LabelSource, PrepareError, Settings, SpaceSource

ATTRIBUTES = ("user", "item", "category", "behaviour", "hour", "weekday", "age", "interval")
_TIMES = {
    "hour": ("hour", "hour_of_day", "daytime"),
    "weekday": ("weekday", "day_of_week", "dow", "day"),
    "age": ("age", "gap", "ago", "time", "recency", "elapsed", "time_gap", "timestamp", "since"),
    "interval": ("interval",),
}
# Kinds of behaviour by the names that logs and spaces give them.
KINDS: Mapping[str, tuple[str, ...]] = {
    "view": ("pv", "view", "views", "viewed", "click", "clicks", "clicked", "browse", "browsed"),
    "cart": ("cart", "carts", "carted", "addtocart", "add_to_cart"),
    "fav": ("fav", "favs", "favourite", "favourites", "favorite", "favorites", "collect", "liked", "likes"),
    "buy": ("buy", "buys", "bought", "purchase", "purchases", "purchased", "order", "orders", "transaction"),
}
_NOISE = {"unclicked", "noise", "noises", "negative", "negatives", "sampled", "skipped", "unseen"}
_SESSION = {"context", "contextual", "session", "current", "page"}
_POSITIVE = {"clicked", "clicks", "positives", "liked"}
_KEPT = {"keep", "keeps", "kept", "saved"}


@dataclass(frozen=True)
class Sources:
    """What fields, sequences and labels are made of, by path and by name."""

    fields: Mapping[str, FieldSource]
    spaces: Mapping[str, SpaceSource]
    labels: Mapping[str, LabelSource]


def map_fields(manifest: Mapping[str, Any], log: Log, settings: Settings) -> Sources:
    """What every field, sequence and label is made of. Raises PrepareError, with all that is unclear."""
    faults: list[str] = []
    paths = {f["path"] for f in manifest["fields"]}
    sequences = [s for s in manifest["spaces"] if s["axes"]]
    predictions = {p["name"] for p in manifest["predictions"]}
    for kind, given, known in (
        ("field", settings.fields, paths),
        ("sequence", settings.spaces, {s["name"] for s in sequences}),
        ("prediction", settings.labels, predictions),
    ):
        faults += [f"the spec has no {kind} `{n}`{_close(n, known)}" for n in given if n not in known]
    kinds = behaviours_of(log)
    spaces = {}
    for space in sequences:
        if space["role"] == "candidate":
            faults.append(f"`{space['name']}` is a sequence of a candidate, and a log has none")
        spaces[space["name"]] = settings.spaces.get(space["name"]) or _sequence(
            space["name"], kinds, settings
        )
    fields = {}
    for field in manifest["fields"]:
        found = settings.fields.get(field["path"]) or _field(field, log)
        if found is None:
            faults.append(_unclear(field, log))
        else:
            faults += _check(field, found, log)
            fields[field["path"]] = found
    labels = {
        p["name"]: settings.labels.get(p["name"]) or _label(p, kinds, len(predictions) > 1)
        for p in manifest["predictions"]
    }
    named = [*(settings.positive or ())]
    sources: list[SpaceSource | LabelSource] = [*spaces.values(), *labels.values()]
    for source in sources:
        named += source.behaviours or ()
    for behaviour in dict.fromkeys(named):
        if behaviour not in kinds:
            have = f"it has {', '.join(kinds)}" if kinds else "it has no column of behaviours"
            faults.append(f"the log has no behaviour `{behaviour}`; {have}{_close(behaviour, set(kinds))}")
    if faults:
        raise PrepareError("\n".join(faults))
    return Sources(fields, spaces, labels)


def _field(field: Mapping[str, Any], log: Log) -> FieldSource | None:
    name = field["name"].lower()
    for column in (field["column"], field["name"]):
        if column not in ATTRIBUTES and (column in log.extra or column in log.item_attributes):
            return FieldSource(column=column)
    if name == "id":
        owner = next((m for m in ("user", "item", "category") if _is(field["space"].lower(), m)), None)
        sequence_or_candidate = field["role"] == "candidate" or field["axes"]
        return FieldSource(attribute=owner or ("item" if sequence_or_candidate else "user"))
    for meaning in ("user", "item", "category", "behaviour"):
        if _is(name, meaning):
            return FieldSource(attribute=meaning) if _has(meaning, log) else None
    placed = bool(field["axes"]) or field["role"] == "candidate"
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


def _is(name: str, meaning: str) -> bool:
    return name in ALIASES[meaning] or name.removesuffix("s") in ALIASES[meaning]


def _has(meaning: str, log: Log) -> bool:
    if meaning == "category":
        return "category" in log.item_attributes
    return meaning != "behaviour" or log.behaviour is not None


def _check(field: Mapping[str, Any], source: FieldSource, log: Log) -> list[str]:
    path = field["path"]
    if source.column is not None:
        known = {*log.extra, *log.item_attributes}
        if source.column not in known:
            close = _close(source.column, {*known, *ATTRIBUTES})
            return [f"`{path}`: the log has no column `{source.column}`{close}"]
        if field["role"] == "candidate" and source.column not in log.item_attributes:
            return [f"`{path}`: a candidate has only what its item has, and `{source.column}` is of events"]
        return []
    if source.attribute is None:
        return []
    if source.attribute not in ATTRIBUTES:
        return [
            f"`{path}`: there is no attribute `{source.attribute}`{_close(source.attribute, set(ATTRIBUTES))}"
        ]
    if not _has(source.attribute, log):
        return [f"`{path}`: the log has no column of {source.attribute}; name it with --columns"]
    if source.attribute == "behaviour" and not field["axes"]:
        return [f"`{path}`: the behaviour of the example itself is what its label says"]
    if source.attribute in ("item", "category") and field["role"] == "request" and not field["axes"]:
        return [f"`{path}`: the {source.attribute} of the example is its candidate's; "
                "a field of the request would give the label away"]  # fmt: skip
    return []


def _unclear(field: Mapping[str, Any], log: Log) -> str:
    have = dict.fromkeys([*(a for a in ATTRIBUTES if _has(a, log)), *log.extra, *log.item_attributes])
    return (
        f"it is not clear what `{field['path']}` takes: the log has {', '.join(have)}; say it, such as "
        f"--field {field['path']}=item, name a column of the log that has it (--columns {field['name']}=…), "
        f"or give it a constant (--field {field['path']}=0)"
    )


def _sequence(name: str, kinds: list[str], settings: Settings) -> SpaceSource:
    words = set(re.split(r"[_\d]+", name.lower()))
    least = settings.session_min
    if words & _NOISE:
        return SpaceSource(events="noise", sessions=least)
    if words & _SESSION:
        return SpaceSource(events="session", sessions=least)
    if words & _POSITIVE:
        return SpaceSource(behaviours=settings.positive, sessions=least)
    meant = (
        ["cart", "fav"] if words & _KEPT else [kind for kind, names in KINDS.items() if words & set(names)]
    )
    return SpaceSource(behaviours=_chosen(kinds, meant), sessions=least)


def _chosen(kinds: list[str], meant: list[str]) -> tuple[str, ...] | None:
    """Those of a log's behaviours that are of certain kinds; None (all of them) if there are none."""
    return tuple(k for k in kinds if any(k.lower() in KINDS[kind] for kind in meant)) or None


def _label(prediction: Mapping[str, Any], kinds: list[str], several: bool) -> LabelSource:
    """One prediction takes every positive event; several take the behaviours that they are called after."""
    negative = -1.0 if prediction["kind"] == "real" else 0.0
    if not several:
        return LabelSource(negative=negative)
    words = set(re.split(r"[_\d]+", prediction["name"].lower()))
    meant = [kind for kind, names in KINDS.items() if words & set(names)]
    return LabelSource(behaviours=_chosen(kinds, meant), negative=negative)


def _close(name: str, known: set[str]) -> str:
    from specc.report.suggest import nearest

    close = nearest(name, known)
    return f"; did you mean `{close}`?" if close else ""
