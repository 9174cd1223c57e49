"""The README is true: its picture is its spec's, its figures are the measured ones."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from specc.cli import COMMANDS
from specc.driver import load
from specc.passes import prepared
from specc.show.scene import scene
from specc.show.svg import svg

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
_SPEC = re.compile(r"<!-- file: shop.arec -->\n```arec\n(.*?)^```$", re.M | re.S)


def texts(picture: str) -> set[str]:
    tree = ElementTree.fromstring(picture)
    return {"".join(found.itertext()).strip() for found in tree.iter("{http://www.w3.org/2000/svg}text")}


def test_it_is_short() -> None:
    assert len(README.splitlines()) < 150


def test_the_first_model_is_one_and_its_picture_shows_it(tmp_path: Path) -> None:
    (spec,) = _SPEC.findall(README)
    assert _SPEC.findall((ROOT / "docs" / "first-model.md").read_text(encoding="utf-8")) == [spec]
    (tmp_path / "shop.arec").write_text(spec, encoding="utf-8")
    graph, _ = load(str(tmp_path / "shop.arec"), {})
    assert graph is not None
    kept = (ROOT / "docs" / "first-model.svg").read_text(encoding="utf-8")
    assert texts(svg(scene(prepared(graph)))) == texts(kept), (
        "draw it again: specc show shop.arec -o docs/first-model.svg"
    )


def test_peers_take_as_long_as_was_measured() -> None:
    report = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    models = report[report.index("## Models") : report.index("## What each pass is worth")]
    rows = re.findall(
        r"^\| ([^|]+?)(?: \([\d, ]+\))?(?:, [^|]*)? \| \**([\d.]+)\** \| \**([\d.]+)\** \|", models, re.M
    )
    table = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in README.splitlines()
        if line.startswith("|")
    ]
    (peers,) = (row for row in table if row[1:2] == ["arec"])
    for column, wanted in ((1, "a training step"), (2, "scoring")):
        (figures,) = (row for row in table if row[0].startswith(wanted))
        for peer, figure in list(zip(peers, figures, strict=True))[2:]:
            measured = [float(row[column]) for row in rows if row[0] == peer]
            assert figure == f"{_short(min(measured))} to {_short(max(measured))}", peer


def test_every_command_is_named() -> None:
    table = README[README.index("## What else there is") :]
    named = set(re.findall(r"`(\w+)`", table)) | {"demo", "lsp"}
    assert set(COMMANDS) <= named, set(COMMANDS) - named


def _short(ratio: float) -> str:
    return f"{ratio:.1f}" if ratio < 10 else f"{ratio:.0f}"
