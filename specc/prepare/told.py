"""What examples are made of, in words: a line for each field, sequence and prediction."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

_EVENTS = {"noise": "sampled items", "session": "the session so far", "history": "earlier events"}


LAST_KNOWN = "; of a sampled item as last known before"


def mapping_lines(settings: Mapping[str, Any], sampled: Set[str], together: bool) -> list[tuple[str, str]]:
    """Return what each takes. settings: as `prepare.yaml` has them. sampled: fields that take, for a sampled
    item, what was last known of it. together: whether rows are one request."""
    rows = [
        (path, _field(source, settings) + LAST_KNOWN * (path in sampled))
        for path, source in settings["fields"].items()
    ]
    rows += [(f"{name}[…]", _sequence(source, settings)) for name, source in settings["spaces"].items()]
    rows += [(name, _label(source, settings)) for name, source in settings["labels"].items()]
    if together:
        of = f", and of one `{settings['request']}`" if settings.get("request") else ""
        rows.append(("requests", f"the rows of a user at one time{of}"))
    return rows


def _field(source: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    if "constant" in source:
        return f"constant {source['constant']!r}"
    name = source.get("attribute") or source["column"]
    unit = source.get("unit")
    split = settings["split"].get(name)
    shown = ", null for a sampled item" if name in settings["impression"] else ""
    column = settings["columns"].get(name, name)
    called = "" if column == name else f", column {column}"
    return (
        f"{name}{called}"
        + (f" in {unit}" if unit else "")
        + (f", split by `{split}`" if split else "")
        + shown
    )


def _sequence(source: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    of = f" of {', '.join(source['behaviours'])}" if source.get("behaviours") else ""
    labels = {"positive": " with a positive label", "zero": " without a positive label"}
    label = labels.get(source.get("label") or "", "")
    text = _EVENTS[source["events"]] + of + label
    if source.get("by") == "idle":
        text += f", in sessions that end after {_duration(settings['session_gap'])} idle"
    elif source.get("by"):
        text += f", in groups by {source['by']}"
    return text


def _label(source: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    if source["how"] == "read":
        return f"column {source['column']}"
    if source["how"] == "item":
        return "the item"
    of = ", ".join(source.get("behaviours") or settings.get("positive") or ["every event"])
    read = any(other["how"] == "read" for other in settings["labels"].values())
    others = "other events" if read else "sampled negatives"
    return f"{source['positive']:g} for {of}, {source['negative']:g} for {others}"


def _duration(seconds: int) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"
