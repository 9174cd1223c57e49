"""Print a graph as the texts that a compiled model consists of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from specc.emit.manifest import manifest_of
from specc.emit.module import source_of, sources_of
from specc.ir.graph import Graph

_COMPACT = json.JSONEncoder(ensure_ascii=False).encode

__all__ = ["emit", "manifest_of", "source_of"]


def emit(graph: Graph) -> dict[str, str]:
    """Return the texts of `model.py`, `manifest.json` and, where there is such C, `kernels.c` and
    `scoring.c`, by file name, of a graph after `passes.optimise`."""
    model, kernels, scoring = sources_of(graph)
    in_c = {"kernels.c": kernels, "scoring.c": scoring}
    return {
        "model.py": model,
        "manifest.json": _json(manifest_of(graph)),
        **{n: text for n, text in in_c.items() if text},
    }


def _json(manifest: Mapping[str, Any]) -> str:
    """The text of a manifest, with a line for each entry of a list: `json` indents ten times as slowly as it
    writes."""

    def line(value: Any) -> str:
        if not isinstance(value, list) or not value:
            return _COMPACT(value)
        return "[\n" + ",\n".join(f"    {_COMPACT(x)}" for x in value) + "\n  ]"

    return (
        "{\n" + ",\n".join(f"  {_COMPACT(key)}: {line(value)}" for key, value in manifest.items()) + "\n}\n"
    )
