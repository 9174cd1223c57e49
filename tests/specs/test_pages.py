"""docs/models: what the pages quote of the specs is there, and what they link to exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from specc.report import Report
from specc.source import Source
from specc.syntax import tree
from specc.syntax.parse import parse
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


EQUATIONS = re.split(r"^## (\w+)\n", (FOLDER / "equations.md").read_text(encoding="utf-8"), flags=re.M)[1:]
BY_MODEL = dict(zip(EQUATIONS[::2], EQUATIONS[1::2], strict=True))
# What equations may name beside a spec's words and those of the blocks that it calls.
FUNCTIONS = {"linear", "mlp", "softmax", "clamp", "relu", "label", "var"}


def declared(file: tree.File) -> set[str]:
    """The names of what a spec computes, learns and gives."""
    kinds = (tree.Binding, tree.Learned, tree.Layer, tree.Block, tree.Predict, tree.Loss, tree.Output)
    first = file.body[0]
    body = first.body if isinstance(first, tree.Extends) else file.body
    return {item.ident.name for item in body if isinstance(item, kinds)}


def code(text: str) -> str:
    """The blocks and the inline code of a page's part."""
    fence = re.compile(r"```text\n(.*?)```", re.DOTALL)
    return "\n".join([*fence.findall(text), *re.findall(r"`([^`]+)`", fence.sub("", text))])


def test_every_model_of_one_spec_has_equations() -> None:
    alone = {path.stem for path in (SPECS / "more").glob("*.arec")}
    assert set(BY_MODEL) == alone | {"fm"}
    assert list(BY_MODEL) == sorted(BY_MODEL)
    beside = {path.stem.partition("_")[0] for path in SPECS.glob("*.arec")} - set(BY_MODEL)
    assert beside == {page.stem for page in PAGES}
    for page in PAGES:
        assert "\n## Equations and spec\n" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("model", sorted(BY_MODEL))
def test_equations_name_what_the_spec_names(model: str) -> None:
    path = SPECS / "fm.arec" if model == "fm" else SPECS / "more" / f"{model}.arec"
    text, written = path.read_text(encoding="utf-8"), code(BY_MODEL[model])
    names = declared(parse(Source(path.name, text), Report()))
    assert names
    # A name with subscripts is that name.
    assert not {n for n in names if not re.search(rf"(?<![a-z_.]){n}(?![a-z])", written)}
    known = words(text) | FUNCTIONS
    for library in (SPECS / "std").glob("*.arec"):
        body = library.read_text(encoding="utf-8")
        if known & set(re.findall(r"^(?:block|encoder|attention) (\w+)", body, re.M)):
            known |= words(body)
    left = re.findall(r"^(?:log )?([a-z][a-z_]+)", written, re.M)
    joined = re.findall(r"(?<![\w.])([a-z]+(?:_[a-z]+)+)", written)
    # A letter with subscripts is the page's own.
    assert not {name for name in [*left, *joined] if not is_known(name, known) and name[1] != "_"}


def is_known(name: str, known: set[str]) -> bool:
    return name in known or name.rpartition("_")[0] in known


def words(spec: str) -> set[str]:
    return set(re.findall(r"[a-z_]\w*", re.sub(r"#.*", "", spec)))
