"""Specs as the tests want them: the typed graph, or an exception whose text is the diagnostics."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from specc.driver import load
from specc.ir.graph import Graph


def graph_of(spec: str | Path, params: Mapping[str, Any]) -> Graph:
    """Return the typed graph of a spec file. Raises SpecError where it has faults."""
    graph, report = load(spec, params)
    if graph is None:
        from specc import SpecError

        raise SpecError(report)
    return graph
