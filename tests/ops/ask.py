"""Run by tests where scratch packages are installed: a spec that uses their operations, in every way."""

from __future__ import annotations

import sys

from specc.driver import load, load_source
from specc.interpret.compare import Expected, unexpected
from specc.ir.graph import Graph, walk
from specc.ir.verify import verify
from specc.passes import optimise, stages
from specc.report import Report
from specc.source import Source
from specc.testing import random_batch
from specc.testing.programs import programs
from tests.oracle.subjects import compiled, every_way


def agree(path: str, *names: str) -> None:
    """Whether a spec has these operations at the end, and is what it means after every pass."""
    graph, report = load(path)
    assert graph is not None, [(d.code, d.message) for d in report]
    for _, stage in stages(graph):
        verify(stage)
    used = {node.op for node in walk(optimise(graph).nodes)}
    assert set(names) <= used, used
    model = compiled(graph, "none").train()
    batch = random_batch(model.manifest, 4, seed=3, empty=0.3)
    expected = Expected.of(graph, model, batch)
    for passes in ("none", *every_way(graph)):
        model = compiled(graph, passes).train()
        assert not unexpected(model, batch, expected), (passes, unexpected(model, batch, expected))
    for passes in ("none", "default"):
        model = compiled(graph, passes)
        requests = random_batch(model.manifest, 3, seed=7, empty=0.3, candidates=True)
        assert not unexpected(model, requests, Expected.of(graph, model, requests)), passes


def drawn_twice(path: str, name: str, times: str) -> None:
    """Whether an operation stands in the graph so often, after every pass by itself and all."""
    graph, report = load(path)
    assert graph is not None, [(d.code, d.message) for d in report]
    for passes in ("none", *every_way(graph)):
        (*_, (_, last)) = stages(graph, passes)
        found = [node for node in walk(last.nodes) if node.op == name]
        assert len(found) == int(times), (passes, len(found))
        inside = [n for node in last.nodes if node.region for n in node.region.nodes if n.op == name]
        assert len(inside) == 1, (passes, "moved out of the loop")
        model = compiled(graph, passes)
        batch = random_batch(model.manifest, 4, seed=3)
        assert float(model(batch)["apart"].detach().abs().min()) > 0, passes


def generated(*names: str) -> None:
    """Whether random programs come to use these operations, and are sound."""
    from hypothesis import HealthCheck, find, settings

    for name in names:
        text = find(
            programs(),
            lambda text, name=name: f"{name}(" in text or f"{name}\n" in text or f"|> {name})" in text,
            settings=settings(max_examples=2000, suppress_health_check=list(HealthCheck), deadline=None),
        )
        graph, report = load_text(text)
        assert graph is not None, (text, [(d.code, d.message) for d in report])
        verify(optimise(graph))


def load_text(text: str) -> tuple[Graph | None, Report]:
    report = Report()
    return load_source(Source("random.arec", text), None, {}, report), report


if __name__ == "__main__":
    {"agree": agree, "drawn_twice": drawn_twice, "generated": generated}[sys.argv[1]](*sys.argv[2:])
