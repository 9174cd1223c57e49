"""Faulty specs with what is said of them: the mistakes people make, and every code.

`tests/bad/NAME.arec` with `NAME.txt`; files whose names begin with `_` are only there for others to use.
`AREC_UPDATE_GOLDEN=1` writes the texts anew: read them as someone would who made the mistake.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from specc.cli.fix import mend_bytes
from specc.driver import check_source, read
from specc.report import Report
from specc.report.codes import CODES
from specc.report.render import render

FOLDER = Path(__file__).parents[1] / "bad"
SPECS = sorted(path for path in FOLDER.glob("*.arec") if not path.name.startswith("_"))


@pytest.fixture(autouse=True, scope="module")
def beside_the_specs() -> Iterator[None]:
    """Diagnostics name files as they were asked for: here without a folder."""
    with contextlib.chdir(FOLDER):
        yield


@cache
def said_of(path: Path) -> Report:
    report = Report()
    source = read(path.name, report)
    if source is not None:
        check_source(source, Path(), {}, report)
    return report


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_faulty_spec(path: Path) -> None:
    # The standard library is where the project is.
    shown = render(said_of(path)).replace(f"{FOLDER.parents[1]}/", "")
    golden = path.with_suffix(".txt")
    if os.environ.get("AREC_UPDATE_GOLDEN"):
        golden.write_text(shown, encoding="utf-8")
    assert shown == golden.read_text(encoding="utf-8")


def test_every_code_is_met() -> None:
    """But for those that need a file, a package, an override or a depth that no such text has."""
    assert len(SPECS) >= 120
    met = {d.code for path in SPECS for d in said_of(path)}
    assert set(CODES) - met == {"E0001", "E0002", "E0109", "E0212", "E0405", "E0408"}


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_fixes_leave_less_to_say(path: Path) -> None:
    """What is called certain is: where every fault has a fix, the spec is clean after them."""
    report = said_of(path)
    if not any(d.fix for d in report):
        return
    after, data = mend_bytes(path.name, path.read_bytes(), Path(), {})
    assert data != path.read_bytes()
    if all(d.fix for d in report):
        assert not after.has_errors, render(after)
