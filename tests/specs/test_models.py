"""What every shipped model must do: be what its spec means, and be a module like any."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from specc.driver import check
from specc.interpret.compare import differences
from specc.testing import random_batch
from specc_runtime import Model
from specc_runtime import load as load_model
from specc_runtime import save as save_model
from tests.specs.small import CASES, PARAMS, SPECS, label, model_of, small
from tests.specs.test_equations import spread

EACH = pytest.mark.parametrize(("name", "variant"), CASES, ids=[label(*case) for case in CASES])
EVERY = pytest.mark.parametrize("name", PARAMS)
LONGEST = 70  # lines of a spec


def built(name: str, variant: Mapping[str, Any] | None = None) -> Model:
    torch.manual_seed(0)
    return spread(model_of(small(name, variant))).eval()


def scores(model: Model, size: int = 4, seed: int = 2) -> torch.Tensor:
    batch = random_batch(model.manifest, size, seed, longest=4)
    with torch.no_grad():
        return torch.cat([x.flatten() for x in model(batch).values()])


@EACH
def test_is_what_the_spec_means(name: str, variant: Mapping[str, Any]) -> None:
    """The oracle, in value, loss, attention and gradient; in training too where nothing is drawn."""
    graph = small(name, variant)
    model = spread(model_of(graph)).double()
    batch = random_batch(model.manifest, 3, seed=4, longest=3)
    assert not differences(graph, model.eval(), batch)
    if not any(node.op == "dropout" for node in graph.nodes):
        assert not differences(graph, model.train(), batch)


@pytest.mark.parametrize("name", [n for n in PARAMS if n != "dien_official"])
def test_an_example_knows_nothing_of_its_neighbours(name: str) -> None:
    """But for DIEN's code, whose Dice takes the statistics of the batch."""
    model = built(name).double()
    batch = random_batch(model.manifest, 4, seed=9, longest=4)
    with torch.no_grad():
        whole = model(batch)
        for i in range(batch.size):
            for key, alone in model(batch.example(i)).items():
                torch.testing.assert_close(alone[0], whole[key][i], rtol=1e-9, atol=1e-10)


@EVERY
def test_saves_and_loads(name: str, tmp_path: Path) -> None:
    model = built(name)
    save_model(model, tmp_path)
    assert scores(load_model(tmp_path).eval()).equal(scores(model))


@EVERY
def test_is_a_module_like_any(name: str) -> None:
    """Copies, state_dict, and a change of type there and back."""
    model = built(name)
    expected = scores(model)
    other = model_of(small(name)).eval()
    assert other.load_state_dict(model.state_dict()) == ([], [])
    assert scores(other).equal(expected)
    twin = copy.deepcopy(model)
    assert scores(twin).equal(expected)
    with torch.no_grad():
        for weight in twin.parameters():
            weight.zero_()
    assert scores(model).equal(expected)
    assert scores(model.to(torch.float64).to(torch.float32).to("cpu")).equal(expected)


@EVERY
def test_computes_in_other_types(name: str) -> None:
    expected = scores(built(name))
    double = scores(built(name).double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), expected, rtol=1e-4, atol=1e-4)
    brief = scores(built(name).bfloat16())
    assert brief.dtype == torch.bfloat16
    assert brief.isfinite().all()
    torch.testing.assert_close(
        brief.float(), expected, rtol=0.1, atol=0.1 * float(expected.abs().max()) + 0.1
    )


@EVERY
def test_learns_in_bfloat16(name: str) -> None:
    model = built(name).bfloat16().train()
    model.loss(random_batch(model.manifest, 4, seed=6, longest=4)).backward()
    for path, weight in model.named_parameters():
        assert weight.grad is None or weight.grad.isfinite().all(), path


@EVERY
def test_fits_on_a_page_and_cites_its_paper(name: str) -> None:
    text = (SPECS / f"{name}.arec").read_text(encoding="utf-8")
    assert len(text.splitlines()) < LONGEST
    head = text.partition("\nmodel ")[0]
    assert re.search(r"https://(arxiv\.org/abs|github\.com)/", head)


def test_all_are_clean() -> None:
    """No error, and no warning either."""
    for path in [*SPECS.glob("*.arec"), *(SPECS / "std").glob("*.arec")]:
        assert not list(check(path)), path
