"""What a log that has been read settles: the plan of its examples, what codes stand for, what is odd.

Promises: what is said here depends on the log as a whole (`Totals`), and not on how it was read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from specc.prepare.codes import Keys, Values
from specc.prepare.events import Plan, behaviours_named
from specc.prepare.labels import Labels, constant
from specc.prepare.mapped import Mapped, Table
from specc.prepare.mapping import Input
from specc.prepare.output import Written
from specc.prepare.scan import BEHAVIOUR_KEY
from specc.prepare.sequences import label_behaviours, map_sequences, unknown_behaviours
from specc.prepare.settings import PrepareError
from specc.prepare.totals import Totals

POPULARITY = 12  # bytes an event, for draws by popularity
ALL_EVENTS = "all events, to sample by popularity,"


def inputs_of(mapped: Mapped) -> list[Input]:
    """Return what is read of the log, besides users, items and times."""
    found = mapped.of("log") + ([BEHAVIOUR_KEY] if "behaviour" in mapped.places else [])
    return list(dict.fromkeys(found))


def plan_of(mapped: Mapped, totals: Totals, names: Mapping[Input, str]) -> Plan:
    """Settle what is read. names: by input, its column of events. Raises PrepareError for behaviours that
    the log does not have, and for labels that are none."""
    kinds, manifest, settings = totals.kinds, mapped.manifest, mapped.settings
    spaces = map_sequences(manifest, mapped.axes, kinds, mapped.labelled, settings)
    sources = dict(mapped.labels.sources)
    if len(sources) > 1:
        for name, source in sources.items():
            if source.how == "made" and name not in settings.labels:
                sources[name] = source.model_copy(update={"behaviours": label_behaviours(name, kinds)})
    labels = Labels(sources, mapped.labels.negatives)
    faults = unknown_behaviours(behaviours_named(settings, spaces, labels), kinds)
    faults += constant(labels, {p["name"]: p.get("among", p["kind"]) for p in manifest["predictions"]})
    faults += _labels_out_of_range(mapped, totals, names)
    if faults:
        raise PrepareError("\n".join(faults))
    return Plan(
        manifest, settings, mapped.fields, spaces, labels,
        columns={path: names[i] for path, i in mapped.inputs.items() if i.file == "log"},
        static={path: static_name(i) for path, i in mapped.inputs.items() if i.file == "items"},
        groups={s: names[i] for s, i in mapped.group_inputs.items() if i.file == "log"},
        group_static={s: static_name(i) for s, i in mapped.group_inputs.items() if i.file == "items"},
        label_columns={name: names[i] for name, i in mapped.label_inputs.items()},
        together=tuple(names[i] for i in mapped.shared) if mapped.together else None,
    )  # fmt: skip


def static_name(wanted: Input) -> str:
    """Return how facts call a column of the file of items."""
    return f"{wanted.kind} {int(wanted.many)} {wanted.name}"


def _labels_out_of_range(mapped: Mapped, totals: Totals, names: Mapping[Input, str]) -> list[str]:
    faults = []
    for prediction in mapped.manifest["predictions"]:
        wanted = mapped.label_inputs.get(prediction["name"])
        if wanted is None or prediction["kind"] in ("real", "class") or prediction.get("condition"):
            continue
        least, most = totals.ranges.get(names[wanted], (0.0, 1.0))
        if least < -1 or most > 1:
            faults.append(
                f"`{prediction['name']}` is binary, and its labels in column `{wanted.name}` go from "
                f"{least:g} to {most:g}; "
                f"say in the spec which are positive: `predict {prediction['name']}: binary from "
                f'"{wanted.name}" >= …`'
            )
    return faults


def label_codes(mapped: Mapped, values: Mapping[Input, Values]) -> dict[str, int]:
    """Return by prediction the code of the text that its condition compares with."""
    codes = {}
    for prediction in mapped.manifest["predictions"]:
        wanted = mapped.label_inputs.get(prediction["name"])
        value = (prediction.get("condition") or {}).get("value")
        if wanted is not None and isinstance(value, str):
            held = values[wanted]
            assert isinstance(held, Keys)
            codes[prediction["name"]] = int(held.known(pa.array([value]))[0])
    return codes


def meanings(
    mapped: Mapped, plan: Plan, values: Mapping[Input, Values], users: Keys, items: Keys
) -> dict[str, Values | None]:
    """Return what the codes of fields (by path) and of labels (by prediction) stand for; None for numbers.
    values: by input, of the log and of the file of items."""
    found: dict[str, Values | None] = {}
    for field in mapped.manifest["fields"]:
        path, source = field["path"], mapped.fields[field["path"]]
        wanted = mapped.inputs.get(path)
        of_attribute = {"user": users, "item": items}.get(str(source.attribute))
        found[path] = values[wanted] if wanted is not None else of_attribute
    for name, label in plan.labels.sources.items():
        wanted = mapped.label_inputs.get(name)
        held = values[wanted] if wanted is not None else None
        found[name] = items if label.how == "item" else held if isinstance(held, Keys) else None
    return found


# ---------------------------------------------------------------------------------------------- what is odd


def odd_labels(mapped: Mapped, totals: Totals, names: Mapping[Input, str]) -> list[str]:
    """Return notes of events without a label, and of predictions with one label for all."""
    notes = []
    for name, wanted in mapped.label_inputs.items():
        if absent := totals.absent[names[wanted]]:
            notes.append(
                f"{absent:,} of {totals.events:,} events have no `{wanted.name}`, the label of `{name}`"
            )
        least, most = totals.ranges.get(names[wanted], (0.0, 1.0))
        if least == most:
            notes.append(f"warning: every label of `{name}` in column `{wanted.name}` is {least:g}")
    return notes


def beyond(held: Mapping[str, int], memory: int) -> list[str]:
    """Return a warning of what is kept of the log, where that takes more than there may be. held: bytes."""
    total, most = sum(held.values()), max(held, key=lambda name: held[name])
    if total <= memory:
        return []
    return [
        f"warning: {total / 2**30:,.1f} GB are held at once, --memory is {memory / 2**30:,.1f} GB; "
        f"{most} take {held[most] / 2**30:,.1f}. What belongs to items, such as vectors, takes less in a "
        "file of items (--items)"
    ]


def missing_negatives(written: Sequence[Written], negatives: int) -> list[str]:
    """Return a note of negatives that were not found. negatives: those of a request."""
    missing = sum(w.requests * (1 + negatives) - w.examples for w in written)
    if not negatives or not missing:
        return []
    return [
        f"{missing:,} negative{'s' * (missing != 1)} could not be found: nothing else had come by then, or "
        "everything was taken in those sessions"
    ]


def missing_values(nulls: Mapping[str, int]) -> list[str]:
    """Return warnings of nulls, by path of fields that take none."""
    return [
        f"warning: `{path}` is null {count:,} times, and takes no null: `specc train` refuses it; give "
        "the field a default in the spec, such as `default = 0`, or fill the log in"
        for path, count in nulls.items()
    ]


def settled(mapped: Mapped, plan: Plan, log: Table, items: Table | None) -> dict[str, Any]:
    """Return the settings with all that was found, as prepare.yaml says them."""
    said = mapped.settings
    return said.model_copy(
        update={
            "columns": _named(log, mapped.places, said.columns),
            "item_columns": _named(items, mapped.item_places, said.item_columns) if items else {},
            "negatives": mapped.labels.negatives,
            "request": mapped.request.name if mapped.request is not None else None,
            "fields": dict(mapped.fields),
            "spaces": dict(plan.spaces),
            "labels": dict(plan.labels.sources),
        }
    ).model_dump(mode="json", exclude_none=True)


def _named(table: Table, places: Mapping[str, int], said: Mapping[str, Any]) -> dict[str, int | str]:
    """Return the columns that are not called by their own names."""
    names = table.names or ()
    once = {name for name in names if names.count(name) == 1}
    return {
        name: names[place] if names and names[place] in once else place
        for name, place in places.items()
        if not names or names[place] != name or name in said
    }
