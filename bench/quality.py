"""`python -m bench.quality`: all seven models on real event logs, side by side, each at its best.

One split by time. Every model is swept as `specc sweep` does it, over the domains of its spec and the
learning rate, by the AUC of a validation period; the best trials are trained again with other seeds, and the
winner by their mean is then trained with seeds that nothing was chosen by, each stopped early by the same
period, and tested. Sweeps and runs are kept below build/quality, so that an interrupted bench goes on where
it was. What a model gave stands in bench/results/quality.json, from which docs/models is written (pages.py).

    python -m bench.quality                       # both logs of ../shared/data
    python -m bench.quality --data taobao --only din --only dsin --trials 24
"""

from __future__ import annotations

import json
import re
import shutil
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from specc.types.static import describe

REPO = Path(__file__).parents[1]
SPECS = REPO / "specs"
RESULTS = Path(__file__).parent / "results" / "quality.json"
# Rows that the logs need; a spec's own bounds are for larger ones.
ROWS = 70_000
TRAIN, VALID, BATCH = 30_000, 5_000, 128
# Of each sweep: trials, the first of them the spec's own params; how many are confirmed; epochs at most.
TRIALS, CONFIRM, EPOCHS = 12, 2, 4
RATES = "3e-4..3e-2"
# The runs that are tested have seeds from here on: a sweep has others.
SEED = 100
SPREADS = ("auc", "gauc", "logloss")

# Widths alike, so that models are compared and not sizes; lengths are those that the examples have.
PARAMS: Mapping[str, Mapping[str, Any]] = {
    "pooling": {"dim": 16},
    "fm": {"k": 16, "batch": BATCH},
    "afm": {"k": 16, "batch": BATCH},
    "din": {"dim": 16},
    "dien": {"dim": 16, "longest": 50},
    "dsin": {"dim": 16, "sessions": 5, "steps": 10},
    "bst": {"dim": 16, "longest": 20},
    "dstn": {"dim": 16},
    "atrank": {"dim": 16, "common": 32},
}
# What the seven have to beat, too.
PLAIN = ("pooling", "fm")
# What published codes compute otherwise, on one log: the spec, its params, and the paper's beside it.
CODES: Mapping[str, tuple[str, Mapping[str, Any], str]] = {
    "afm_official": ("afm_official", PARAMS["afm"], "afm"),
    "din_official": ("din_official", {"dim": 16, "activation": "dice"}, "din"),
    "dien_official": ("dien_official", PARAMS["dien"], "dien"),
    "dsin_official": ("dsin_official", PARAMS["dsin"], "dsin"),
    "dstn_self_attention": ("dstn", {"dim": 16, "fusion": "self_attention"}, "dstn"),
    "dstn_official_self_attention": (
        "dstn_official", {"dim": 16, "fusion": "self_attention"}, "dstn_self_attention",
    ),
    # Without dropout on the weights the attention is one fused operation.
    "atrank_official": ("atrank_official", {**PARAMS["atrank"], "dropout": 0.0}, "atrank"),
}  # fmt: skip
CODES_LOG = "taobao"


def spec_and_params(label: str) -> tuple[str, Mapping[str, Any]]:
    return CODES[label][:2] if label in CODES else (label, PARAMS[label])


@dataclass(frozen=True)
class Log:
    """A log and what `specc prepare` is told about it. test: examples tested, the first of their period.
    changes: by model, what its spec says otherwise."""

    name: str
    file: str
    test: int
    settings: Mapping[str, Any]
    changes: Mapping[str, str]


# AFM's rating becomes a click, so that all have the same metrics.
AFM = """
drop rating
predict click: binary = w0 + linear_part + (interactions |> linear(1, bias = false))
train { metric = auc, group = user.id }
"""
FM = """
drop rating
predict click: binary = w0 + linear_part + factorised
train { metric = auc, group = user.id }
"""
# A log of one kind of behaviour makes one group.
ONE_GROUP = """
drop keeps, buys, bought, keep_vectors, buy_vectors
behaviours = rename(view_vectors, view to t)
"""
LOGS = (
    Log(
        "taobao",
        "taobao/UserBehavior.csv",
        20_000,  # of one day
        {
            "columns": {"user": 0, "item": 1, "category": 2, "behaviour": 3, "time": 4},
            "begin": "2017-11-24",
            "utc_offset": 8,
            "valid": "last-day",
        },
        {"afm": AFM, "fm": FM},
    ),
    Log(
        "grocery",
        "grocery/train.csv",
        5_000,  # of three weeks: what sells changes, and what was learnt is soon worth less
        {
            "items": "grocery/item_meta.csv",
            "columns": {"user": "user_id", "item": "item_id", "time": "time"},
            "item_columns": {"item": "item_id", "category": "i_category"},
            "test": "0.2",
            "valid": "0.03",  # so that the test follows soon after
        },
        {"afm": AFM, "fm": FM, "atrank": ONE_GROUP},
    ),
)


@dataclass(frozen=True)
class Run:
    """One training with the winner's settings, and its test. epochs: the number of the best one.
    parameters: beside the tables. seconds: of an epoch. popularity: the AUC of the item's, alone."""

    log: str
    model: str
    seed: int
    auc: float
    gauc: float
    logloss: float
    epochs: int
    parameters: int
    seconds: float
    popularity: float


@dataclass(frozen=True)
class Spread:
    """The mean of some runs, and their standard deviation."""

    mean: float
    deviation: float

    def __str__(self) -> str:
        return f"{self.mean:.4f} ± {self.deviation:.4f}"

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        return Spread(statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0)


@dataclass(frozen=True)
class Result:
    """What a model gave on a log; None is what is no longer known. trials: of its search; confirmed: how many
    of these were trained again with other seeds. settings: what won, where it is not the spec's."""

    log: str
    model: str
    trials: int
    confirmed: int
    settings: Mapping[str, str] | None
    seeds: int
    auc: Spread
    gauc: Spread | None
    logloss: Spread
    epochs: Sequence[int] | None
    parameters: int | None
    seconds: float | None
    popularity: float


def results() -> list[Result]:
    """What every model has given, the last time it was asked."""
    found = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else []
    return [Result(**{n: Spread(**v) if n in SPREADS and v else v for n, v in one.items()}) for one in found]


def keep(result: Result) -> None:
    """Put a result into the file, in the place of an earlier one of the same model on the same log."""
    order = [(log.name, model) for log in LOGS for model in (*PARAMS, *CODES)]
    by = {(r.log, r.model): r for r in [*results(), result]}
    kept = [asdict(by[key]) for key in order if key in by]
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def spec_of(model: str, log: Log, folder: Path) -> Path:
    """The spec with as many rows as the log needs, and what this log asks for."""
    bases = {"fm": "afm"}
    base_of = bases.get(model, model.removesuffix("_official"))
    if base_of != model:
        spec_of(base_of, log, folder)  # found beside it, and so extended instead of the shipped one
    shipped = SPECS / f"{model}.arec"
    text = (shipped if shipped.is_file() else REPO / "bench" / "specs" / f"{model}.arec").read_text("utf-8")
    folder.mkdir(parents=True, exist_ok=True)
    text = re.sub(r"vocab\((?:1_000_000|500_000|100_000), ", f"vocab({ROWS:_}, ", text)
    if model not in log.changes:
        path = folder / f"{model}.arec"
        path.write_text(text, encoding="utf-8")
        return path
    # A model that changes its base's prediction extends the base as it is shipped.
    base = folder / f"{model}_base.arec"
    text = text.replace(f"model {model}", f"model {model}_base", 1)
    if base_of != model and base_of in log.changes:
        text = text.replace(f"extends {base_of} ", f"extends {base_of}_base ", 1)
    base.write_text(text, encoding="utf-8")
    path = folder / f"{model}.arec"
    path.write_text(f"model {model}\nextends {model}_base {{{log.changes[model]}}}\n", encoding="utf-8")
    return path


def examples_of(model: str, log: Log, data: Path, folder: Path) -> dict[str, Path]:
    """Training, validation and test examples: the last of the training period, and the first of the others;
    the same events for every model."""
    parts = {part: folder / f"{model}_{part}.parquet" for part in ("train", "valid", "test")}
    if all(path.is_file() for path in parts.values()):
        return parts
    import pyarrow.parquet as pq

    import specc
    from specc.prepare import Settings, prepare

    spec, params = spec_and_params(model)
    manifest = specc.compile(spec_of(spec, log, folder), **params).manifest
    settings = dict(log.settings)
    if "items" in settings:
        settings["items"] = str(data / settings["items"])
    prepare(manifest, data / log.file, folder / model, Settings.model_validate(settings))
    for part, count in (("train", TRAIN), ("valid", VALID), ("test", log.test)):
        whole = pq.read_table(folder / model / f"{part}.parquet")
        order = whole.sort_by([("example_time", "ascending"), ("example_request", "ascending")])
        # Validation begins where training ends.
        chosen = order.slice(max(len(order) - count, 0)) if part == "train" else order.slice(0, count)
        pq.write_table(chosen, parts[part], row_group_size=4096)
    return parts


def swept(model: str, log: Log, data: Path, folder: Path, trials: int) -> tuple[Path, Mapping[str, str]]:
    """Sweep a model, or go on with it. Return the winner's spec, and its settings where they are not the
    spec's."""
    from specc.sweep import found
    from specc.sweep.run import run
    from specc.sweep.study import Sweep, winner
    from specc_runtime.files import exclusive

    parts = examples_of(model, log, data, folder)
    spec, params = spec_and_params(model)
    over = ("optimizer={adam}", f"lr={RATES}", f"batch={{{BATCH}}}", "patience={1}")
    sweep = Sweep(
        spec_of(spec, log, folder), folder / f"{model}_sweep", [parts["train"]], [parts["valid"]], trials,
        params, over, "auc", EPOCHS, confirm=CONFIRM,
    )  # fmt: skip
    sweep.folder.mkdir(parents=True, exist_ok=True)
    plan = sweep.read()
    with exclusive(sweep.folder, "bench.quality"):
        study = run(sweep, plan, told=lambda text: click.echo(f"{log.name} {model} {text}"))
    path, best = found.write_winner(study, sweep, plan), winner(study)
    assert path is not None
    assert best is not None
    found.write_page(study, "auc", f"{model} on {log.name}", sweep.folder / "sweep.html")
    own = {name: plan.space.defaults[name] for name in plan.space.order}
    same = {name: describe(value) for name, value in own.items()} | {"optimizer": "adam", "batch": str(BATCH)}
    settings = best.user_attrs["settings"]
    other = {n: v for n, v in settings.items() if same.get(n.removeprefix("train.")) != v}
    return path, {n: v for n, v in other.items() if n != "patience"}


def tested(spec: Path, model: str, log: Log, data: Path, folder: Path, seed: int) -> Run:
    """Train until the validation period gets no better, and test."""
    import torch

    import specc
    from specc_runtime.train import Recipe, evaluate_files, fit

    parts = examples_of(model, log, data, folder)
    torch.manual_seed(seed)
    built = specc.compile(spec)
    recipe = Recipe.of(built.manifest).changed(seed=seed, metric="auc", epochs=EPOCHS)
    place = folder / f"{model}_trained"
    shutil.rmtree(place, ignore_errors=True)
    outcome = fit(built, [parts["train"]], place, recipe, valid=[parts["valid"]])
    found = evaluate_files(built, place, [parts["test"]], "example_user").results["click"]
    of = found["model"]
    tables = {w["path"] for w in built.manifest["weights"] if w["kind"] == "table"}
    parameters = sum(w.numel() for path, w in built.named_parameters() if path not in tables)
    seconds = statistics.median(epoch["seconds"] for epoch in outcome.epochs)
    return Run(
        log.name, model, seed, of["auc"], of["gauc"], of["logloss"], outcome.best, parameters, seconds,
        found["popularity"]["auc"],
    )  # fmt: skip


def result_of(runs: Sequence[Run], trials: int, settings: Mapping[str, str]) -> Result:
    """What the runs of a model gave."""
    one = runs[0]
    return Result(
        one.log, one.model, trials, CONFIRM, settings, len(runs),
        *(Spread.of([getattr(r, name) for r in runs]) for name in SPREADS),
        [r.epochs for r in runs], one.parameters, statistics.median(r.seconds for r in runs), one.popularity,
    )  # fmt: skip


@click.command()
@click.option("--data", "logs", multiple=True, type=click.Choice([log.name for log in LOGS]))
@click.option("--only", multiple=True, type=click.Choice([*PARAMS, *CODES]), help="Only these models.")
@click.option("--seeds", default=3, show_default=True, help="Runs of the winner that are tested.")
@click.option("--trials", default=TRIALS, show_default=True, help="Of each sweep.")
@click.option("--folder", type=click.Path(path_type=Path), default=REPO.parent / "shared" / "data")
@click.option("--work", type=click.Path(path_type=Path), default=REPO / "build" / "quality")
@click.option("--out", type=click.Path(path_type=Path), default=REPO / "docs" / "models")
def main(
    logs: tuple[str, ...],
    only: tuple[str, ...],
    seeds: int,
    trials: int,
    folder: Path,
    work: Path,
    out: Path,
) -> None:
    """Sweep, train and test the seven models on the logs of FOLDER."""
    import torch

    from bench.pages import write_pages

    torch.set_num_threads(1)
    file = work / "runs.jsonl"
    work.mkdir(parents=True, exist_ok=True)
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    done = {(key, run.seed): run for key, run in (_kept(line) for line in lines)}
    for log in (x for x in LOGS if not logs or x.name in logs):
        for model in (*PARAMS, *(CODES if log.name == CODES_LOG else ())):
            if only and model not in only:
                continue
            place = work / log.name
            spec, settings = swept(model, log, folder, place, trials)
            runs = []
            for seed in range(SEED, SEED + seeds):
                # By the winner's text: a sweep that went on may have another.
                key = f"{log.name} {model} {spec.read_text(encoding='utf-8')}"
                run = done.get((key, seed)) or tested(spec, model, log, folder, place, seed)
                if (key, seed) not in done:
                    with file.open("a", encoding="utf-8") as kept:
                        kept.write(json.dumps({"key": key, "run": asdict(run)}) + "\n")
                click.echo(f"{log.name} {model} seed {seed}: AUC {run.auc:.4f}, best epoch {run.epochs}")
                runs.append(run)
            keep(result_of(runs, trials, settings))
    write_pages(results(), out)


def _kept(line: str) -> tuple[str, Run]:
    found = json.loads(line)
    return found["key"], Run(**found["run"])


if __name__ == "__main__":
    main()
