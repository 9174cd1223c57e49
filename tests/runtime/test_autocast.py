"""Under torch's autocast a loss and its gradients are about those of single precision."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import specc
from specc import resources
from specc.testing import random_batch
from specc_runtime import Model
from specc_runtime.encode.labels import of_requests

SPECS = sorted(resources.specs().glob("*.arec")) + sorted((resources.specs() / "more").glob("*.arec"))


def gradient(model: Model) -> Tensor:
    return torch.cat([w.grad.flatten() for w in model.parameters() if w.grad is not None])


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
@pytest.mark.parametrize("native", ["1", "0"])
def test_bf16(path: Path, native: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AREC_NATIVE", native)
    torch.manual_seed(0)
    model = specc.compile(path)
    # As they come weights are so small that half of the gradients are rounding.
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.1)
    batch = random_batch(model.manifest, 24, seed=1, longest=6, candidates=of_requests(model.manifest))
    found = []
    for low in (False, True):
        model.zero_grad()
        torch.manual_seed(1)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=low):
            loss = model.loss(batch)
        loss.backward()
        found.append((float(loss.detach()), gradient(model)))
    (loss, expected), (lowered, actual) = found
    assert all(w.dtype == torch.float32 for w in model.parameters())
    assert lowered == pytest.approx(loss, rel=0.02)
    assert float(torch.nn.functional.cosine_similarity(actual, expected, 0)) > 0.95
