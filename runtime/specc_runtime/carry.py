"""Which weights of one model another may start from, from their manifests alone.

Promises: `train --start-from` goes by this rule, and `specc diff` tells it beforehand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Carried:
    """What becomes of a weight of the new model. how: "whole", as it was; "by key", a row a key that both
    know; "by number", the rows that both have; "anew", for the reason `why`."""

    how: Literal["whole", "by key", "by number", "anew"]
    why: str | None = None


def carried(
    path: str,
    then: Mapping[str, Any],
    now: Mapping[str, Any],
    given: list[int] | None,
    wanted: list[int],
) -> Carried:
    """Return how the weight `path` goes over from the manifest `then` to `now`.

    given, wanted: its shapes; of tables with a vocabulary only the width counts. given is None where the
    trained model lacks it.
    """
    if given is None:
        return Carried("anew", "is new, and begins anew")
    meant, means = _stands_for(then, path), _stands_for(now, path)
    if meant is not None and means is not None and meant["encoding"] == means["encoding"] == "vocab":
        if given[1:] == wanted[1:]:
            return Carried("by key")
        return Carried("anew", f"begins anew: it was {given[1]} wide, and is {wanted[1]}")
    if meant != means:
        return Carried("anew", f"begins anew: it was {_said(meant)}, and is {_said(means)}")
    if given == wanted:
        return Carried("whole")
    if means is not None and means["encoding"] == "ids" and given[1:] == wanted[1:]:
        return Carried("by number")
    return Carried("anew", f"begins anew: it was {given}, and is {wanted}")


def _stands_for(manifest: Mapping[str, Any], path: str) -> dict[str, Any] | None:
    """What the rows of a table stand for: an encoding, with what it goes by. None for other weights.

    How many rows there are is no part of it where they are numbered or go by keys.
    """
    for entry in (*manifest["fields"], *manifest.get("crosses", ())):
        if entry["table"] != path:
            continue
        options = dict(entry.get("options", {}))
        encoding = entry.get("encoding", "cross")
        if encoding == "bag":
            options = dict(options["of"])
            encoding = options.pop("encoding")
        if encoding == "cross":
            options = {"of": list(entry["of"]), "n": entry["n"]}
        sizes = {"vocab": ("max", "min_count"), "ids": ("n",)}.get(encoding, ())
        kept = {k: v for k, v in options.items() if k not in ("default", "weight", *sizes)}
        return {"encoding": encoding, **kept}
    return None


def _said(meaning: dict[str, Any] | None) -> str:
    if meaning is None:
        return "no table"
    options = ", ".join(f"{k} = {v}" for k, v in meaning.items() if k != "encoding")
    return f"{meaning['encoding']}({options})"
