"""docs/models: what the pages quote of the specs is there, and what they link to exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.specs.small import REPO, SPECS

FOLDER = REPO / "docs" / "models"
ALL = sorted(FOLDER.glob("*.md"))
PAGES = [path for path in ALL if (SPECS / f"{path.stem}.arec").is_file()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_quotes_the_spec(page: Path) -> None:
    specs = [SPECS / f"{page.stem}.arec", SPECS / f"{page.stem}_official.arec"]
    known = {line.strip() for path in specs if path.is_file() for line in path.read_text().splitlines()}
    quoted = re.findall(r"```arec\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert quoted
    for line in "".join(quoted).splitlines():
        assert line.strip() in known


@pytest.mark.parametrize("page", ALL, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).resolve().is_file(), target
