"""The language reference holds: every example, every stated type and fault, every table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from specc.driver import check, load_source
from specc.elaborate.builtins.registry import BUILTINS
from specc.elaborate.encodings import ENCODINGS
from specc.emit import emit
from specc.interpret.compare import Expected, unexpected
from specc.ir.graph import Graph, walk
from specc.passes import optimise
from specc.reference import updated
from specc.report import Diagnostic, Report
from specc.source import Source
from specc.syntax import tree
from specc.syntax.parse import parse
from specc.syntax.print import Unreadable, format_source
from specc.testing import random_batch
from specc_runtime import Model, from_texts
from tests.lang.page import PAGE, Example, examples

CONTRACT = PAGE.parents[2] / "shared" / "design" / "language.md"
ALL = examples()
FRAME = next(e for e in ALL if e.name == "frame")
SOUND = [e for e in ALL if not e.is_library and (not e.is_faulty or e.types)]


def label(example: Example) -> str:
    return f"line {example.line}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's whole files, side by side."""
    path = tmp_path_factory.mktemp("page")
    for example in ALL:
        if example.name:
            (path / f"{example.name}.arec").write_text(example.text, encoding="utf-8")
    return path


def said(example: Example, folder: Path) -> list[Diagnostic]:
    text, _ = example.file(FRAME)
    path = folder / f"line_{example.line}.arec"
    path.write_text(text, encoding="utf-8")
    return list(check(path))


def graph_of(example: Example, folder: Path) -> Graph:
    text, _ = example.file(FRAME)
    report = Report()
    graph = load_source(Source("example.arec", text), folder, {}, report)
    assert graph is not None, [(d.code, d.message, d.span.line, d.span.text) for d in report]
    return graph


@pytest.mark.parametrize("example", ALL, ids=label)
def test_what_is_reported(example: Example, folder: Path) -> None:
    _, before = example.file(FRAME)
    last = before + example.text.count("\n")
    found = {
        (d.span.line - before, d.code)
        for d in said(example, folder)
        # The frame's own parts may be unused.
        if before < d.span.line <= last or d.code.startswith("E")
    }
    assert found == example.codes


@pytest.mark.parametrize("example", [e for e in SOUND if e.types], ids=label)
def test_stated_types(example: Example, folder: Path) -> None:
    sound = example.sound
    graph = graph_of(sound, folder)
    for (name, line), stated in sound.types.items():
        if stated == "static":
            assert name not in graph.bindings
            continue
        found = {
            str(n.type) for n in walk(graph.nodes) if n.name == name and n.span.source.name == "example.arec"
        }
        if name in graph.bindings:
            found.add(str(graph.node(graph.bindings[name]).type))
        assert stated in found, f"{name} in line {example.line + line - 1} of the page"


def compiled(graph: Graph, passes: str) -> Model:
    model = from_texts(emit(optimise(graph, passes)), graph.name).double().eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for path, weight in model.state_dict().items():
            weight.copy_(
                torch.rand_like(weight) + 0.1 if path.endswith("_var") else torch.randn_like(weight) / 4
            )
    return model


@pytest.mark.parametrize("example", SOUND, ids=label)
def test_examples_compile_to_what_they_mean(example: Example, folder: Path) -> None:
    small = re.sub(r"\b\d+(_000)+\b", "60", example.sound.text)  # tables of a million rows take their time
    graph = graph_of(Example(small, example.line), folder)
    model = compiled(graph, "default")
    batch = random_batch(model.manifest, 3, seed=example.line, longest=3, empty=0.3)
    expected = Expected.of(graph, model, batch)
    assert not unexpected(model, batch, expected)


@pytest.mark.parametrize("example", ALL, ids=label)
def test_examples_are_in_the_canonical_form(example: Example) -> None:
    text = example.text if example.name else f"model m\n\n{example.text}"
    try:
        assert format_source(text) == text
    except Unreadable:
        assert any(code.startswith("E01") for _, code in example.codes)


def test_the_tables_are_current() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert updated(page) == page, "run `python -m specc.reference docs/language.md`"


@pytest.mark.skipif(not CONTRACT.exists(), reason="the contract's page is not beside this repository")
def test_the_contract_s_whole_spec(tmp_path: Path) -> None:
    whole = re.search(r"^```arec\n(.*?)^```", CONTRACT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert whole is not None
    path = tmp_path / "dsin.arec"
    path.write_text(whole[1], encoding="utf-8")
    assert not list(check(path))
    # Its layout is the canonical one, but for wider gaps in some lines.
    assert whole[1].split() == format_source(whole[1]).split()
    assert whole[1].count("\n") == format_source(whole[1]).count("\n")


# ------------------------------------------------------------- completeness


def nodes(at: object) -> Iterator[tree.Node]:
    if isinstance(at, tuple):
        for item in at:
            yield from nodes(item)
    elif isinstance(at, tree.Node):
        yield at
        for field in fields(at):
            if field.name not in ("span", "comments", "lost"):
                yield from nodes(getattr(at, field.name))


@pytest.fixture(scope="module")
def met() -> list[tree.Node]:
    """Every tree node of the examples that pass."""
    found: list[tree.Node] = []
    for example in ALL:
        if example.is_library or not example.is_faulty or example.types:
            report = Report()
            found += nodes(parse(Source("example.arec", example.sound.file(FRAME)[0]), report))
            assert not report.has_errors
    return found


def test_every_form_of_the_grammar_is_met(met: list[tree.Node]) -> None:
    made = {type(node) for node in met}
    kinds = {k for k in vars(tree).values() if isinstance(k, type) and issubclass(k, tree.Node)}
    assert kinds - made == {tree.Node, tree.Statement, tree.Comment}
    assert {n.kind for n in met if isinstance(n, tree.Block)} == {"block", "encoder", "attention"}
    operators = {n.op for n in met if isinstance(n, tree.Binary | tree.Unary)}
    assert operators >= set("+ - * / % ^ == < > >= and or not".split())
    assert any(n.like for n in met if isinstance(n, tree.AxisDecl))
    assert any(n.size is not None for n in met if isinstance(n, tree.LearnedAxis))
    assert any(n.init is not None and len(scan.states) > 1 and scan.backward
               for scan in met if isinstance(scan, tree.Scan) for n in scan.states)  # fmt: skip
    assert any(n.alias and n.member for n in met if isinstance(n, tree.Use))
    assert any(not n.names for n in met if isinstance(n, tree.Place))
    assert any(n.domain is not None for n in met if isinstance(n, tree.Static))


def test_every_built_in_and_shipped_block_is_met(met: list[tree.Node]) -> None:
    from specc import resources

    named = {n.name for n in met if isinstance(n, tree.Ref)} | {
        n.ident.name for n in met if isinstance(n, tree.Entry)
    }
    shipped = {
        name
        for path in (resources.specs() / "std").glob("*.arec")
        for name in re.findall(r"^(?:block|encoder|attention) (\w+)", path.read_text("utf-8"), re.MULTILINE)
    }
    assert set(BUILTINS) - named == set()
    assert set(ENCODINGS) - named == set()
    assert shipped - named == set()
