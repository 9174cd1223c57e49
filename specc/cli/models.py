"""Models on the command line: a spec file or a compiled directory, and what there is of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from specc.cli.common import FAULTS, fail, show


def manifest_from(path: Path, params: dict[str, Any]) -> dict[str, Any]:
    """The manifest of a spec, or of a compiled directory, without torch. Ends the command where there is
    none."""
    if path.is_dir():
        if params:
            fail(f"{path} is compiled already: --set is for specs")
        try:
            found = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
            assert isinstance(found, dict)
            return found
        except (OSError, ValueError, AssertionError):
            fail(f"{path} is not a compiled model: it has no manifest.json that can be read")
    from specc.driver import load
    from specc.emit.manifest import manifest_of

    graph, report = load(path, params)
    show(report)
    if graph is None or report.has_errors:
        sys.exit(FAULTS)
    return manifest_of(graph)
