"""AFM's embeddings start from a factorisation machine trained before."""

from __future__ import annotations

from pathlib import Path

import torch

from specc.testing import random_batch
from specc_runtime import save
from specc_runtime.encode import Encoders, load_pretrained
from tests.specs.small import graph_of, model_of

SPACES = """
  space user    from request   {{ id: ids(9, k{0}) }}
  space ad      from candidate {{ item: ids(8, k{0}), category: ids(7, k{0}) }}
"""


def spec(base: str, start: str) -> str:
    return f"model start\nextends {base} {{\n  param k = 4\n{SPACES.format(start)}}}\n"


def test_starts_from_a_factorisation_machine(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first = model_of(graph_of(spec("fm", "")))
    save(first, tmp_path / "fm")
    model = model_of(graph_of(spec("afm", ', pretrained = "fm"')))
    found = load_pretrained(model, Encoders(model.manifest), [tmp_path])
    assert set(found) == {"user.id.weight", "ad.item.weight", "ad.category.weight"}
    for path in found:
        assert model.state_dict()[path].equal(first.state_dict()[path])


def test_factorisation_machine_is_the_sum_over_pairs() -> None:
    model = model_of(graph_of(spec("fm", ""))).double().eval()
    weights = {path: torch.randn_like(w) for path, w in model.state_dict().items()}
    model.load_state_dict(weights)
    batch = random_batch(model.manifest, 5, seed=1)
    rows = {path: weights[f"{path}.weight"][batch.column(path)] for path in batch.fields}
    values = list(rows.values())
    pairs = sum((values[i] * values[j]).sum(-1) for j in range(len(values)) for i in range(j))
    lookups = {"user": "lookup", "ad": "lookup_2", "context": "lookup_3"}
    first = sum(
        weights[f"linear_part.{lookups[p.split('.')[0]]}.{p}.weight"][batch.column(p)].sum(-1) for p in rows
    )
    expected = weights["w0"] + first + pairs
    torch.testing.assert_close(model(batch)["rating"], expected)
