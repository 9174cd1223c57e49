"""Models that nobody had in mind when the compiler was written: a text each, and nothing but the text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from specc.driver import check, load
from specc.interpret.compare import Expected, unexpected
from specc.ir.graph import Graph
from specc.testing import random_batch
from tests.oracle.subjects import compiled, draws, every_way
from tests.specs.small import SPECS, few_rows

SMALL: Mapping[str, Mapping[str, Any]] = {
    "can": {"dim": 4, "wide": 4, "sizes": [8]},
    "bert4rec": {"dim": 8, "longest": 10, "masked": 1.0, "drawn": 10},
    "caser": {"dim": 8, "across": 4, "down": 2},
    "dcnv2": {"dim": 4, "sizes": [8]},
    "deepfm": {"dim": 4, "sizes": [8]},
    "esmm": {"dim": 8, "sizes": [8, 4]},
    "eta": {"dim": 4, "longest": 50, "found": 10, "bits": 16, "heads": 2, "sizes": [8]},
    "ffm": {"k": 2},
    "eulernet": {"dim": 4, "neurons": 3},
    "fgcnn": {"dim": 4, "channels": 2, "sizes": [8]},
    "fibinet": {"dim": 4, "sizes": [8]},
    "fmfm": {"dim": 4},
    "gru4rec": {"dim": 8, "longest": 10},
    "hstu": {"dim": 16, "heads": 2, "longest": 10, "buckets": 16},
    "mind": {"dim": 8, "most": 2},
    "mmoe": {"dim": 4, "size": 8, "sizes": [4]},
    "nextitnet": {"dim": 8, "longest": 10, "drawn": 10},
    "nrms": {"dim": 16, "heads": 2, "size": 4, "hidden": 8},
    "ple": {"dim": 4, "size": 8},
    "sasrec": {"dim": 8, "longest": 10},
    "sdim": {"dim": 4, "longest": 50, "groups": 4, "sizes": [8]},
    "sim": {"dim": 4, "longest": 50, "found": 10, "heads": 2, "sizes": [8]},
    "star": {"dim": 4},
    "twin": {"dim": 4, "longest": 50, "found": 10, "heads": 2, "sizes": [8]},
    "two_tower": {"dim": 8, "sizes": [8]},
    "xdeepfm": {"k": 4, "maps": 20, "sizes": [8]},
}


def test_all_of_them_are_here() -> None:
    assert {path.stem for path in (SPECS / "more").glob("*.arec")} == set(SMALL)


def graph_of(name: str, **params: Any) -> Graph:
    graph, report = load(SPECS / "more" / f"{name}.arec", {**SMALL[name], **params})
    assert graph is not None, list(report)
    return few_rows(graph)


@pytest.mark.parametrize("name", SMALL)
def test_is_short_and_cites_its_paper(name: str) -> None:
    text = (SPECS / "more" / f"{name}.arec").read_text(encoding="utf-8")
    about = text[: text.index("model ")]
    assert len(text.splitlines()) < 45
    assert "https://" in about


@pytest.mark.parametrize("name", SMALL)
def test_checks_clean(name: str) -> None:
    assert not list(check(SPECS / "more" / f"{name}.arec"))


@pytest.mark.parametrize("name", SMALL)
def test_compiled_in_every_way_is_what_it_means(name: str) -> None:
    graph = graph_of(name)
    model = compiled(graph, "none").train(not draws(graph))
    batch = random_batch(model.manifest, 3, seed=5, longest=4, empty=0.3)
    expected = Expected.of(graph, model, batch)
    assert not unexpected(model, batch, expected)
    for passes in every_way(graph):
        model = compiled(graph, passes).train(not draws(graph))
        assert not unexpected(model, batch, expected), passes
