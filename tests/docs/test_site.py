"""The site holds together: links lead somewhere, the search knows the pages, no other host is asked."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]


class _Page(HTMLParser):
    """The links, what a browser loads, and the anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links, self.loaded, self.anchors = list[str](), list[str](), set[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif name == "href" and value and tag == "a":
                self.links.append(value)
            elif name in ("src", "href") and value and tag in ("script", "img", "link"):
                self.loaded.append(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the site."""
    folder = tmp_path_factory.mktemp("site")
    found = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, _Page]:
    """Each HTML file of the site, read."""
    files = [path for path in site.rglob("*.html") if path.name != "404.html"]
    return {path: _Page(path.read_text(encoding="utf-8")) for path in files}


def within(pages: dict[Path, _Page]) -> Iterator[tuple[Path, Path, str]]:
    """Each link to a file of the site: where it stands, the file, the anchor."""
    for path, page in pages.items():
        for link in [*page.links, *page.loaded]:
            parts = urlsplit(link)
            if not parts.scheme and not parts.netloc:
                target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
                yield path, target, unquote(parts.fragment)


def test_links_lead_somewhere(site: Path, pages: dict[Path, _Page]) -> None:
    lost = set[str]()
    for path, target, anchor in within(pages):
        file = target / "index.html" if target.is_dir() else target
        if not file.is_file() or (anchor and file in pages and anchor not in pages[file].anchors):
            lost.add(f"{path.relative_to(site)}: {target.name}#{anchor}")
    assert not lost


def test_a_page_loads_nothing_from_elsewhere(pages: dict[Path, _Page]) -> None:
    for path, page in pages.items():
        assert not [link for link in page.loaded if urlsplit(link).netloc and "canonical" not in link], path


def test_every_diagnostic_and_every_spec_has_a_page(site: Path) -> None:
    for page in (ROOT / "specc" / "report" / "pages").glob("*.md"):
        assert (site / "diagnostics" / f"{page.stem}.html").is_file()
    for spec in (ROOT / "specs").rglob("*.arec"):
        made = site / spec.relative_to(ROOT).with_suffix(".html")
        assert spec.stem in made.read_text(encoding="utf-8")
        assert made.with_suffix(".svg").is_file() or "std" in made.parts


def test_a_spec_s_page_has_its_equations_and_results_or_leads_to_them(site: Path) -> None:
    assert "../models/dsin.html" in (site / "specs" / "dsin_official.html").read_text(encoding="utf-8")
    ranked = (site / "specs" / "more" / "esmm.html").read_text(encoding="utf-8")
    assert ranked.count("<td>esmm, ") == 2
    assert 'id="equations"' in ranked
    assert 'href="https://arxiv.org/abs/1804.07931"' in ranked


def test_every_model_s_page_has_its_equations_or_leads_to_them(site: Path) -> None:
    for spec in (path for path in (ROOT / "specs").rglob("*.arec") if path.parent.name != "std"):
        page = (site / spec.relative_to(ROOT).with_suffix(".html")).read_text(encoding="utf-8")
        own, of = 'id="equations"' in page, f'href="../models/{spec.stem.partition("_")[0]}.html">'
        assert own or of in page, spec
    for page in (ROOT / "docs" / "models").glob("*.svg"):
        made = site / "models" / page.with_suffix(".html").name
        assert 'id="equations-and-spec"' in made.read_text(encoding="utf-8")


def test_code_in_tables_is_as_it_stands(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert not re.search(r"<td><code>[^<]*\\\|", page.read_text(encoding="utf-8")), page


def test_the_search_knows_the_pages(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    found = {entry["location"].partition("#")[0] for entry in index["docs"]}
    assert {"index.html", "language.html", "diagnostics/E0203.html", "specs/dsin.html"} <= found
