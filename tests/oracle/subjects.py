"""Models to hold against the definition: compiled in every way, with weights that hide nothing."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import torch

from specc.driver import load_source
from specc.emit import emit
from specc.ir.graph import Graph, walk
from specc.ops import Effect, effect
from specc.passes import PASSES, optimise, stages
from specc.report import Report
from specc.source import Source
from specc_runtime import Model, from_texts
from tests.oracle.constructs import CONSTRUCTS


@cache
def construct(name: str) -> Graph:
    """The graph of one of the small models."""
    report = Report()
    graph = load_source(Source(f"{name}.arec", CONSTRUCTS[name]), None, {}, report)
    assert graph is not None, [(d.code, d.message) for d in report]
    return graph


def compiled(graph: Graph, passes: str, seed: int = 0) -> Model:
    model = from_texts(emit(optimise(graph, passes)), graph.name).double().eval()
    with torch.no_grad():
        for path, weight in model.state_dict().items():
            # Each weight its own, so that the order of a model's weights does not matter.
            generator = torch.Generator().manual_seed(seed + sum(path.encode()))
            values = 0.7 * torch.randn(weight.shape, generator=generator, dtype=torch.float64)
            if graph.weights[path].kind == "matrix":
                values = 1.5 * values / weight.shape[-1] ** 0.5
            weight.copy_(values.abs() + 0.2 if path.endswith("running_var") else values)
    return model


def every_way(graph: Graph) -> Iterator[str]:
    """Selections of passes: all, and each by itself that changes the graph."""
    yield "default"
    ((_, prepared), *_) = stages(graph, "none")
    for name, change in PASSES.items():
        if change(prepared) != prepared:
            yield name


def draws(graph: Graph) -> bool:
    """Whether training draws numbers, so that two runs differ."""
    return any(effect(node) is Effect.RANDOM for node in walk(graph.nodes))


def looks_across(graph: Graph) -> bool:
    """Whether an example's result depends on the others of its batch."""
    return any(node.attrs.get("statistics") == "batch" for node in graph.nodes)
