"""The definition itself, against numbers worked out by hand.

Each case is an expression over a history of numbers `x` (at most four), a number `a` of the candidate, and
visits `v` of at most two sessions of at most three numbers; and what it is for some examples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor

from specc.driver import load_source
from specc.interpret import Example, interpret, interpret_together, losses
from specc.ir.graph import Graph
from specc.report import Report
from specc.source import Source
from specc.types.axis import Axis

HEAD = """model numbers
space ad from candidate { a: number(none) }
space history[t <= 4] from request { x: number(none) }
space visits[session <= 2, step <= 3] from request { v: number(none) }
a = ad.a
x = history.x
v = visits.v
"""
Nested = Sequence[Sequence[float]]


def graph_of(text: str) -> Graph:
    report = Report()
    graph = load_source(Source("numbers.arec", HEAD + text), None, {}, report)
    assert graph is not None, [d.message for d in report]
    return graph


def example(
    graph: Graph, x: Sequence[float] = (), v: Nested = (), a: float = 0.0, **labels: float
) -> Example:
    t, session, step = (axis(graph, name) for name in ("t", "session", "step"))
    return Example(
        fields={
            "ad.a": {(): number(a)},
            "history.x": {(p,): number(value) for p, value in enumerate(x)},
            "visits.v": {(s, p): number(value) for s, part in enumerate(v) for p, value in enumerate(part)},
        },
        lengths={
            t: {(): len(x)},
            session: {(): len(v)},
            step: {(s,): len(part) for s, part in enumerate(v)},
        },
        labels={name: torch.tensor(value) for name, value in labels.items()},
    )


def axis(graph: Graph, name: str) -> Axis:
    return next(a for space in graph.spaces for a in space.axes if a.name == name)


def number(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)


def value(expression: str, x: Sequence[float] = (), v: Nested = (), a: float = 0.0) -> list[float]:
    """What an expression without axes is for one example."""
    graph = graph_of(f"y = {expression}\nlearned one[1] = constant(1.0)\npredict out: real = sum(y) * one\n")
    with_one = {path: torch.ones(w.shape, dtype=torch.float64) for path, w in graph.weights.items()}
    result = interpret(graph, with_one, example(graph, x, v, a))
    return [round(float(c), 9) for c in result.values[graph.bindings["y"]].only]


OVER_T = {
    "sum(x, over t)": 6.0,
    "mean(x, over t)": 2.0,
    "max(x, over t)": 4.0,
    "min(x, over t)": -1.0,
    "first(x, over t)": 3.0,
    "last(x, over t)": 4.0,
    "length(t)": 3.0,
    "sum(index(t), over t)": 3.0,
    "sum(x, over t where t > 0)": 3.0,
    "mean(x, over t where x > 0)": 3.5,
    "last(x, over t where x < 0)": -1.0,
    "first(x, over t where x > 3)": 4.0,
    "max(x, over t where t != 2)": 3.0,
    "sum(tail(x, over t as u), over u)": 3.0,
    "sum(init(x, over t as u), over u)": 2.0,
    "sum(take(x, 2, over t as u), over u)": 2.0,
    "last(append(x, a, over t as u), over u)": 7.0,
    "sum(append(x, x * 10, over t as u), over u)": 66.0,
    "sum(softmax(x, over t), over t)": 1.0,
    "sum(softmax(x, over t where t < 2), over t)": 1.0,
    "sum(softmax(0 * x, over t) * x, over t)": 2.0,
    "sum(sum(x * rename(x, t to s), over s where s < t), over t)": -3.0 + 12.0 - 4.0,
    "sum(sum(rename(x - 10 * rename(x, t to s), t to s, s to t) * index(t), over t), over s)": -192.0,
    "sum(rename(rename(x, t to s), s to t) * x, over t)": 26.0,
}


@pytest.mark.parametrize("expression", OVER_T)
def test_over_a_sequence(expression: str) -> None:
    assert value(expression, x=[3.0, -1.0, 4.0], a=7.0) == [OVER_T[expression]]


@pytest.mark.parametrize("expression", [e for e in OVER_T if "append" not in e])
def test_over_nothing_everything_is_0(expression: str) -> None:
    assert value(expression) == [0.0]


def test_what_is_appended_to_nothing_is_there() -> None:
    assert value("first(append(x, a, over t as u), over u)", a=7.0) == [7.0]


def test_shapes() -> None:
    x = [3.0, -1.0, 4.0]
    assert value("flatten(x, over t)", x=x) == [3.0, -1.0, 4.0, 0.0]
    assert value("flatten(top(x, 2, by x, over t as r), over r)", x=x) == [4.0, 3.0]
    assert value("flatten(top(x, 2, by 0 * x, over t as r), over r)", x=x) == [3.0, -1.0]
    assert value("flatten(top(x, 3, by -x, over t as r), over r)", x=[5.0]) == [5.0, 0.0, 0.0]
    assert value("flatten(flatten(v, over step), over session)", v=[[], [1.0, 2.0]]) == [0, 0, 0, 1, 2, 0]
    assert value("join(pairs(stack(a, a + 1, a + 2, as f), over f, as p), p)", a=2.0) == [6.0, 8.0, 12.0]
    assert value("join(split(concat(a, 2 * a, 3 * a, 4 * a), 2, as f) * index(f), f)", a=1.0) == [0, 0, 3, 4]


def test_nested_sequences() -> None:
    v = [[1.0, 2.0, 6.0], []]
    assert value("mean(mean(v, over step), over session)", v=v) == [1.5]
    assert value("sum(length(step), over session)", v=v) == [3.0]
    assert value("max(last(v, over step), over session)", v=v) == [6.0]
    assert value("sum(sum(v * index(session), over step), over session)", v=[[5.0], [1.0, 1.0]]) == [2.0]


WALK = """
encoder walk(x[t, d]) -> [t, d] {{
  scan h[d] over t{way} {{ next h = h / 2 + x }}
  return h
}}
"""


def test_a_scan_sees_one_position_after_another() -> None:
    def states(way: str, x: Sequence[float]) -> list[float]:
        text = WALK.format(way=way) + "learned one[1]\ny = flatten(walk(x), over t)\n"
        graph = graph_of(text + "predict out: real = sum(y) * one\n")
        ones = {"one": torch.ones(1, dtype=torch.float64)}
        return interpret(graph, ones, example(graph, x)).values[graph.bindings["y"]].only.tolist()

    assert states("", [4.0, 8.0, 2.0]) == [4.0, 10.0, 7.0, 0.0]
    assert states(" backward", [4.0, 8.0, 2.0]) == [8.5, 9.0, 2.0, 0.0]
    assert states("", []) == [0.0, 0.0, 0.0, 0.0]


def gradient(expression: str, x: Sequence[float]) -> list[float]:
    """The derivative of an expression by each x, written as the weights of the positions."""
    graph = graph_of(f"learned w[t, 1]\nz = w * 1\npredict out: real = {expression}\n")
    w = torch.tensor(x, dtype=torch.float64).reshape(-1, 1).requires_grad_()
    result = interpret(graph, {"w": w}, example(graph, [0.0] * len(x)))
    (found,) = torch.autograd.grad(result.predictions["out"].sum(), [w])
    return found.flatten().tolist()


def test_gradients_where_there_is_a_choice() -> None:
    assert gradient("max(z, over t)", [2.0, 5.0, 5.0]) == [0.0, 0.5, 0.5]
    assert gradient("min(z, over t)", [2.0, 2.0, 5.0]) == [0.5, 0.5, 0.0]
    assert gradient("sum(relu(z), over t)", [0.0, -1.0, 1.0]) == [0.0, 0.0, 1.0]
    assert gradient("sum(abs(z), over t)", [0.0, -1.0, 1.0]) == [0.0, -1.0, 1.0]
    assert gradient("sum(leaky_relu(z, 0.1), over t)", [0.0, -1.0, 1.0]) == [0.1, 0.1, 1.0]
    assert gradient("sum(stop_gradient(z) * z, over t)", [2.0, 3.0, 4.0]) == [2.0, 3.0, 4.0]
    assert gradient("sum(z, over t where z > 2)", [2.0, 3.0, 4.0]) == [0.0, 1.0, 1.0]


def together(text: str, xs: Sequence[float], training: bool, **weights: float) -> list[float]:
    """The outputs of several examples, each of one number."""
    graph = graph_of(f"y = {text}\npredict out: real = y\n")
    given = {
        path: torch.full(w.shape, weights.get(path.rsplit(".", 1)[1], 0.0), dtype=torch.float64)
        for path, w in graph.weights.items()
    }
    results = interpret_together(graph, given, [example(graph, a=x) for x in xs], training)
    return [float(r.predictions["out"]) for r in results]


def test_statistics() -> None:
    layer = "batch_norm(a, eps = 0.0, affine = false{})"
    running = {"running_mean": 2.0, "running_var": 4.0}
    assert together(layer.format(""), [1.0, 5.0], training=True, **running) == [-1.0, 1.0]
    assert together(layer.format(""), [1.0, 5.0], training=False, **running) == [-0.5, 1.5]
    assert together(layer.format(""), [5.0], training=True, **running) == [1.5], "no statistics of one"
    fixed, batch = layer.format(", statistics = fixed"), layer.format(", statistics = batch")
    assert together(fixed, [1.0, 5.0], training=True, **running) == [-0.5, 1.5]
    assert together(batch, [1.0, 5.0], training=False, **running) == [-1.0, 1.0]
    scaled = together("batch_norm(a, eps = 0.0)", [1.0, 5.0], training=True, scale=3.0, shift=1.0)
    assert scaled == [-2.0, 4.0]
    sigmoid = 1 / (1 + math.exp(1))
    dice = together("dice(a, eps = 0.0)", [1.0, 5.0], training=True, slope=0.5)
    assert dice == pytest.approx([sigmoid + (1 - sigmoid) * 0.5, 5 * (1 - sigmoid) + sigmoid * 2.5])


def test_losses_are_means_over_examples() -> None:
    graph = graph_of(
        """
        learned one[1] = constant(1.0)
        loss size = mse(a, 0) * 2
        predict near: real = a * one
        predict click: binary = a * one
        """.replace("\n        ", "\n")
    )
    ones = {"one": torch.ones(1, dtype=torch.float64)}
    examples = [example(graph, a=1.0, near=3.0, click=1.0), example(graph, a=-2.0, near=-2.0, click=0.0)]
    found: Mapping[str, Tensor] = losses(graph, ones, examples)
    assert float(found["near"]) == 2.0
    assert float(found["size"]) == 5.0
    assert float(found["click"]) == pytest.approx((math.log1p(math.exp(-1)) + math.log1p(math.exp(-2))) / 2)
    assert found.keys() == {"near", "size", "click"}
