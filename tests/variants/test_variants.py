"""Variants: counted, listed, sampled, covered in pairs, written; and what leaves none."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from specc.cli import main
from specc.driver import load
from specc.variants import Interval, VariantSpace, count, covering, every, load_space, sample, write

SPEC = """\
model big
param dim = 8 in {2, 4, 8, 16}
param heads = 2 in 1 .. dim
param drop = 0.0 in 0.0 .. 0.5
param lr = 1e-3 in 1e-5 .. 1e-1
param act = relu in {relu, tanh}
param sizes = [200, 80] in {[200, 80], [64], []}
param ff = half * 8
half = dim / 2
require dim % heads == 0 "heads divide dim"
require act == relu or ff > 16
space ad from candidate { item: vocab(10, dim) }
predict click: binary = ad |> linear(heads) |> mlp(sizes) |> linear(ff) |> dropout(drop) |> linear(1)
"""
HUGE = """\
model huge
param a = 1 in 1 .. 1_000_000
param b = 2 in 1 .. 1_000_000
param c = 3 in 1 .. 1_000_000
param d = 3 in {3}
space ad from candidate { item: vocab(10, a) }
predict click: binary = ad |> linear(b) |> linear(c) |> linear(d) |> linear(1)
"""


def space_of(text: str, folder: Path, **fixed: Any) -> VariantSpace:
    path = folder / "spec.arec"
    path.write_text(text)
    space, report = load_space(path, fixed)
    assert space is not None, [d.message for d in report]
    return space


def specc(*args: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in args])


def test_the_count_is_that_of_what_is_listed(tmp_path: Path) -> None:
    space = space_of(SPEC, tmp_path)
    found = count(space)
    listed = list(every(space))
    assert found.exact
    assert found.number == len(listed) == len({str(v.settings()) for v in listed})
    # heads divide dim: 2 + 3 + 4 + 5; tanh only where 4 * dim > 16; 3 x 3 x 3 for the rest.
    assert found.number == (14 + 9) * 27
    assert found.intervals == ("drop", "lr")


def test_a_huge_product_is_counted_without_being_listed(tmp_path: Path) -> None:
    assert count(space_of(HUGE, tmp_path)).number == 10**18
    tied = count(space_of(HUGE + "require a < b\n", tmp_path))
    assert (tied.number, tied.exact) == (10**18, False)
    tied = count(space_of(HUGE + "require a < d\n", tmp_path))
    assert (tied.number, tied.exact) == (10**18, False)


def test_a_bound_allows_for_a_domain_that_reads_another_param(tmp_path: Path) -> None:
    text = HUGE.replace("b = 2 in 1 .. 1_000_000", "b = 1 in 1 .. a")
    found = count(space_of(text, tmp_path))
    assert not found.exact
    assert found.number >= 10**12 // 25


def test_params_that_are_set_have_one_choice(tmp_path: Path) -> None:
    space = space_of(SPEC, tmp_path, dim=4, act="relu", heads=1)
    assert count(space).number == 27
    assert all(v.params["dim"] == 4 for v in every(space))


def test_every_variant_checks(tmp_path: Path) -> None:
    space = space_of(SPEC, tmp_path)
    for variant in itertools.islice(every(space, points=1), 0, None, 5):
        graph, report = load(tmp_path / "spec.arec", variant.params)
        assert graph is not None, [d.message for d in report]


def test_samples_are_different_in_their_domains_and_repeatable(tmp_path: Path) -> None:
    space = space_of(SPEC, tmp_path)
    found = sample(space, 30, seed=1)
    assert len({str(v.settings()) for v in found}) == 30
    assert found == sample(space, 30, seed=1)
    assert found != sample(space, 30, seed=2)
    for variant in found:
        values = variant.params
        assert values["dim"] % values["heads"] == 0
        assert 0.0 <= values["drop"] <= 0.5
        assert 1e-5 <= values["lr"] <= 1e-1


def test_a_sample_of_few_is_all_of_them(tmp_path: Path) -> None:
    space = space_of(HUGE, tmp_path, a=1, b=1, c=1)
    assert len(sample(space, 10, seed=0)) == 1


def test_every_pair_that_some_variant_has_is_covered(tmp_path: Path) -> None:
    space = space_of(SPEC, tmp_path)
    rows = covering(space)

    def pairs(settings: dict[str, str]) -> set[frozenset[tuple[str, str]]]:
        return {frozenset(p) for p in itertools.combinations(settings.items(), 2)}

    wanted = set().union(*(pairs(v.settings()) for v in every(space)))
    covered = set().union(*(pairs(v.settings()) for v in rows))
    # `heads` is covered by what it may be at the default of `dim`.
    assert {p for p in wanted - covered if ("heads", "16") not in p} == set()
    assert rows[0].changed == frozenset()
    assert len(rows) < count(space).number / 10


@pytest.mark.parametrize("form", ["extends", "text"])
def test_a_written_variant_is_what_set_gives(tmp_path: Path, form: Any) -> None:
    space = space_of(SPEC, tmp_path)
    chosen = sample(space, 4, seed=3)
    for path, variant in zip(write(space, chosen, tmp_path / "out", form), chosen, strict=True):
        mine, report = load(path)
        theirs, _ = load(tmp_path / "spec.arec", variant.params)
        assert mine is not None, [d.message for d in report]
        assert theirs is not None
        assert mine.params == theirs.params
        assert {k: w.shape for k, w in mine.weights.items()} == {
            k: w.shape for k, w in theirs.weights.items()
        }


def test_points_of_an_interval() -> None:
    assert Interval(0.0, 0.5).points(3) == (0.0, 0.25, 0.5)
    assert Interval(1e-5, 1e-1).points(3) == (1e-5, 1e-3, 1e-1)
    assert Interval(1e-3, 1e-2).points(3) == (1e-3, 0.003162, 1e-2)
    assert Interval(1e-3, 9e-3).points(3) == (1e-3, 5e-3, 9e-3)
    assert Interval(0.5, 0.5).points(3) == (0.5,)
    assert Interval(0.0, 1.0).points(1) == (0.5,)


@pytest.mark.parametrize(
    ("lines", "code", "says"),
    [
        ("require dim % heads == 7", "E0408", "this condition"),
        ("require dim < heads\nrequire heads < dim", "E0408", "these conditions together"),
        ("require dim / 0 > heads", "E0408", "this condition"),
        ("param p = 1 in 3 .. 1", "E0406", "holds nothing"),
        ("param p = 7 in {1, 2}", "E0406", "cannot be 7"),
        ("require dim == 4", "E0512", "it is required"),
    ],
)
def test_what_leaves_nothing_is_an_error_with_the_reason(
    tmp_path: Path, lines: str, code: str, says: str
) -> None:
    path = tmp_path / "spec.arec"
    path.write_text(SPEC.replace("heads = 2 in 1 .. dim", "heads = 2 in {2, 3, 5}") + lines + "\n")
    space, report = load_space(path)
    assert space is None
    assert code in [d.code for d in report]
    assert any(says in d.message for d in report)
    result = specc("variants", path)
    assert result.exit_code == 1
    assert says in result.stderr


def test_the_command(tmp_path: Path) -> None:
    path = tmp_path / "spec.arec"
    path.write_text(SPEC)
    summary = specc("variants", path)
    assert summary.exit_code == 0
    assert "621 variants (drop, lr at 3 points)" in summary.stdout
    assert "in {relu, tanh}" in summary.stdout
    listed = specc("variants", path, "--list", "--limit", 2)
    assert listed.stdout.count("--set dim=2 --set heads=1") == 2
    assert "only the first 2" in listed.stderr
    diff = specc("variants", path, "--pairs", "--diff").stdout.splitlines()
    assert diff[0] == "# the default"
    said = json.loads(specc("variants", path, "--sample", 2, "--json").stdout)
    assert said["count"] == 621
    assert len(said["variants"]) == 2
    written = specc("variants", path, "--sample", 2, "--write", tmp_path / "out")
    assert written.exit_code == 0
    assert (tmp_path / "out" / "big_2.arec").exists()
    assert specc("variants", path, "--list", "--pairs").exit_code == 2
    assert specc("variants", path, "--set", "dmi=3").exit_code == 1


def test_variants_answer_without_torch(tmp_path: Path) -> None:
    path = tmp_path / "spec.arec"
    path.write_text(SPEC)
    code = (
        "import sys; from click.testing import CliRunner; from specc.cli import main;"
        f"r = CliRunner().invoke(main, ['variants', {str(path)!r}, '--pairs']);"
        "assert r.exit_code == 0, r.output; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
