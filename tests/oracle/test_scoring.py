"""The scoring of a model as one call of C is what its Python gives."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator

import pytest
import torch
from hypothesis import HealthCheck, given, settings

from specc.driver import load_source
from specc.lower import choices
from specc.report import Report
from specc.source import Source
from specc.testing import random_batch
from specc.testing.laws import first_candidates
from specc.testing.programs import programs
from specc_runtime import Batch, Model
from specc_runtime.native import build, scoring
from specc_runtime.native.kit import KIT
from specc_runtime.record import SCORING
from tests.oracle.constructs import CONSTRUCTS
from tests.oracle.subjects import compiled, construct
from tests.specs.small import few_rows, small

# Together with the shipped specs they have every kernel that has a form in C.
CHOSEN = (
    "pointwise", "a_query_for_each_session", "arithmetic", "members_of_pairs", "batch_norm",
    "constant_and_attention", "fixed_values", "stop_gradient", "rename_nested", "layers_of_layers",
    "tiles_kept_apart", "dropout_of_a_weight", "columns_that_repeat_rows", "rows_looked_up_and_added_up",
)  # fmt: skip
SEVEN = ("afm", "din", "dien", "bst", "dsin", "dstn", "atrank")


@pytest.fixture(autouse=True)
def quickly_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without optimisation the same C is built in a fraction of the time."""
    monkeypatch.setattr(build, "_FLAGS", ("-O0", "-fPIC", "-shared"))
    monkeypatch.setattr(build, "_tuned", list)


@pytest.fixture
def in_small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few rows at a time go through a chain, so that small batches have several blocks."""
    monkeypatch.setattr(choices, "block_rows", lambda numbers: 4)


def batches(model: Model) -> Iterator[Batch]:
    """Several requests and one; with no, one and many candidates, and none at all; empty histories."""
    several = random_batch(model.manifest, 3, 1, empty=0.3, candidates=True)
    one = random_batch(model.manifest, 1, 2, candidates=True)
    many = random_batch(model.manifest, 2, 5, full=True, candidates=True, most=7)
    examples = random_batch(model.manifest, 4, 3, empty=0.3)
    yield from (several, one, many, examples, examples.example(0), Batch.collate([one, several]))
    yield from (first_candidates(several, 0), first_candidates(one, 1))
    if not examples.candidates:
        yield from (random_batch(model.manifest, 2, 4, empty=1.0),)


def held(model: Model) -> None:
    """Each function, asked by itself, so that Python cannot answer for it."""
    assert model.score_in_c()
    scoring = model._scoring
    assert scoring is not None
    for batch in batches(model):
        with torch.no_grad():
            model.score_in_c(False)
            wanted, state = model(batch), model.request_part(batch)
            found = scoring.request_part(model, batch)
            assert found is not None
            assert len(found) == len(state)
            for mine, own in zip(found, state, strict=True):
                torch.testing.assert_close(mine, own, rtol=1e-9, atol=1e-9)
            for scores in (scoring.forward(model, batch), scoring.candidate_part(model, state, batch)):
                assert scores is not None
                torch.testing.assert_close(scores, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("in_small_blocks")
@pytest.mark.parametrize("name", CHOSEN)
def test_a_construct(name: str) -> None:
    held(compiled(construct(name), "default"))


@pytest.mark.usefixtures("in_small_blocks")
@pytest.mark.parametrize("name", SEVEN)
def test_a_shipped_spec(name: str) -> None:
    held(compiled(small(name, {}), "default"))


WHOLE = """
model whole
table items = vocab(30, 6)
space user from request { id: ids(9, 6) }
space ad from candidate { item: items }
space history[t <= 5] from request { item: items }
sequence = append(history, ad, over t as u)
read = sequence |> repeat(2, transformer(heads = 2, ff = 8, act = relu, over u))
predict click: binary = concat(user, mean(read, over u)) |> linear(1)
"""


@pytest.mark.usefixtures("in_small_blocks")
def test_a_history_and_its_end_are_put_together_for_each_attention() -> None:
    graph = load_source(Source("whole.arec", WHOLE), None, {}, Report())
    assert graph is not None
    model = compiled(few_rows(graph, 20), "default")
    text = model.files[SCORING]
    assert text.count("ended_attention_(") == 1
    assert text.count(" attention_(") + text.count("(attention_(") == 1
    held(model)


@pytest.mark.parametrize("name", SEVEN)
def test_many_examples(name: str) -> None:
    """Matrices in panels, and more sequences than go through a recurrence's steps at once."""
    alike_of_many(compiled(small(name, {}), "default"))


def alike_of_many(model: Model) -> None:
    assert model.score_in_c()
    assert model._scoring is not None
    batch = random_batch(model.manifest, 210, 6, empty=0.1)
    with torch.no_grad():
        found = model._scoring.forward(model, batch)
        model.score_in_c(False)
        torch.testing.assert_close(found, model(batch), rtol=1e-11, atol=1e-11)


@pytest.mark.usefixtures("in_small_blocks")
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs())
def test_a_random_program(text: str) -> None:
    graph = load_source(Source("random.arec", text), None, {}, Report())
    assert graph is not None
    model = compiled(few_rows(graph, 20), "default")
    if SCORING in model.files:
        held(model)


def test_columns_that_repeat_rows_are_multiplied_once() -> None:
    text = compiled(construct("columns_that_repeat_rows"), "default").files[SCORING]
    assert len(re.findall(r"^ *const repeats .*\brequests\b", text, re.MULTILINE)) == 2


@pytest.mark.parametrize("name", ["rows_looked_up_and_added_up", "columns_that_repeat_rows"])
def test_rows_that_repeat_are_multiplied_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of few ids, too, and where it takes longer to add products up."""
    always = re.sub(r"#define (LEAST_IDS|NEAR|FAR) \d+", r"#define \1 0", KIT)
    assert always.count(" 0\n") == KIT.count(" 0\n") + 3
    monkeypatch.setattr(scoring, "KIT", always)
    scoring.library.cache_clear()
    model = compiled(construct(name), "default")
    assert "folded_(" in model.files[SCORING]
    held(model)
    alike_of_many(model)
    scoring.library.cache_clear()


def din() -> Model:
    return compiled(small("din", {}), "default")


def test_who_scores_in_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asked for it, in evaluation and without gradients; another dtype, too."""
    model = din()
    batch = random_batch(model.manifest, 2, 1, candidates=True)
    wanted = model(batch)["click"].detach()
    called: list[str] = []
    part = model.get_submodule("click.linear")
    part.register_forward_hook(lambda *_: called.append("in Python"))
    assert model.score_in_c()
    with torch.inference_mode():
        state = model.request_part(batch)
        assert type(state).__name__ == "State"
        torch.testing.assert_close(model.candidate_part(state, batch)["click"], wanted)
        torch.testing.assert_close(model(batch=batch)["click"], wanted)
    assert not called
    assert model(batch)["click"].requires_grad
    with torch.no_grad():
        model.train()(batch)
        assert len(called) == 2
        found = model.float().eval()(batch)["click"]
        assert len(called) == 2
        model.score_in_c(False)
        torch.testing.assert_close(found, model(batch)["click"], rtol=1e-4, atol=1e-4)
    monkeypatch.setenv("AREC_NATIVE", "0")
    assert not model.score_in_c()


def test_what_changes_a_weight_counts() -> None:
    model = din()
    batch = random_batch(model.manifest, 2, 1, candidates=True)
    assert model.score_in_c()
    with torch.no_grad():
        for change in (
            lambda p: p.mul_(1.5),
            lambda p: p.data.add_(0.1),
            lambda p: setattr(p, "data", p.data / 2),
        ):
            change(model.part("click.mlp.linear.weight"))
            found = model(batch)["click"]
            model.score_in_c(False)
            torch.testing.assert_close(found, model(batch)["click"])
            assert model.score_in_c()


def test_a_copy_scores_in_c_too() -> None:
    model = din()
    batch = random_batch(model.manifest, 2, 1, candidates=True)
    assert model.score_in_c()
    with torch.no_grad():
        torch.testing.assert_close(copy.deepcopy(model)(batch), model(batch))


def test_a_batch_that_is_not_what_it_says_is_told_by_python() -> None:
    model = din()
    assert model.score_in_c()
    batch = random_batch(model.manifest, 2, 1, candidates=True)
    outside = torch.full_like(batch.column("ad.item"), 10**9)
    longer = {"history.t": batch.lengths["history.t"] + 1000}
    other = {"history.t": batch.lengths["history.t"] + 1}
    with torch.inference_mode():
        with pytest.raises(IndexError):
            model(
                Batch(
                    batch.schema, 2, {**batch.fields, "ad.item": outside}, batch.lengths, {}, batch.candidates
                )
            )
        with pytest.raises(ValueError, match="bound"):
            model(Batch(batch.schema, 2, batch.fields, longer, {}, batch.candidates))
        with pytest.raises((ValueError, RuntimeError, IndexError)):
            model(Batch(batch.schema, 2, batch.fields, other, {}, batch.candidates))


def test_what_has_no_form_in_c_has_none() -> None:
    model = compiled(construct(next(name for name, text in CONSTRUCTS.items() if "top(" in text)), "default")
    assert SCORING not in model.files
    assert not model.score_in_c()
