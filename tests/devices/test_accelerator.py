"""On a real accelerator: the seven against the CPU, in value and gradient, and no step that waits for it.

What needs one is skipped where there is none; tests/devices/test_reads.py and test_virtual.py hold the same
on virtual devices.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from specc.driver import load
from specc.emit import emit
from specc.passes import optimise
from specc.testing.batches import random_batch
from specc_runtime import Batch, Model, from_texts
from specc_runtime.devices import available
from specc_runtime.feed import feed
from specc_runtime.train.lazy import build_optimizer

SPECS = Path(__file__).parents[2] / "specs"
SEVEN = ("afm", "atrank", "bst", "dien", "din", "dsin", "dstn")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
needs_one = pytest.mark.skipif(len(available()) < 2, reason="needs an accelerator")


def model_of(spec: str, target: str) -> Model:
    """A model with short tables, all of it on one device, the same for all devices."""
    graph, report = load(SPECS / f"{spec}.arec", {})
    assert graph is not None, list(report)
    weights = {
        path: replace(w, shape=(min(w.shape[0], 50), *w.shape[1:])) if w.kind == "table" else w
        for path, w in graph.weights.items()
    }
    places = {"rest": "there"}
    graph = replace(graph, weights=weights, devices={"there": target}, places=places, place_spans={})
    torch.manual_seed(1)
    return from_texts(emit(optimise(graph)), spec)


def batches_of(model: Model) -> list[Batch]:
    return [random_batch(model.manifest, size, seed, longest=12) for seed, size in enumerate((6, 9, 4))]


@needs_one
@pytest.mark.parametrize("spec", SEVEN)
def test_values_and_gradients_are_those_of_the_cpu(spec: str) -> None:
    here, there = model_of(spec, "cpu").double(), model_of(spec, available()[-1]).double().place()
    for batch in batches_of(here):
        for model in (here, there):
            model.eval()  # without dropout, whose draws differ
            model.zero_grad(set_to_none=True)
            model.loss(replace(batch)).backward()
        torch.testing.assert_close(
            {k: x.detach().cpu() for k, x in there(replace(batch)).items()},
            {k: x.detach() for k, x in here(replace(batch)).items()},
            rtol=1e-8,
            atol=1e-10,
        )
        for (path, x), y in zip(there.named_parameters(), here.parameters(), strict=True):
            assert (x.grad is None) == (y.grad is None), path
            if x.grad is not None and y.grad is not None:
                torch.testing.assert_close(x.grad.cpu(), y.grad, rtol=1e-8, atol=1e-10, msg=path)


@needs_one
@pytest.mark.parametrize("tables", ["exact", "lazy"])
def test_tables_that_are_trained_by_row_are_those_of_the_cpu(tables: str) -> None:
    found = []
    for target in ("cpu", available()[-1]):
        model = model_of("dstn", target).double().place()
        optimizer = build_optimizer(model, "adam", {"lr": 0.01}, tables)
        for batch in batches_of(model) * 2:
            model.train()
            optimizer.zero_grad(set_to_none=True)
            model.loss(replace(batch)).backward()
            optimizer.step()
        found.append({path: x.detach().cpu() for path, x in model.eval().state_dict().items()})
    torch.testing.assert_close(found[1], found[0], rtol=1e-6, atol=1e-8)


@needs_cuda
@pytest.mark.parametrize("spec", SEVEN)
def test_no_step_waits_for_the_card(spec: str) -> None:
    """torch raises where the host would wait, in its own kernels too."""
    model = model_of(spec, "cuda").place()
    optimizer = build_optimizer(model, "adam", {"lr": 1e-3})
    batches = batches_of(model) * 2
    for number, (batch, _) in enumerate(feed(((replace(b), None) for b in batches), model)):
        # What is made once, such as an optimizer's state, may wait.
        with warnings.catch_warnings(action="ignore"):  # it is a prototype, as torch says once
            torch.cuda.set_sync_debug_mode("error" if number > 2 else "default")
        try:
            model.train()
            optimizer.zero_grad(set_to_none=True)
            model.loss(batch).backward()
            optimizer.step()
            with torch.no_grad():
                model(batch)
        finally:
            torch.cuda.set_sync_debug_mode("default")
