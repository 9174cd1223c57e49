"""Every shipped spec has a portable form, and a page says how far its programs are from it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from bench.export_matrix import between, read, specs, table_of
from specc.driver import load
from specc.emit.portable import portable_source_of
from specc.export.graph import exported
from specc.export.signature import signature_of
from specc.export.verify import TOLERANCE

PAGE = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("spec", specs(), ids=lambda path: path.stem)
def test_every_shipped_spec_has_a_portable_form(spec: Path) -> None:
    graph, _ = load(spec)
    assert graph is not None
    found, alone = exported(graph)
    signatures = {form: signature_of(found, form, alone, "float32") for form in ("request", "batch")}
    ast.parse(portable_source_of(found, alone))
    names = [[x.name for x in signatures[form].inputs] for form in ("request", "batch")]
    assert set(names[0]) <= set(names[1])
    assert [o.name for o in signatures["batch"].outputs] == [*graph.named]


def test_the_matrix_of_the_page_is_what_the_script_writes() -> None:
    cells = read(PAGE)
    assert table_of(cells)[len("<!-- matrix -->") : -len("<!-- end of matrix -->")] == between(PAGE)
    assert set(cells) == {path.stem for path in specs()}
    refused = {(spec, kind) for spec, row in cells.items() for kind, cell in row.items() if cell == "refused"}
    assert not refused
    assert max(float(cell) for row in cells.values() for cell in row.values()) <= TOLERANCE
