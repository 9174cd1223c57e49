"""Print a graph as the texts that a compiled model consists of."""

from __future__ import annotations

import json

from specc.emit.manifest import manifest_of
from specc.emit.module import source_of, sources_of
from specc.ir.graph import Graph

__all__ = ["emit", "manifest_of", "source_of"]


def emit(graph: Graph) -> dict[str, str]:
    """Return the texts of `model.py`, `manifest.json` and, where there is such C, `kernels.c` and
    `scoring.c`, by file name, of a graph after `passes.optimise`."""
    manifest = json.dumps(manifest_of(graph), indent=2, ensure_ascii=False)
    model, kernels, scoring = sources_of(graph)
    in_c = {"kernels.c": kernels, "scoring.c": scoring}
    return {
        "model.py": model,
        "manifest.json": manifest + "\n",
        **{n: text for n, text in in_c.items() if text},
    }
