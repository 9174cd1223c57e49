"""What requests and answers are, as JSON schemas, from a model's manifest.

Promises: what the schema of requests refuses, the encoders refuse, too; they look closer still.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specc_runtime.encode.reading import encoding_of
from specc_runtime.retrieval import Stages
from specc_runtime.score import has_candidates
from specc_runtime.score.answers import named_by
from specc_runtime.score.rows import names_of

_KEY = {"type": ["string", "integer", "null"]}
_NUMBER = {"type": ["number", "string", "null"]}  # texts of numbers and times are read as such


def request_schema(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a request: by column its value, of candidates a list with one value each."""
    per_candidate, bounds = has_candidates(manifest), {a["id"]: a["bound"] for a in manifest["axes"]}
    properties: dict[str, Any] = {}
    for entry in manifest["fields"]:
        if entry.get("training"):
            continue
        value = _value(entry)
        for axis in reversed(entry["axes"]):
            about = f"along `{axis}`; of more than {bounds[axis]} the last count"
            value = {"type": ["array", "null"], "items": value, "description": about}
        if per_candidate and entry["role"] == "candidate":
            value = {"type": ["array", "null"], "items": value, "description": "one for each candidate"}
        properties[entry["column"]] = value
    return {"type": "object", "properties": properties}


def answer_schema(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of an answer: scores, and of the best candidates their places and keys."""
    lists = has_candidates(manifest)

    def listed(value: dict[str, Any]) -> dict[str, Any]:
        return {"type": "array", "items": value} if lists else value

    properties: dict[str, Any] = {}
    if lists:
        properties["candidate"] = listed({"type": "integer", "description": "its place, from 0; with `top`"})
        properties |= {name: listed({}) for name in named_by(manifest)}
    for entry in (*manifest["predictions"], *manifest.get("outputs", ())):
        several = entry.get("classes") or entry.get("width", 1) > 1
        number: dict[str, Any] = {"type": "number"}
        properties[entry["name"]] = listed({"type": "array", "items": number} if several else number)
        if entry.get("kind") == "class":
            properties[f"{entry['name']}_class"] = listed({"type": ["string", "integer"]})
    return {"type": "object", "properties": properties}


def found_schema(stages: Stages) -> dict[str, Any]:
    """The schema of what stages answer: lists, one entry a candidate."""
    rows = {"type": "array", "items": {"type": "integer"}, "description": "rows of the index, from 0"}
    own = {name: {"type": "array"} for name in stages.retriever.index.items.column_names}
    numbers = {"type": "array", "items": {"type": "number"}}
    given: dict[str, Any] = {}
    if stages.ranker is not None:
        given = {name: {"type": "array"} for name in names_of(stages.ranker.manifest)}
    return {"type": "object", "properties": {"candidate": rows, **own, "similarity": numbers, **given}}


def _value(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of one value of a field."""
    about = {"description": f"{entry['path']}: {entry['encoding']}"}
    match entry["encoding"]:
        case "vector":
            n = entry["options"]["n"]
            numbers = {"type": "array", "items": {"type": "number"}, "minItems": n, "maxItems": n}
            return numbers | about
        case "bag":
            return {"type": ["array", "null"], "items": _key(encoding_of(entry)[0])} | about
    return _key(entry["encoding"]) | about


def _key(encoding: str) -> dict[str, Any]:
    return dict(_NUMBER if encoding in ("number", "bucket", "time") else _KEY)
