"""docs/architecture.md draws the tree as it is, and its links and those of other pages lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.test_house import STAGES

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "runtime").glob("*.md")])


def drawn() -> dict[str, list[tuple[str, str]]]:
    """By package, each line of the drawing: the folder or file, and what is said of it."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    (drawing,) = re.findall(r"<!-- folders -->\n```text\n(.*?)```", text, re.S)
    found: dict[str, list[tuple[str, str]]] = {}
    for line in drawing.splitlines():
        if not line.startswith(" "):
            lines = found[line] = []
        else:
            name, says = line.split(maxsplit=1)
            lines.append((name, says))
    return found


@pytest.mark.parametrize("package", ["specc/", "runtime/specc_runtime/"])
def test_every_folder_is_drawn(package: str) -> None:
    names = {name for name, _ in drawn()[package]}
    there = {f"{p.name}/" for p in (ROOT / package).iterdir() if p.is_dir() and list(p.glob("*.py"))}
    assert {name for name in names if name.endswith("/")} == there
    assert all((ROOT / package / name).exists() for name in names)


def test_stages_are_drawn_in_their_order() -> None:
    numbered = {
        name.removesuffix("/").removesuffix(".py"): int(says.split()[0])
        for name, says in drawn()["specc/"]
        if says[0].isdigit()
    }
    assert sorted(numbered, key=numbered.__getitem__) == list(STAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.M)
            anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
            assert anchor in anchors, target


def test_a_word_of_the_glossary_is_explained_once() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text().split("## Glossary")[1]
    words = [w.strip() for cell in re.findall(r"^\| (.*?) \|", text, re.M) for w in cell.split(",")]
    words = [word for word in words if word not in ("word", "---")]
    assert len(words) == len(set(words))
