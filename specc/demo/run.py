"""The demonstration's steps: events, examples, training, metrics, and where the attention looks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specc.demo.attention import Looked, Picture, look, pictures
from specc.demo.events import write_events
from specc.resources import specs

SESSIONS = 12
PARAMS: dict[str, Any] = {"dim": 8, "heads": 2, "sizes": [64, 32]}
RECIPE: dict[str, Any] = {"optimizer": "adam", "lr": 0.005, "batch": 256, "epochs": 4}
LOOKED_AT = 2048  # test examples over which attention is averaged


@dataclass(frozen=True)
class Shown:
    events: int
    train: int
    test: int
    results: dict[str, dict[str, dict[str, float]]]
    looked: list[Looked]
    pictures: list[Picture]


def run(
    directory: Path, seed: int, users: int, say: Callable[[str], None], watch: Callable[[Any], None]
) -> Shown:
    """Everything into a directory: events.csv, examples, model. say: told what begins."""
    import torch

    import specc
    from specc.prepare import Settings, prepare
    from specc_runtime.data import Stream
    from specc_runtime.encode import load_encoders
    from specc_runtime.train import Recipe, evaluate_files, fit

    # So small a model gains nothing by a second thread, and loses much where cores are busy.
    torch.set_num_threads(1)
    directory.mkdir(parents=True, exist_ok=True)
    say("generating events")
    events = write_events(directory / "events.csv", users, SESSIONS, seed)
    torch.manual_seed(seed)
    say("compiling dsin.arec")
    model = specc.compile(specs() / "dsin.arec", **PARAMS)
    say("preparing examples")
    prepared = prepare(
        model.manifest,
        directory / "events.csv",
        directory / "examples",
        Settings(test="0.1", history_min=4, seed=seed),
    )
    recipe = Recipe.of(model.manifest).changed(seed=seed, **RECIPE)
    fit(
        model,
        [directory / "examples" / "train.parquet"],
        directory / "model",
        recipe,
        overwrite=True,
        watch=watch,
        say=say,
    )
    test = [directory / "examples" / "test.parquet"]
    results = evaluate_files(model, directory / "model", test, recipe.group).results
    encoders = load_encoders(directory / "model", model.manifest)
    batch = next(iter(Stream(test, encoders, LOOKED_AT, shuffle=False)))
    train, held = (file.examples for file in prepared.files)
    return Shown(events, train, held, results, look(model, batch), pictures(model, batch, 3))
