"""Training and evaluation from files: what a directory needs to hold, put together.

Promises: after `fit` a directory has all that scoring and evaluation need: the model's texts and weights, its
encoders, the baselines counted in the same data, and what is prebuilt for serving. It is written at the end,
at once: a training that fails or is killed leaves what the directory held. One training at a time has a
directory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from difflib import get_close_matches
from pathlib import Path
from shutil import rmtree
from typing import Any, TypeVar

import torch

from specc_runtime import ranks
from specc_runtime.artefact import is_trained
from specc_runtime.batch import Batch
from specc_runtime.data import Column, Dialect, Examples, Stream, columns_of, names_of
from specc_runtime.data.files import PLAIN
from specc_runtime.encode import DataError, Encoders, Fault, load_encoders, load_pretrained, write_encoders
from specc_runtime.encode.faults import Unfit
from specc_runtime.encode.labels import of_requests
from specc_runtime.encode.store import encoders_beside
from specc_runtime.files import exclusive
from specc_runtime.model import Model
from specc_runtime.record import INDICES, LIBRARIES, ArtefactError, consistent, held
from specc_runtime.score.prebuilt import write_prebuilt
from specc_runtime.train.census import Baselines, count, counts_of
from specc_runtime.train.checkpoint import divided_in, opened
from specc_runtime.train.choice import TrainingError, check, first_of
from specc_runtime.train.content import contents
from specc_runtime.train.divided import Division, Tables, divide
from specc_runtime.train.evaluate import AT, Evaluation, evaluate
from specc_runtime.train.loop import Outcome, Progress, train
from specc_runtime.train.recipe import Recipe
from specc_runtime.train.report import Logger
from specc_runtime.train.sharded import sharded
from specc_runtime.train.slices import BY, Slices, each_of
from specc_runtime.train.start import Start
from specc_runtime.trained import period_of

# The column that prepared examples have for it, where a spec names no field to group by.
USER = "example_user"
Paths = str | Path | Sequence[str | Path]
T = TypeVar("T")
# Without gradients a batch may be larger than the recipe's, for speed.
LARGE = 4096


def fit(
    model: Model,
    files: Paths,
    directory: str | Path,
    recipe: Recipe | None = None,
    *,
    valid: Paths = (),
    test: Paths = (),
    beside: Sequence[Path] = (),
    resume: bool = False,
    overwrite: bool = False,
    start_from: Path | None = None,
    dialect: Dialect = PLAIN,
    tables: Tables = None,
    rowwise: bool = False,
    watch: Callable[[Progress], None] = lambda progress: None,
    say: Callable[[str], None] = lambda text: None,
    tell: Callable[[str], None] = lambda text: None,
    loggers: Sequence[Logger] = (),
) -> Outcome:
    """Learn the encodings of training files, then train a model on them.

    recipe: without it the spec's.
    valid: files by which the best epoch is chosen. test: files that the saved model is evaluated on.
    beside: folders in which the files of tables that start from one are looked for.
    resume: go on from the directory's checkpoint. overwrite: where the directory has a trained model, put the
    new one in its place. start_from: a trained model's directory, which may be the same one.
    dialect: how text files are to be read.
    tables: "sharded" divides all tables between the processes, with TorchRec; "replicated" none; without it
    several processes divide those that the spec places on `sharded`. The model has none of their rows
    afterwards: `specc.load` reads what was saved.
    rowwise: whether Adagrad keeps one number a row of these, not one a number.
    Of several processes (ranks) the first learns the encodings, holds the directory, and tells.
    say: told what begins. tell: told what there is to know of the data. Raises DataError, TrainingError,
    Interrupted, FileError, or ArtefactError where there is nothing to resume, or the directory has a trained
    model.
    """
    begun = time.monotonic()
    files, valid, test, directory = paths_in(files), paths_in(valid), paths_in(test), Path(directory)
    recipe = recipe or Recipe.of(model.manifest)
    joined = ranks.now()
    if joined is None or joined.first:
        held: AbstractContextManager[None] = exclusive(directory, "specc train")
    else:
        held, say, tell, loggers = nullcontext(), _nothing, _nothing, ()
    rank, many = (0, 1) if joined is None else (joined.number, joined.count)
    before = divided_in(directory) if resume and tables is None else None
    division = Division.of(model.manifest, tables, before)
    for note in division.said:
        tell(note)
    if division.paths:
        divide(model, division.paths)
    elif rowwise:
        raise TrainingError("--rowwise is of tables that are divided between processes, and none is")
    with held, sharded(model, recipe, rowwise) as source:
        for note in [] if source is None else source.plan:
            tell(note)
        if not (resume or overwrite or is_start(start_from, directory)) and has_trained(directory):
            raise ArtefactError(
                f"{directory} has a trained model; start_from={str(directory)!r} goes on from what it has "
                "learnt, overwrite=True begins anew; either puts the new model in its place"
            )
        start = None if start_from is None or resume else Start.of(start_from)
        say("reading")
        examples = Examples(files, columns_of(model.manifest), dialect)
        for note in examples.notes:
            tell(note)
        content = _of_first(joined, lambda: {"data": contents(files), "valid": contents(valid)})
        if resume:
            encoders = load_encoders(opened(directory), model.manifest)
        else:
            say("learning vocabularies and scales")

            def learnt() -> Encoders:
                found = Encoders.learn(model.manifest, examples.tables())
                for note in found.notes():
                    tell(note)
                load_pretrained(model, found, beside)
                if start is not None:
                    found = start.settled(found)
                    for note in start.give(model, found):
                        tell(note)
                return found

            encoders = _learnt(joined, learnt, model)
        say("counting items")
        baselines = Baselines(None)
        if joined is None or joined.first:
            baselines = count(model, Stream(examples, encoders, large(model.manifest), shuffle=False))
        if joined is not None:
            joined.share(counts_of(model).values())
        for note in baselines.notes:
            tell(note)
        stream = Stream(examples, encoders, recipe.batch, seed=recipe.seed, rank=rank, ranks=many)
        held_out = _plain(model, valid, encoders, recipe.group, dialect, tell) if valid else None
        if held_out is not None and (joined is None or joined.first):
            grouped = held_out.keys is not None or of_requests(model.manifest)
            check(recipe.metric, model.manifest, grouped, (b.labels for b in held_out))
        if held_out is not None:
            held_out.rank, held_out.ranks = rank, many
        say("training")
        own = (lambda folder: write_encoders(encoders, folder), baselines.write)

        def prebuilt(folder: Path) -> None:
            try:
                write_prebuilt(model, encoders, folder)
            except (OSError, RuntimeError, ValueError) as error:
                for name in (LIBRARIES, INDICES):
                    rmtree(folder / name, ignore_errors=True)
                tell(f"not prebuilt for serving, which is slower to start for it: {error}")

        reading: dict[str, Any] = {**asdict(dialect), "integral": sorted(dialect.integral)}
        about = {**content, "reading": reading}
        if source is not None:
            about["divided"] = {"tables": list(division.paths), "rowwise": rowwise}
        group, at = recipe.group, first_of(recipe.metric)

        def tested() -> Evaluation:
            say("evaluating")
            return evaluate_files(model, directory, test, group, dialect, tell=tell, at=at)

        reading_took = time.monotonic() - begun
        outcome = train(
            model, stream, recipe, directory,
            valid=held_out, beside=own, last=[prebuilt], test=tested if test else None, about=about,
            facts={"examples": examples.rows, "period": period_of(files)}, tables=source, resume=resume,
            watch=watch, loggers=loggers,
        )  # fmt: skip
        model.directory = directory
        return replace(outcome, seconds=outcome.seconds + reading_took)


def paths_in(given: Paths) -> list[Path]:
    """The paths of one file, or of several."""
    return [Path(given)] if isinstance(given, str | Path) else [Path(path) for path in given]


def _nothing(text: str) -> None:
    """Tell nobody."""


def _of_first(joined: ranks.Ranks | None, what: Callable[[], T]) -> T:
    """What the first process finds, of what JSON has."""
    if joined is None:
        return what()
    found: T = joined.say(what() if joined.first else None)
    return found


def _learnt(joined: ranks.Ranks | None, learn: Callable[[], Encoders], model: Model) -> Encoders:
    """Encoders that are learnt once, in the first process."""
    if joined is None:
        return learn()
    own = learn() if joined.first else None
    return joined.folder(
        lambda folder: write_encoders(own, folder) if own is not None else None,
        lambda folder: own or load_encoders(folder, model.manifest),
    )


def is_start(start_from: Path | None, directory: Path) -> bool:
    """Whether a training starts from the very model whose place it takes."""
    return start_from is not None and start_from.resolve() == directory.resolve()


def has_trained(directory: Path) -> bool:
    """Whether a directory has a trained model, damaged or not."""
    if not directory.is_dir():
        return False
    files = held(directory)
    return is_trained(files) or (files.record is None and files.has("encoders.json"))


def evaluate_files(
    model: Model,
    directory: str | Path,
    files: Paths,
    group: str | None = None,
    dialect: Dialect = PLAIN,
    watch: Callable[[int], None] = lambda examples: None,
    tell: Callable[[str], None] = lambda text: None,
    *,
    by: Sequence[str] = (),
    at: Sequence[int] = AT,
) -> Evaluation:
    """The metrics of a trained model and of its baselines on files.

    directory: that the model was loaded from, or saved to.
    group: a field's path or a column. by: columns (or paths of fields) whose values are slices with metrics
    of their own. Raises DataError, ArtefactError, NotFinite, or FileError where no temporary file can be
    written.
    """
    files = paths_in(files)
    encoders, baselines = consistent(
        directory, lambda files: (encoders_beside(model, files), Baselines.among(files))
    )
    slices = [Slices(column) for column in dict.fromkeys(by)]
    columns = {s.column: column_of_field(model.manifest, files, s.column, dialect) for s in slices}
    fields = {f["path"] for f in model.manifest["fields"]}
    grouping = {group: "group"} if group is not None and group not in fields else {}
    _look_for({**dict.fromkeys(columns.values(), "slice"), **grouping}, files, dialect)
    stream = _plain(
        model, files, encoders, group or model.manifest["train"]["group"], dialect, tell, columns.values()
    )
    batches = _sliced(stream, slices, columns)
    return evaluate(model, batches, baselines, watch, at=at, slices=slices)


def _look_for(columns: Mapping[str, str], files: Sequence[Path], dialect: Dialect) -> None:
    """Look whether some file has each of some columns. columns: by name, what it is there to do. Raises
    DataError."""
    there = {name: None for file in files for name in names_of(file, dialect)}
    where = ", ".join(map(str, files))
    faults = []
    for column, use in columns.items():
        if there and column not in there:
            close = get_close_matches(column, there, 1)
            advice = f"did you mean `{close[0]}`?" if close else f"there are {', '.join(there)}"
            faults.append(Fault(where, f"there is no such column to {use} by", column, help=advice))
    if faults:
        raise DataError(faults)


def _sliced(stream: Stream, slices: Sequence[Slices], columns: Mapping[str, str]) -> Iterator[Batch]:
    """The examples of a stream in the files' order, each with the numbers of its slices."""
    for table, origin in stream.source.tables():
        for at in range(0, len(table), stream.batch):
            part, where = table.slice(at, stream.batch), origin.after(at)
            batch = stream.encoders.encode(part, where, keys=stream.keys)
            numbers = {}
            for one in slices:
                try:
                    found = one.of(each_of(part.column(columns[one.column]), batch))
                except Unfit as unfit:
                    raise DataError([Fault(where.file, unfit.what, columns[one.column])]) from None
                numbers[BY + one.column] = torch.from_numpy(found)
            yield replace(batch, labels={**batch.labels, **numbers})


def _plain(
    model: Model,
    files: Sequence[Path],
    encoders: Encoders,
    group: str | None,
    dialect: Dialect,
    tell: Callable[[str], None],
    others: Iterable[str] = (),
) -> Stream:
    """Examples in the files' order. others: columns that are read, too."""
    columns = columns_of(model.manifest)
    keys = groups_by(model.manifest, files, group, dialect)
    for other in (*others, *(() if keys is None else (keys,))):
        columns.setdefault(other, Column("key", needed=True))
    examples = Examples(files, columns, dialect)
    for note in examples.notes:
        tell(note)
    return Stream(examples, encoders, large(model.manifest), shuffle=False, keys=keys)


def large(manifest: Mapping[str, Any]) -> int:
    """How many rows of data are computed at once where there are no gradients."""
    return LARGE // 16 if of_requests(manifest) else LARGE


def groups_by(
    manifest: Mapping[str, Any], files: Sequence[Path], group: str | None, dialect: Dialect
) -> str | None:
    """Return the column whose values group examples: that of a field, a column by its name, or the user's."""
    if group is not None:
        return column_of_field(manifest, files, group, dialect)
    if of_requests(manifest):
        return None  # each request is a group
    return USER if USER in names_of(files[0], dialect) else None


def column_of_field(manifest: Mapping[str, Any], files: Sequence[Path], name: str, dialect: Dialect) -> str:
    """The column of a field by its path, as the files have it; else the column of that name."""
    field = next((f for f in manifest["fields"] if f["path"] == name), None)
    if field is None:
        return name
    column: str = field["column"]
    other: str = field["fallback"] or column
    return column if column in names_of(files[0], dialect) else other
