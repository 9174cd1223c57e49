"""AOTInductor's package of a model: in Python, and in the C++ program of docs/cpp."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from torch.utils import cpp_extension

from docs.cpp.flags import flags
from specc.export.export import export
from specc_runtime import Batch, save
from specc_runtime.batch import Schema
from specc_runtime.encode import Encoders, write_encoders
from specc_runtime.engines import beside, load_exported
from specc_runtime.score import Scorer
from tests.export.test_portable import untrained

SPEC = """\
model shop
space user from request { id: ids(50, 4) }
space ad from candidate { item: ids(70, 4) }
space history[t <= 8] from request { item: ids(70, 4) }
predict click: binary = concat(user, ad, mean(history, over t)) |> linear(1)
"""
PROGRAM = Path(__file__).parents[2] / "docs" / "cpp" / "score.cpp"
HEADER = "torch/csrc/inductor/aoti_package/model_package_loader.h"


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
def test_a_package_runs_in_python_and_in_c(tmp_path: Path) -> None:
    if not any((Path(folder) / HEADER).exists() for folder in cpp_extension.include_paths()):
        pytest.skip("torch brings no headers")
    model, _ = untrained(SPEC)
    encoders = Encoders(model.manifest, {})
    save(model, tmp_path / "shop", beside=[lambda place: write_encoders(encoders, place)])
    path = beside(tmp_path / "shop", "aoti")
    assert export(model, path, "aoti", "request") <= 1e-5
    fields = {
        "user.id": torch.tensor([3]),
        "ad.item": torch.tensor([1, 2, 9]),
        "history.item": torch.tensor([4, 5]),
    }
    lengths = {"history.t": torch.tensor([2])}
    batch = Batch(Schema.of(model.manifest), 1, fields, lengths, {}, torch.tensor([3]))
    with torch.no_grad():
        wanted = model(batch)["click"]
    torch.testing.assert_close(load_exported(path)(batch)["click"], wanted, atol=1e-5, rtol=1e-5)
    request = {"user_id": 3, "ad_item": [1, 2, 9], "history_item": [4, 5]}
    served = Scorer.load(tmp_path / "shop", engine="aoti")
    assert served.score(request).values["click"] == pytest.approx(torch.sigmoid(wanted).numpy(), abs=1e-5)
    built = tmp_path / "score"
    subprocess.run(["g++", "-std=c++20", str(PROGRAM), *flags(), "-o", str(built)], check=True, timeout=600)
    done = subprocess.run([str(built), str(path)], capture_output=True, text=True, check=True, timeout=100)
    scores = torch.tensor([float(line) for line in done.stdout.split()])
    torch.testing.assert_close(scores, wanted, atol=1e-5, rtol=1e-4)
