"""All that can be said of a log's mapping before it is read: from the spec, the names of columns, the
settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from specc.prepare.labels import Labels, map_labels
from specc.prepare.mapping import Columns, Input, Kind, close, map_fields, refuses_null
from specc.prepare.names import TOGETHER, by_meaning, found_in, plain
from specc.prepare.sequences import IDLE, KINDS, map_axes, map_sequences
from specc.prepare.settings import FieldSource, PrepareError, Settings


@dataclass(frozen=True)
class Table:
    """A file's columns. names: of the header, or None without one."""

    file: str
    names: Sequence[str] | None
    width: int


@dataclass(frozen=True)
class Mapped:
    """places, item_places: by what columns are called here. inputs: by path of a field. label_inputs: by
    prediction. group_inputs: by sequence, what its outer axis goes by. axes: by sequence, how it is said.
    request: what says which rows with labels
    were shown together, besides their user and time."""

    manifest: Mapping[str, Any]
    settings: Settings
    places: Mapping[str, int]
    item_places: Mapping[str, int]
    fields: Mapping[str, FieldSource]
    inputs: Mapping[str, Input]
    labels: Labels
    label_inputs: Mapping[str, Input]
    axes: Mapping[str, str | None]
    group_inputs: Mapping[str, Input]
    request: Input | None
    notes: Sequence[str]

    @property
    def labelled(self) -> bool:
        """Whether labels are read that say which events are positive."""
        kinds = {p["name"]: p["kind"] for p in self.manifest["predictions"]}
        return any(kinds[name] not in ("real", "class") for name in self.label_inputs)

    def of(self, file: str) -> list[Input]:
        """Return what is read of the log, or of the file of items."""
        every = [*self.inputs.values(), *self.label_inputs.values(), *self.group_inputs.values()]
        every += [self.request] if self.request is not None else []
        return list(dict.fromkeys(i for i in every if i.file == file))

    @property
    def together(self) -> bool:
        """Whether rows that were shown together are one request: what is shown has labels of its own."""
        return self.labels.read and any(s["role"] == "candidate" for s in self.manifest["spaces"])

    @property
    def shared(self) -> list[Input]:
        """What rows of one request share, besides user and time."""
        fields = {f["path"] for f in self.manifest["fields"] if f["role"] == "request" and not f["axes"]}
        found = [wanted for path, wanted in self.inputs.items() if path in fields]
        return list(dict.fromkeys([*found, *([self.request] if self.request is not None else [])]))

    @property
    def of_sampled(self) -> list[Input]:
        """The columns of events that sampled items need."""
        return list(dict.fromkeys(self.inputs[path] for path in self.sampled))

    @property
    def sampled(self) -> list[str]:
        """The paths of fields that take, for a sampled item, what its last event before had."""
        spaces = map_sequences(self.manifest, self.axes, (), self.labelled, self.settings)
        noise = {name for name, source in spaces.items() if source.events == "noise"}
        fields = {f["path"]: f for f in self.manifest["fields"]}

        def needed(path: str, wanted: Input) -> bool:
            candidate = fields[path]["role"] == "candidate" and self.labels.negatives > 0
            shown = wanted.name in self.settings.impression
            return wanted.file == "log" and not shown and (candidate or fields[path]["space"] in noise)

        return [path for path, wanted in self.inputs.items() if needed(path, wanted)]


def map_all(manifest: Mapping[str, Any], log: Table, items: Table | None, settings: Settings) -> Mapped:
    """Map the columns of a log. Raises PrepareError, with all that is unclear."""
    places, faults, notes = by_meaning(
        log.file, log.names, log.width, settings.columns, ("user", "item", "time")
    )
    item_places: dict[str, int] = {}
    if items is not None:
        item_places, more, told = by_meaning(
            items.file, items.names, items.width, settings.item_columns, ("item",), "--item-columns"
        )
        faults, notes = faults + more, notes + told
    if faults:
        raise PrepareError("\n".join(faults))
    static = {
        name: place
        for name, place in item_places.items()
        if name not in ("item", "user", "time", "behaviour")
    }
    columns = Columns(places, static)
    labels, wrong = map_labels(manifest, places, settings)
    axes, unclear = map_axes(manifest, columns, settings)
    kinds = [names[0] for names in KINDS.values()]  # the log's own are not known yet
    events = map_sequences(manifest, axes, kinds, labels.read, settings)
    fields, inputs, faults = map_fields(manifest, columns, settings, events)
    faults += wrong + unclear
    faults += [f"--{what}: there is no column `{name}`" for what, names in
               (("split", settings.split), ("impression", settings.impression)) for name in names
               if name not in places and name not in static]  # fmt: skip
    request = _request(places, labels, manifest, settings, faults)
    faults += _null_for_samples(manifest, inputs, labels, settings)
    if faults:
        raise PrepareError("\n".join(faults))
    both = sorted({i.name for i in inputs.values() if i.file == "items" and i.name in places})
    notes += [f"`{name}` is in the log and in {settings.items}: the latter is taken" for name in both]
    return Mapped(
        manifest, settings, places, {**static, "item": item_places.get("item", 0)}, fields, inputs,
        labels, _label_inputs(manifest, labels), axes, _group_inputs(axes, columns), request, notes,
    )  # fmt: skip


def _request(
    places: Mapping[str, int],
    labels: Labels,
    manifest: Mapping[str, Any],
    settings: Settings,
    faults: list[str],
) -> Input | None:
    """Return the column that says which rows were shown together."""
    said = settings.request
    if said is not None:
        found = found_in(said, places)
        if found is None:
            faults.append(f"--request: the log has no column `{said}`{close(said, set(places))}")
        elif not labels.read:
            faults.append(
                f"--request {said}: only rows with labels are shown together, and this spec's labels are made"
            )
    else:
        found = next((name for name in places if plain(name) in TOGETHER), None)
    if found is None or not labels.read or all(s["role"] != "candidate" for s in manifest["spaces"]):
        return None
    return Input("log", found, "key")


def _null_for_samples(
    manifest: Mapping[str, Any], inputs: Mapping[str, Input], labels: Labels, settings: Settings
) -> list[str]:
    """Return fields that training would refuse, as sampled items have no value of theirs."""
    return [
        f"`{f['path']}`: `{inputs[f['path']].name}` is null for sampled items (--impression), and the field "
        "takes no null; give it a default in the spec, such as "
        f"`{f['name']}: {f['encoding']}(…, default = 0)`"
        for f in manifest["fields"]
        if f["path"] in inputs
        and inputs[f["path"]].name in settings.impression
        and f["role"] == "candidate"
        and labels.negatives
        and refuses_null(f)
    ]


def _label_inputs(manifest: Mapping[str, Any], labels: Labels) -> dict[str, Input]:
    found = {}
    for prediction in manifest["predictions"]:
        column = labels.sources[prediction["name"]].column
        if column is not None:
            text = isinstance((prediction.get("condition") or {}).get("value"), str)
            kind: Kind = "key" if text or prediction["kind"] == "class" else "label"
            found[prediction["name"]] = Input("log", column, kind)
    return found


def _group_inputs(axes: Mapping[str, str | None], columns: Columns) -> dict[str, Input]:
    return {
        space: Input("items" if by in columns.items else "log", by, "key")
        for space, by in axes.items()
        if by is not None and by != IDLE
    }
