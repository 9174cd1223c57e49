"""A training that is killed before any of its file-system calls goes on as if it had not been.

With AREC_LONG=1 in the environment every call is tried; without it one in many.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.kills import sweep

SCRIPT = """
import shutil
import torch
torch.set_num_threads(1)
import specc
from pathlib import Path
from specc_runtime import from_texts, load
from specc_runtime.encode import load_trained
from specc_runtime.train import Recipe, evaluate_files, fit
from tests.train.small import write_examples, write_spec

root = Path({root!r})
texts = specc.compile(write_spec(root)).files
write_examples(root / "data", rows=128)

def trained(directory, seed, resume=False, watch=lambda progress: None):
    torch.manual_seed(seed)
    model = from_texts(texts)
    recipe = Recipe.of(model.manifest).changed(seed=seed, epochs=2, lr=0.2, every={every})
    valid = [root / "data" / "test.parquet"]
    fit(model, [root / "data" / "train.parquet"], directory, recipe, valid=valid, resume=resume,
        overwrite=True, watch=watch)
    return model.state_dict()

def same(first, second):
    return all(torch.equal(value, second[path]) for path, value in first.items())

def warm():
    trained(root / "warm", 0)

def prepare(folder):
    for seed in (0, 1):
        if not (root / str(seed)).exists():
            trained(root / str(seed), seed)
    if {retrain}:
        shutil.copytree(root / "0", folder / "model")

def work(folder):
    def watch(progress):
        # The second step after a checkpoint was to be written.
        if (progress.epoch, progress.step) == {begun}:
            (folder / "begun").touch()
    trained(folder / "model", 1, watch=watch)

def judge(folder):
    model, wanted = folder / "model", load(root / "1").state_dict()
    if (model / "weights.safetensors").exists() or {retrain}:
        # Old or new, with all that belongs to it.
        found, encoders = load_trained(model)
        held = found.state_dict()
        assert same(held, wanted) or ({retrain} and same(held, load(root / "0").state_dict()))
        evaluate_files(found, model, [root / "data" / "test.parquet"])
    whole = (model / "checkpoint").exists() or (folder / "begun").exists()
    resume = whole and (not {retrain} or (folder / "begun").exists())
    assert same(trained(model, 1, resume=resume), wanted)
    assert same(load(model).state_dict(), wanted)
    left = sorted(p.name for p in model.rglob("*") if p.name.startswith("."))
    assert not left, left
"""


LONG = os.environ.get("AREC_LONG") == "1"


@pytest.mark.parametrize(("every", "retrain"), [(2, False), (2, True), (1000, True)] if LONG else [(2, True)])
def test_killed_anywhere_training_goes_on(tmp_path: Path, every: int, retrain: bool) -> None:
    begun = (1, 3) if every == 2 else (2, 1)
    script = SCRIPT.format(root=str(tmp_path / "root"), every=every, retrain=retrain, begun=begun)
    (tmp_path / "root").mkdir()
    step, start = (1, 0) if LONG else (19, 7)
    assert sweep(script, tmp_path, step, start, timeout=3600) > 40
