"""Specs held against published implementations, run with weights of their own.

Every file of `../shared/golden` is told in the terms of a spec (golden.py), loaded by name with nothing left
unassigned and nothing left over, run, and compared.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from specc_runtime import assign_weights
from tests.specs.golden import GOLDEN, Official
from tests.specs.small import REPO, graph_of, model_of

FOLDER = REPO.parent / "shared" / "golden"
TOLERANCE = 1e-5

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"{FOLDER} is not there")


@pytest.mark.parametrize("passes", ["default", "none"])
@pytest.mark.parametrize("name", GOLDEN)
def test_agrees_with_the_published_implementation(name: str, passes: str) -> None:
    golden = GOLDEN[name]
    with np.load(FOLDER / f"{name}.npz") as file:
        arrays = {key: file[key] for key in file.files}
    kinds: dict[str, dict[str, np.ndarray]] = {"W": {}, "in": {}, "out": {}}
    for key, array in arrays.items():
        kind, _, rest = key.partition("/")
        kinds[kind][rest] = array
    model = model_of(graph_of(golden.spec), passes).eval()
    official = Official(kinds["W"])
    assign_weights(model, golden.weights(official))
    assert set(kinds["W"]) - official.asked == set(golden.unused)
    with torch.no_grad():
        found = golden.outputs(model, golden.batch(model, kinds["in"]))
    for key, values in found.items():
        np.testing.assert_allclose(
            values.numpy(), kinds["out"][key], rtol=TOLERANCE, atol=TOLERANCE, err_msg=key
        )


def test_every_file_has_its_test() -> None:
    assert {path.stem for path in FOLDER.glob("*.npz")} <= set(GOLDEN)
