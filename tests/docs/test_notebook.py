"""docs/notebook.ipynb gives what it says it gives."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest


def gave(notebook: Any) -> list[list[tuple[str, str]]]:
    """By cell, what it gave as text, without numbers and bars, and the other types that it gave."""
    return [
        [
            (
                ",".join([output["output_type"], *sorted(output.get("data", ()))]),
                re.sub(r"[\d.,█▏▎▍▌▋▊▉ ]+|\x1b\[[\d;]*m", " ", _text(output)),
            )
            for output in cell.get("outputs", ())
        ]
        for cell in notebook["cells"]
    ]


def _text(output: Any) -> str:
    found = output.get("text") or output.get("data", {}).get("text/plain") or output.get("traceback", "")
    return "".join(found)


def test_the_notebook_gives_what_it_says() -> None:
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    from docs.site.notebook import NOTEBOOK, executed

    kept = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert gave(executed()) == gave(kept), "write it anew: python docs/site/notebook.py"
    assert sum("image/svg+xml;base64" in json.dumps(cell) for cell in kept["cells"]) == 1
