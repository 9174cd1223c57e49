"""`specc test`: what it finds in a faulty kernel, and that it finds nothing in a sound model."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from torch import Tensor

from specc.cli import main
from specc.testing.laws import LAWS
from specc.testing.suite import Outcome, Suite
from specc.variants import load_space
from specc_runtime import Axis, Rows
from specc_runtime.ops import dense, segment

SPEC = """\
model small
param dim = 2 in {2, 3}
table items = vocab(1000, dim)
space user from request { id: vocab(1000, dim) }
space ad from candidate { item: items, price: number(standard) }
space history[t <= 9] from request { item: items }
joined = concat(user, ad, sum(history |> linear(3) |> tanh, over t))
predict click: binary = joined |> mlp([8]) |> linear(1)
"""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def specc(*args: object) -> Result:
    return CliRunner().invoke(main, ["test", *(str(a) for a in args)])


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "small.arec"
    path.write_text(SPEC)
    return path


def asked(path: Path, *only: str, variants: int = 1, examples: int = 8) -> Outcome:
    space, _ = load_space(path)
    assert space is not None
    return Suite(str(path), {}, examples, variants, only=only).run(space)


def test_a_table_that_is_read_as_a_whole_keeps_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "whole.arec"
    nearest = (
        "dot(ad.item, sum(softmax(dot(user, rows(items, as row)), over row) * rows(items, as row), over row))"
    )
    path.write_text(f"{SPEC.partition('joined')[0]}predict click: binary = {nearest}\n".replace("1000", "40"))
    outcome = asked(path, "interpret", "gradient", examples=2)
    assert outcome.failures == []


def test_what_has_a_number_for_each_row_of_a_table_is_cut_with_it(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.arec"
    text = "predict next: class(items, bias = true, sampled = 5) = joined |> linear(2)\n"
    path.write_text(
        SPEC
        + text
        + "predict item: choice(among = batch, of = ad.item, correct = true) = dot(user, ad.item)\n"
    )
    assert asked(path, "interpret", "gradient", examples=2).failures == []


def test_a_model_without_weights_is_placed(tmp_path: Path) -> None:
    path = tmp_path / "bare.arec"
    path.write_text(
        "model bare\nspace ad from candidate { price: number }\npredict click: binary = 2 * ad.price\n"
    )
    assert asked(path, "placement", examples=2).failures == []


def test_a_sound_spec_keeps_every_law(spec: Path) -> None:
    outcome = asked(spec, variants=2, examples=3)
    assert outcome.failures == []
    assert (outcome.variants, outcome.batches, outcome.of) == (2, 6, "2")
    assert outcome.dead == {}


def sum_with_the_next(x: Tensor, rows: Rows, axis: Axis, where: Tensor | None = None) -> Tensor:
    """A masking bug: each segment's sum reads one row beyond its end, which is another example's."""
    out = rows.without(axis)
    ids = rows.index(out)
    total = x.new_zeros(out.count, *x.shape[1:]).index_add(0, ids, x)
    ends = rows.starts + rows.lengths
    padded = torch.cat([x, x.new_zeros(1, *x.shape[1:])])
    return total + torch.where((rows.lengths > 0)[:, None], padded[ends], 0)


def test_a_kernel_that_reads_beyond_an_offset_is_caught(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment, "sum", sum_with_the_next)
    outcome = asked(spec, "interpret", "alone", "neighbours")
    assert {f.law for f in outcome.failures} == {"interpret", "alone", "neighbours"}
    by_law = {f.law: f for f in outcome.failures}
    # Two examples that are not empty are what it takes to see it, or one with another after it.
    assert by_law["alone"].batch.count("history.t") == 2
    assert "history.t 1, " in by_law["neighbours"].batch
    command = shlex.split(by_law["alone"].command)
    assert command[:3] == ["specc", "test", str(spec)]
    again = CliRunner().invoke(main, command[1:])
    assert again.exit_code == 1
    assert by_law["alone"].batch.split("\n")[0] in again.stdout
    assert by_law["alone"].command in again.stdout


def test_a_wrong_gradient_is_caught(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = segment.sum
    monkeypatch.setattr(segment, "sum", lambda x, *given: right(x.detach() * 0.5 + x * 0.5, *given))
    outcome = asked(spec, "interpret", "gradient", "alone")
    assert {f.law for f in outcome.failures} == {"gradient"}


def test_an_error_in_a_kernel_breaks_the_law_and_ends_nothing(
    spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*given: object) -> Tensor:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(segment, "sum", broken)
    monkeypatch.setattr(dense, "concat", broken)
    result = specc(spec, "--only", "finite", "--variants", 1, "--examples", 2)
    assert result.exit_code == 1
    assert "it ends in RuntimeError: no such kernel" in result.stdout
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_a_variant_that_does_not_compile_is_named(tmp_path: Path) -> None:
    path = tmp_path / "narrow.arec"
    path.write_text(SPEC.replace("over t))", "over t) |> split(dim / 2, as half) |> join(half))"))
    path.write_text(SPEC.replace("mlp([8])", "split(dim + 6, as part) |> join(part)"))
    outcome = asked(path, "finite", variants=2, examples=1)
    assert [f.law for f in outcome.failures] == ["checks"]
    assert outcome.failures[0].variant == "dim=3"
    assert "cannot be split" in outcome.failures[0].message


def test_weights_that_nothing_depends_on_are_named_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "dead.arec"
    path.write_text(SPEC.replace("|> tanh, over t)", "|> stop_gradient, over t)"))
    outcome = asked(path, "dead")
    assert outcome.failures == []
    assert any("`joined.linear.weight`" in note and "dead.arec:7:" in note for note in outcome.dead)
    result = specc(path, "--only", "dead", "--variants", 1)
    assert result.exit_code == 0
    assert "dead no prediction or loss depends on `joined.linear.weight`" in result.stdout


def test_what_cannot_be_learnt_is_told(tmp_path: Path) -> None:
    path = tmp_path / "poor.arec"
    path.write_text(
        "model poor\nspace ad from candidate { price: number }\npredict click: binary = ad |> linear(1)\n"
    )
    outcome = asked(path, "overfit")
    assert [f.law for f in outcome.failures] == ["overfit"]
    assert "half-way below a constant" in outcome.failures[0].message


def test_statistics_of_the_batch_are_not_asked_to_be_alone(tmp_path: Path) -> None:
    path = tmp_path / "across.arec"
    path.write_text(SPEC.replace("|> tanh", "|> batch_norm(statistics = batch)"))
    outcome = asked(path, examples=2)
    assert outcome.failures == []
    assert set(outcome.skipped) == {"order", "alone", "neighbours", "requests"}


def test_the_time_that_is_given_is_kept(spec: Path) -> None:
    result = specc(spec, "--seconds", 0, "--json")
    assert result.exit_code == 1  # nothing was tested
    (said,) = json.loads(result.stdout)
    assert said["out_of_time"]
    assert said["variants"] == 0
    shown = specc(spec, "--seconds", 0)
    assert shown.exit_code == 1
    assert "nothing was tested" in shown.stdout


def test_a_bounded_logit_is_asked_for_what_it_can_learn(tmp_path: Path) -> None:
    path = tmp_path / "bounded.arec"
    path.write_text(SPEC.replace("linear(1)\n", "linear(1) |> sigmoid\n"))
    assert asked(path, "overfit").failures == []


def test_the_command_answers_programs_and_mistakes(spec: Path, tmp_path: Path) -> None:
    result = specc(spec, "--only", "finite", "--variants", 1, "--examples", 2, "--json")
    (said,) = json.loads(result.stdout)
    assert (said["batches"], said["failures"]) == (2, [])
    wrong = specc(spec, "--only", "finit")
    assert wrong.exit_code == 2
    assert "did you mean 'finite'" in wrong.stderr
    assert specc(tmp_path / "none.arec").exit_code == 1
    assert all(name in specc("--laws").stdout for name in LAWS)
