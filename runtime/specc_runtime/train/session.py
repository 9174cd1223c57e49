"""Training and evaluation from files: what a directory needs to hold, put together.

Promises: after `fit` a directory has all that scoring and evaluation need: the model's texts and weights, its
encoders, and the baselines counted in the same data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from specc_runtime.data import Stream
from specc_runtime.data.files import tables
from specc_runtime.encode import Encoders, load_encoders, load_pretrained, save_encoders
from specc_runtime.model import Model
from specc_runtime.train.census import Baselines, count
from specc_runtime.train.evaluate import Results, evaluate
from specc_runtime.train.loop import Outcome, Progress, train
from specc_runtime.train.recipe import Recipe

# The column that prepared examples have for it, where a spec names no field to group by.
USER = "example_user"
# Without gradients a batch may be larger than the recipe's, for speed.
LARGE = 4096


def fit(
    model: Model,
    files: Sequence[Path],
    directory: Path,
    recipe: Recipe,
    *,
    valid: Sequence[Path] = (),
    beside: Sequence[Path] = (),
    resume: bool = False,
    watch: Callable[[Progress], None] = lambda progress: None,
    say: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Learn the encodings of training files, then train a model on them.

    beside: folders in which the files of tables that start from one are looked for.
    say: told what begins. Raises DataError, TrainingError, Interrupted, or ArtefactError where there is
    nothing to resume.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if resume:
        encoders = load_encoders(directory, model.manifest)
    else:
        say("learning vocabularies and scales")
        bare = Encoders(model.manifest)
        encoders = Encoders.learn(model.manifest, tables(files, bare.columns))
        for note in encoders.notes():
            say(note)
        for name, text in model.files.items():
            (directory / name).write_text(text, encoding="utf-8")
        save_encoders(encoders, directory)
        load_pretrained(model, encoders, beside)
    say("counting items")
    baselines = count(model, Stream(files, encoders, LARGE, shuffle=False))
    baselines.save(directory)
    stream = Stream(files, encoders, recipe.batch, seed=recipe.seed)
    held_out = _plain(model, valid, encoders, recipe.group) if valid else None
    say("training")
    return train(model, stream, recipe, directory, valid=held_out, resume=resume, watch=watch)


def evaluate_files(
    model: Model,
    directory: Path,
    files: Sequence[Path],
    group: str | None = None,
    watch: Callable[[int], None] = lambda examples: None,
) -> Results:
    """The metrics of a trained model and of its baselines on files. group: a field's path or a column."""
    encoders = load_encoders(directory, model.manifest)
    stream = _plain(model, files, encoders, group or model.manifest["train"]["group"])
    return evaluate(model, stream, Baselines.load(directory), watch)


def _plain(model: Model, files: Sequence[Path], encoders: Encoders, group: str | None) -> Stream:
    return Stream(files, encoders, LARGE, shuffle=False, keys=_keys(model.manifest, files, group))


def _keys(manifest: Mapping[str, Any], files: Sequence[Path], group: str | None) -> str | None:
    """The column whose values group examples: that of a field, a column by its name, or the user's."""
    names = set(pq.read_schema(files[0]).names)
    field = next((f for f in manifest["fields"] if f["path"] == group), None)
    if field is not None:
        column: str = field["column"]
        other: str = field["fallback"] or column
        return column if column in names else other
    if group is not None:
        return group
    return USER if USER in names else None
