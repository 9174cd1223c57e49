"""The portable form of a model, which is what is traced: every operation has one, or says why not."""

from __future__ import annotations

import math
import os
from inspect import isfunction
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.export import Dim

from specc.driver import Compiled, compiled
from specc.export import ExportError, trace
from specc.export.export import program_of, written
from specc.export.graph import exported
from specc.export.signature import signature_of
from specc.export.trace import portable, views
from specc.export.verify import furthest
from specc.ops import OPS
from specc.ops.definition import OpDef
from specc.report import Report
from specc.testing.programs import programs
from specc_runtime import Model, from_texts, ops
from specc_runtime.ops import dense
from specc_runtime.portable import ops as portable_ops

UNSAID = OpDef.__dataclass_fields__["unportable"].default
LONG = bool(os.environ.get("AREC_LONG"))
FORMS = ("request", "batch")

EVERYTHING = """\
model everything

table items = ids(7, 4)
table tags = ids(6, 2)
space user from request { id: ids(5, 3), tags: bag(tags, mean), best: bag(tags, max), age: number(none) }
space ad from candidate { item: items }
space offer from candidate { price: number(none), tags: bag(tags, sum) }
space history[t <= 4] from request { item: items }
space visits[session <= 3, step <= 4] from request { item: items }

encoder walked(x[t, d]; n = d) -> [t, n] {
  scan h[n] over t {
    next h = tanh((x |> linear(n)) + (h |> linear(n)))
  }
  return h
}

seen    = last(walked(visits |> linear(4), over step), over step)
of_each = max(seen, over session)
longer  = append(history, ad, over t)
best    = mean(top(history, 2, by dot(history, ad), over t), over t)
most    = mean(top(history, 2, by sum(history), over t), over t)
flat    = flatten(history, over t) |> linear(2)
shares  = sum(softmax(dot(history, ad), over t) * history, over t)
acted   = sum(join(dot(history, ad |> linear(64) |> split(16, as out)), over out), over t)
joined  = concat(user, ad, offer, of_each, acted, first(longer, over t), best, most, shares, flat)
output taste = user |> linear(3)
predict click: binary = joined |> dice |> linear(1)
predict kind: class(3) = joined |> batch_norm |> linear(3)
"""


def untrained(text: str) -> tuple[Model, Compiled]:
    """A model of a text with weights that say something, and what it was compiled to."""
    report = Report()
    found = compiled(text, "default", None, {}, report)
    assert found is not None, list(report)
    torch.manual_seed(0)
    model = from_texts(found.texts).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.uniform_(-0.5, 0.5)
    return model, found


def test_every_operation_is_portable_or_says_why_not() -> None:
    portables = {d.name for d in OPS.values() if d.traits.portable}
    explained = {d.name for d in OPS.values() if d.unportable != UNSAID}
    assert portables | explained == set(OPS)
    assert not portables & explained


def test_every_kernel_has_a_portable_form_or_is_never_exported() -> None:
    """What lowering calls by name: of the runtime's own, all but what training and native loops need."""
    of_passes = {
        "Cell",
        "InC",
        "Projected",
        "StepsInC",
        "TileInC",
        "ALL",
        "BOTH",
        "FINAL",
        "NONE",
        "additive_score",
        "by_tile",
        "recur",
        "recurrent",
        "tiled",
    }
    of_gradients = {"relu_back", "sigmoid_back", "silu_back", "tanh_", "tanh_back"}
    of_training = {"across", "across_each", "expand_anew", "from_rows", "own", "row_loss", "rows", "transfer"}
    of_lengths = {"picked", "ranked", "with_ranked"}  # that are known only once something is chosen
    lacking = set(ops.__all__) - set(portable_ops.__all__)
    assert lacking == of_passes | of_gradients | of_training | of_lengths
    reductions = {name for name, value in vars(ops.segment).items() if isfunction(value) and name[0] != "_"}
    assert reductions - set(vars(portable_ops.segment)) == set()


@pytest.mark.parametrize("form", FORMS)
def test_a_portable_model_gives_what_the_model_gives(form: str) -> None:
    model, found = untrained(EVERYTHING)
    graph, alone = exported(found.written)
    signature = signature_of(graph, form, alone, "float32")
    module = portable(graph, signature, alone, model.state_dict())
    assert furthest(model, lambda tensors: list(module(*tensors)), signature, alone) <= 1e-5


@seed(0)
@settings(max_examples=300 if LONG else 6, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs())
def test_random_programs_have_a_portable_form(text: str) -> None:
    model, found = untrained(text)
    for form in FORMS:
        graph, alone = exported(found.written)
        signature = signature_of(graph, form, alone, "float32")
        module = portable(graph, signature, alone, model.state_dict())
        assert furthest(model, lambda tensors, run=module: list(run(*tensors)), signature, None) <= 1e-5


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_contraction_is_that_of_the_runtime(data: st.DataObject) -> None:
    rows, dims = (
        data.draw(st.sampled_from([0, 1, 3])),
        data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=4)),
    )
    sizes = [[rows, *(size if data.draw(st.booleans()) else 1 for size in dims)] for _ in range(2)]
    a, b = (torch.randn(size, generator=torch.Generator().manual_seed(0)) for size in sizes)
    channels = data.draw(st.booleans())
    over = [d for d in range(1, len(dims)) if data.draw(st.booleans())]
    wanted = dense.contract(a, b, *over, channels=channels)
    torch.testing.assert_close(portable_ops.contract(a, b, *over, channels=channels), wanted)


def test_what_is_not_portable_is_named_with_its_place() -> None:
    text = """\
model compared
space user from request { id: ids(5, 3) }
space ad from candidate { item: ids(7, 3) }
score = dot(user, ad)
predict click: binary = score
"""
    model, found = untrained(text)
    known = OPS["dot"]
    OPS["dot"] = OpDef("dot", known.group, known.doc, known.inputs, known.rule, call=known.call,
                       lowering=known.lowering, unportable="its author says so")  # fmt: skip
    try:
        with pytest.raises(ExportError, match=r":4:9: `dot` cannot be exported: its author says so"):
            program_of(model, "batch", written=found.written)
    finally:
        OPS["dot"] = known


# Positions beside themselves are as many as a square; how many are taken is known once it runs; one of these
# parts is chosen for each candidate.
SIZES = """\
model sizes
space ad from candidate { item: ids(7, 2), hour: time(hour, 4) }
space history[t <= 3] from request { item: ids(7, 2) }
space visits[session <= 2, step <= 3] from request { item: ids(7, 2) }
keys  = rename(history |> linear(2), t to s)
seen  = last(dot(history, keys) * keys, over s where s <= t)
taken = visits |> take(2, over step as u) |> logsumexp
wide  = (ad.hour |> fan(3, linear(2), as part)) |> last(over part where part != 2)
joined = concat(ad.item, wide, max(seen, over t), sum(sum(taken, over u), over session))
predict click: binary = joined |> linear(1)
"""


def test_sizes_that_depend_on_others_may_be_0(tmp_path: Path) -> None:
    model, found = untrained(SIZES)
    assert written(model, program_of(model, "request", written=found.written), "pt2", tmp_path / "p") <= 1e-5


class Viewed(nn.Module):
    """Dimensions merged, of which any may be 0."""

    def forward(self, x: Tensor) -> Tensor:
        first, second, third, width = x.shape
        merged = x.clone().reshape(first * second, third, width)
        return merged.clone().reshape(first * second * third, width)


def test_views_guard_against_no_size() -> None:
    free = {dim: Dim(f"size{dim}", min=0) for dim in range(3)}
    with views():
        found = torch.export.export(Viewed(), (torch.zeros(5, 7, 11, 2),), dynamic_shapes={"x": free})
    for sizes in ((3, 0, 2), (0, 2, 2), (2, 3, 0), (1, 1, 1)):
        assert found.module()(torch.zeros(*sizes, 2)).shape == (math.prod(sizes), 2)


# A state has as many rows as a tensor says, the second that does; as many steps as a third are taken.
LOOPED = """\
model looped
space ad from candidate { item: ids(7, 2) }
space clicked[c <= 2] from request { item: ids(7, 2) }
space history[t <= 3] from request { item: ids(7, 2) }

encoder walked(x[t, d]; n = d) -> [t, n] {
  scan h[n] over t {
    next h = tanh((x |> linear(n)) + (h |> linear(n)))
  }
  return h
}

flat   = flatten(clicked, over c)
walks  = walked(dot(clicked, ad) * history, over t)
joined = concat(max(clicked, over c), flat, max(last(walks, over t), over c))
predict click: binary = joined |> linear(1)
"""


def test_a_loop_has_sizes_of_its_own(tmp_path: Path) -> None:
    model, found = untrained(LOOPED)
    assert written(model, program_of(model, "batch", written=found.written), "pt2", tmp_path / "p") <= 1e-5


def test_a_torch_without_what_is_extended_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "fake_impls", SimpleNamespace())
    with views():
        assert not vars(trace.fake_impls)
