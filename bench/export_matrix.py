"""Every shipped spec as every format in both forms: how far it is from the model, for docs/export.md.

    python -m bench.export_matrix [--specs din,dien] [--formats pt2,onnx,aoti] [--page docs/export.md]

Each program is written, loaded by its engine and run at several sizes, 0 and 1 among them, as `specc export`
does. Weights are drawn. What is not tried in a run stays in the table as it was.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from specc import resources
from specc.driver import compiled
from specc.export import ExportError
from specc.export.export import program_of
from specc.export.formats import WRITERS, quiet
from specc.export.verify import furthest
from specc.report import Report
from specc_runtime import from_texts
from specc_runtime.engines import engine

FORMS = ("request", "batch")
_BEGIN, _END = "<!-- matrix -->", "<!-- end of matrix -->"
Cells = dict[str, dict[str, str]]


def specs() -> list[Path]:
    """All shipped models, the built-in ones first."""
    folder = resources.specs()
    return [*sorted(folder.glob("*.arec")), *sorted((folder / "more").glob("*.arec"))]


def tried(spec: Path, form: str, formats: Sequence[str]) -> Iterator[tuple[str, str]]:
    """By format the largest difference, or what keeps it from being exported."""
    found = compiled(spec, "default", None, {}, Report())
    assert found is not None, spec
    torch.manual_seed(0)
    model = from_texts(found.texts).eval()
    try:
        program = program_of(model, form, written=found.written)
    except ExportError as error:
        yield from ((name, str(error)) for name in formats)
        return
    for name in formats:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"model.{name}"
            try:
                with quiet():
                    WRITERS[name](program.program, program.signature, path)
                    run = engine(name, path, 1, program.signature)
                yield name, f"{furthest(model, run, program.signature, program.alone):.0e}"
            except Exception as error:  # exporters and engines raise many kinds
                yield name, str(error).splitlines()[0]


def read(text: str) -> Cells:
    """The table of a page, by spec and column."""
    cells: Cells = {}
    head: list[str] = []
    for line in between(text).splitlines():
        row = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| spec"):
            head = row[1:]
        elif line.startswith("| ") and head:
            cells[row[0]] = {k: v for k, v in zip(head, row[1:], strict=True) if v}
    return cells


def between(text: str) -> str:
    found = re.search(f"{re.escape(_BEGIN)}(.*?){re.escape(_END)}", text, re.S)
    return found[1] if found else ""


def written(cells: Cells) -> str:
    """The table of all that is known."""
    columns = [f"{name} {form}" for form in FORMS for name in WRITERS]
    lines = [f"| spec | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    lines += [
        f"| {spec} | {' | '.join(row.get(c, '') for c in columns)} |" for spec, row in sorted(cells.items())
    ]
    return f"{_BEGIN}\n" + "\n".join(lines) + f"\n{_END}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--specs", default="", help="names, with commas between; else all")
    parser.add_argument("--formats", default="pt2,onnx,aoti")
    parser.add_argument("--forms", default="request,batch")
    parser.add_argument("--page", type=Path, default=Path("docs/export.md"))
    given = parser.parse_args()
    wanted = [name for name in given.specs.split(",") if name]
    for spec in specs():
        if wanted and spec.stem not in wanted:
            continue
        for form in given.forms.split(","):
            for name, cell in tried(spec, form, given.formats.split(",")):
                print(spec.stem, form, name, cell, file=sys.stderr, flush=True)
                text = given.page.read_text(encoding="utf-8")
                cells = read(text)
                cells.setdefault(spec.stem, {})[f"{name} {form}"] = cell.replace("|", "/")
                old = f"{_BEGIN}{between(text)}{_END}"
                given.page.write_text(text.replace(old, written(cells)), encoding="utf-8")


if __name__ == "__main__":
    main()
