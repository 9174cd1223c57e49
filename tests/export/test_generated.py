"""Random programs as files of every format, number by number, each loaded again and held against its model.

    AREC_EXPORTS=0:300 pytest -s tests/export/test_generated.py                    # pt2, onnx; both forms
    AREC_EXPORTS=0:20 AREC_FORMATS=aoti pytest -s tests/export/test_generated.py   # minutes each

What a program has that is not portable is counted, and printed at the end.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from specc.export import ExportError
from specc.export.export import program_of, written
from specc.testing.programs import program_of as text_of
from specc.testing.subject import Subject
from tests.testing.laws_of_programs import checked

WANTED = os.environ.get("AREC_EXPORTS", "0:300" if os.environ.get("AREC_LONG") else "")
FIRST, _, LAST = (WANTED or "0:1").partition(":")
FORMS = ("request", "batch") if WANTED else ("batch",)  # a program takes ten seconds
# ONNX at the end, whose exporter leaves symbols in the program that the others would take for sizes.
FORMATS = sorted(os.environ.get("AREC_FORMATS", "pt2,onnx").split(","), key="onnx".__eq__)
BINDINGS = 3
HAS_ONNX = all(find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))


@pytest.fixture(scope="module")
def refused() -> Iterator[Counter[str]]:
    """By operation the number of programs that cannot be exported for it."""
    found: Counter[str] = Counter()
    yield found
    for name, count in found.most_common():
        print(f"\nnot portable: {name} in {count} programs", end="")


@pytest.mark.parametrize("number", range(int(FIRST), int(LAST)))
def test_a_program_of_a_number_is_exported(number: int, refused: Counter[str], tmp_path: Path) -> None:
    torch.set_num_threads(1)
    subject = Subject.of(checked(text_of(number, BINDINGS)), number)
    model = subject.model.float().eval()
    model.manifest = subject.manifest  # which has the numbers at which a comparison turns
    for form in FORMS:
        try:
            program = program_of(model, form, written=subject.graph)
        except ExportError as error:
            names = set(re.findall(r"`(\w+)` cannot be exported: ", str(error)))
            if not names:
                raise
            refused.update(names)
            return
        for kind in FORMATS:
            if kind != "onnx" or HAS_ONNX:
                written(model, program, kind, tmp_path / f"{form}.{kind}", 1)  # raises where it is off
