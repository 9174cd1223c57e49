"""Every code has a page, and what the page shows is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import specc
from specc.driver import check
from specc.report.codes import CODES, Page
from specc.report.render import render

SOURCES = sorted(path for path in Path(specc.__file__).parent.rglob("*.py"))
GIVEN = re.compile(r'"([EW]0\d{3})"')
# Faults that no short text has.
WITHOUT_EXAMPLE = {"E0001", "E0002", "E0109", "E0212", "E0405", "E0408"}


def test_codes_given_are_the_codes_explained() -> None:
    given = {code for path in SOURCES for code in GIVEN.findall(path.read_text(encoding="utf-8"))}
    assert given == set(CODES)


@pytest.mark.parametrize("code", sorted(CODES))
def test_page(code: str, tmp_path: Path) -> None:
    page = CODES[code]
    assert page.code == code
    assert not page.title.endswith(".")
    assert max(map(len, page.text.splitlines())) <= 110
    assert bool(page.faulty) == bool(page.repaired) == (code not in WITHOUT_EXAMPLE)
    if page.faulty:
        assert codes_of(page, page.faulty, tmp_path) == {code}
        assert codes_of(page, page.repaired, tmp_path) == set()


def codes_of(page: Page, text: str, folder: Path) -> set[str]:
    for name, other in page.beside.items():
        (folder / name).write_text(other, encoding="utf-8")
    path = folder / "example.arec"
    path.write_text(text, encoding="utf-8")
    report = check(path)
    print(render(report))
    return {d.code for d in report}


def test_the_documentation_lists_every_code() -> None:
    text = (Path(specc.__file__).parents[1] / "docs" / "diagnostics.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[([EW]\d{4})\]\(\S+\) \| (.+) \|$", text, re.MULTILINE)
    assert listed == [(code, CODES[code].title) for code in CODES]
