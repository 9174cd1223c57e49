"""Every shipped spec as every format in both forms: how far it is from the model, for docs/export.md.

    python -m bench.export_matrix [--specs din,dien] [--formats pt2,onnx,aoti] [--again] [--page FILE]

Each program is traced, written, loaded by its engine and run at several sizes, 0 and 1 among them, as
`specc export` does, and once more in a process that has the engine alone. Weights are drawn such that none
hides another, and tables cut to a few rows. The page is written after each cell, and a run takes up where one
before it ended: what is in the table is tried `--again` alone.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.alone import furthest_alone
from specc import resources
from specc.driver import load
from specc.export.export import program_of, written
from specc.export.formats import WRITERS
from specc.testing.subject import Subject
from specc_runtime.files import replace_file

FORMS = ("request", "batch")
_UNTRIED = "not tried"
_NUMBER = re.compile(r"[\d.e+-]+")
_BEGIN, _END = "<!-- matrix -->", "<!-- end of matrix -->"
Cells = dict[str, dict[str, str]]


def specs() -> list[Path]:
    """All shipped models, the built-in ones first."""
    folder = resources.specs()
    return [*sorted(folder.glob("*.arec")), *sorted((folder / "more").glob("*.arec"))]


def tried(spec: Path, form: str, formats: Sequence[str]) -> Iterator[tuple[str, str]]:
    """By format the largest difference, or what keeps it from being exported."""
    graph, _ = load(spec)
    assert graph is not None, spec
    subject = Subject.of(graph, seed=0)
    model = subject.model.float().eval()
    for name in formats:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"model.{name}"
            try:
                program = program_of(model, form, written=subject.graph)
                here = written(model, program, name, path, threads=1)
                yield name, f"{max(here, furthest_alone(model, program, name, path, Path(folder))):.0e}"
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
            cells[row[0]] = {k: v for k, v in zip(head, row[1:], strict=True) if v != _UNTRIED}
    return cells


def between(text: str) -> str:
    found = re.search(f"{re.escape(_BEGIN)}(.*?){re.escape(_END)}", text, re.S)
    return found[1] if found else ""


def table_of(cells: Cells) -> str:
    """The table of all that is known."""
    columns = [f"{name} {form}" for form in FORMS for name in WRITERS]
    lines = [f"| spec | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    for spec, row in sorted(cells.items()):
        lines.append(f"| {spec} | {' | '.join(row.get(c, _UNTRIED) for c in columns)} |")
    return f"{_BEGIN}\n" + "\n".join(lines) + f"\n{_END}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--specs", default="", help="names, with commas between; else all")
    parser.add_argument("--formats", default="pt2,onnx,aoti")
    parser.add_argument("--forms", default="request,batch")
    parser.add_argument("--again", action="store_true", help="try what is in the table, too")
    parser.add_argument("--page", type=Path, default=Path("docs/export.md"))
    given = parser.parse_args()
    wanted = [name for name in given.specs.split(",") if name]
    for spec in specs():
        if wanted and spec.stem not in wanted:
            continue
        for form in given.forms.split(","):
            known = {} if given.again else read(given.page.read_text(encoding="utf-8")).get(spec.stem, {})
            missing = [name for name in given.formats.split(",") if f"{name} {form}" not in known]
            for name, cell in tried(spec, form, missing) if missing else ():
                print(spec.stem, form, name, cell, file=sys.stderr, flush=True)
                text = given.page.read_text(encoding="utf-8")
                cells = read(text)
                cells.setdefault(spec.stem, {})[f"{name} {form}"] = (
                    cell if _NUMBER.fullmatch(cell) else "refused"
                )
                old = f"{_BEGIN}{between(text)}{_END}"
                with replace_file(given.page) as page:
                    page.write_text(text.replace(old, table_of(cells)), encoding="utf-8")


if __name__ == "__main__":
    main()
