"""Runs docs/notebook.ipynb, and keeps what its cells give: `python docs/site/notebook.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "notebook.ipynb"


def executed() -> Any:
    """The notebook as it is after a run, without what differs from run to run and means nothing."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3", record_timing=False).execute()
    for cell in notebook.cells:
        # One text of a stream comes in as many pieces as it happens to.
        outputs: list[Any] = []
        for output in cell.get("outputs", ()):
            before = outputs[-1] if outputs else None
            if output.output_type == "stream" and before is not None and before.get("name") == output.name:
                before.text += output.text
            else:
                outputs.append(output)
        if cell.cell_type == "code":
            cell.outputs = outputs
    notebook.metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python"},
    }
    return notebook


if __name__ == "__main__":
    nbformat.write(executed(), NOTEBOOK)
