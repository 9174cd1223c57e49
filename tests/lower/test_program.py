"""The lowered program: sound after every step, and what it tells people.

`AREC_UPDATE_GOLDEN=1 pytest tests/lower` writes the golden text anew.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from specc.driver import load, load_source
from specc.ir.graph import Graph
from specc.lower import lower
from specc.lower.buffers import hold, reuse
from specc.lower.model import selected
from specc.lower.print import print_program
from specc.lower.program import Kernel, Program, Rows
from specc.lower.shape import EXAMPLES
from specc.lower.speed import speeds
from specc.lower.verify import LoweringError, verify
from specc.passes import optimise
from specc.report import Report
from specc.source import Source
from tests.oracle.constructs import CONSTRUCTS
from tests.oracle.subjects import construct

HERE = Path(__file__).parent
SPECS = sorted((HERE.parents[1] / "specs").glob("*.arec"))
WALK = """\
model walk
space user from request {{ id: ids(5, 4) }}
space history[t <= 5] from request {{ item: ids(7, 4) }}
encoder walked(x[t, d]; n = d) -> [t, n] {{
  scan h[n] over t {{ next h = {step} }}
  return h
}}
predict click: binary = concat(user, last(walked(history), over t)) |> linear(1)
"""


def steps_are_sound(graph: Graph) -> None:
    program = selected(graph)
    verify(program, held=False)
    reuse(program)
    verify(program, held=False)
    hold(program)
    verify(program)


@pytest.mark.parametrize("passes", ["none", "default"])
@pytest.mark.parametrize("name", CONSTRUCTS)
def test_every_step_is_sound(name: str, passes: str) -> None:
    steps_are_sound(optimise(construct(name), passes))


@pytest.mark.parametrize("passes", ["none", "default"])
@pytest.mark.parametrize("path", SPECS, ids=lambda p: p.stem)
def test_every_step_of_a_shipped_spec_is_sound(path: Path, passes: str) -> None:
    graph, _ = load(path)
    assert graph is not None
    steps_are_sound(optimise(graph, passes))


def program_of(text: str) -> Program:
    graph = load_source(Source("walk.arec", text), None, {}, Report())
    assert graph is not None
    return lower(optimise(graph))


def dien() -> Program:
    graph, _ = load("dien")
    assert graph is not None
    return lower(optimise(graph))


def test_dien_lowered() -> None:
    path, text = HERE / "dien.txt", print_program(dien())
    if os.environ.get("AREC_UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


def kernel(program: Program, name: str) -> Kernel:
    assert program.shared is not None
    return next(k for k in program.shared.kernels if k.name == name)


def left_out(program: Program) -> None:
    assert program.shared is not None
    program.shared.kernels.remove(kernel(program, "expand"))


def twice(program: Program) -> None:
    assert program.shared is not None
    program.shared.kernels.append(program.shared.kernels[0])


def written_over(program: Program) -> None:
    """The first lookup's rows, before they are read."""
    assert program.shared is not None
    rows = kernel(program, "embed").result
    made = Kernel(
        "tanh", (rows,), (kernel(program, "transfer").result.__class__(10**6, rows.shape, rows.width),)
    )
    made.over, made.result.base, made.result.written, made.result.held = rows, rows, True, True
    program.shared.kernels.insert(1, made)


def other_rows(program: Program) -> None:
    one = kernel(program, "expand")
    one.args = (one.args[0], one.args[1], Rows(EXAMPLES))


def unheld(program: Program) -> None:
    kernel(program, "embed").result.held = False
    assert program.shared is not None
    program.shared.results.append(kernel(program, "embed").result)
    program.shared.results.append(kernel(program, "embed").result)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (left_out, "not defined"),
        (twice, "defined twice"),
        (written_over, "overwritten"),
        (other_rows, "other rows"),
        (unheld, "read twice"),
    ],
)
def test_an_unsound_program_is_refused(spoil: Callable[[Program], None], message: str) -> None:
    program = dien()
    verify(program)
    spoil(program)
    with pytest.raises(LoweringError, match=message):
        verify(program)


@pytest.mark.parametrize("name", ["gelu", "silu", "sqrt", "leaky_relu"])
def test_a_step_of_functions_is_fast(name: str) -> None:
    (loop,) = speeds(program_of(WALK.format(step=f"{name}((x |> linear(n)) + (h |> linear(n)))")))
    assert loop.fast, loop


@pytest.mark.parametrize(
    ("step", "why"),
    [
        ("(x |> linear(n)) + (h ^ 2)", "`pow`, of which no derivative is known"),
        ("(x |> linear(n)) + softmax(h |> linear(n))", "`softmax`"),
    ],
)
def test_what_keeps_a_loop_from_being_fast_is_said(step: str, why: str) -> None:
    (loop,) = speeds(program_of(WALK.format(step=step)))
    assert not loop.fast
    assert why in str(loop)
    assert "walk.arec:5" in str(loop)


def test_softmax_by_itself_says_what_its_scores_are() -> None:
    said = [str(s) for s in speeds(dien()) if not s.fast]
    assert said == [
        "weight (dien.arec:44): softmax by itself: its scores come of `paired`, not of dot products"
    ]


def test_predictions_copy_nothing_for_weights_that_are_only_looked_at() -> None:
    """What reads queries and keys in two pieces needs no whole ones; weights put them together."""
    graph, _ = load("bst", {"pooling": "all"})
    assert graph is not None
    program = lower(optimise(graph))
    assert program.shared is not None
    assert program.attention is not None
    sequence, attended = ([k.name for k in f.kernels] for f in (program.shared, program.attention))
    assert sequence.count("append") == 1
    assert attended.count("append") == 2


TWICE = """\
model twice
space history[t <= 3] from request { x: vector(2) }
read = history.x |> mlp([5, 6], act = relu) |> linear(1)
encoder walked(x[t, d]) -> [1] {
  scan h[1] over t { next h = tanh(x + (h |> linear(1))) }
  return last(h, over t)
}
predict click: binary = walked(read) |> linear(1)
loss extra = label(click) * bce(walked(read), 1)
"""


def test_a_loop_of_the_losses_reads_a_product_that_predictions_have_made() -> None:
    """The product waits for the loop of either; it lies there for the second."""
    program = program_of(TWICE)
    assert any(k.name == "recur" for k in program.losses.kernels)


def test_neither_lowering_nor_the_planner_knows_of_text() -> None:
    for folder in ("lower", "plan"):
        for path in (HERE.parents[1] / "specc" / folder).glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom):
                    assert not (node.module or "").startswith("specc.emit"), path
