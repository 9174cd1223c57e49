"""`python -m bench.quality`: all seven models on real event logs, side by side, each at its best.

One split by time. Every model has the same number of trials, drawn from the domains of its spec and a few
learning rates, and is judged by the AUC of a validation period; the best trial's settings are then trained
with several seeds, each stopped early by the same period, and tested. What was trained is kept as lines of
JSON, so that an interrupted bench goes on where it was. Writes docs/models from them (pages.py).

    python -m bench.quality                       # both logs of ../shared/data
    python -m bench.quality --data taobao --only din --only dsin --seeds 1
"""

from __future__ import annotations

import json
import re
import shutil
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

REPO = Path(__file__).parents[1]
SPECS = REPO / "specs"
# Rows that the logs need; a spec's own bounds are for larger ones.
ROWS = 70_000
TRAIN, VALID, BATCH = 30_000, 5_000, 128
# Of each model: trials, the first of them the spec's defaults; epochs at most, and rates to draw from.
TRIALS, EPOCHS, RATES = 3, 4, (0.001, 0.003, 0.01)

# Widths alike, so that models are compared and not sizes.
PARAMS: Mapping[str, Mapping[str, Any]] = {
    "pooling": {"dim": 16},
    "fm": {"k": 16, "batch": BATCH},
    "afm": {"k": 16, "batch": BATCH},
    "din": {"dim": 16},
    "dien": {"dim": 16, "longest": 50},
    "dsin": {"dim": 16},
    "bst": {"dim": 16},
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
class Trial:
    """Some settings of a model, and the AUC of the validation period that they gave."""

    log: str
    model: str
    number: int
    params: Mapping[str, Any]
    lr: float
    auc: float


@dataclass(frozen=True)
class Run:
    """One training with the best trial's settings, and its test. epochs: the number of the best one.
    parameters: beside the tables. seconds: of an epoch."""

    log: str
    model: str
    seed: int
    auc: float
    gauc: float
    logloss: float
    epochs: int
    lr: float
    params: Mapping[str, Any]
    parameters: int
    seconds: float
    popularity: float


def kept(file: Path) -> tuple[list[Trial], list[Run]]:
    """What was trained before."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    found = [json.loads(line) for line in lines]
    trials = [Trial(**f["trial"]) for f in found if "trial" in f]
    return trials, [Run(**f["run"]) for f in found if "run" in f]


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


def settings_of(model: str, log: Log, folder: Path, number: int) -> tuple[Mapping[str, Any], float]:
    """The params and learning rate of a trial: the spec's defaults first, then draws from its domains."""
    from specc.variants.choose import sample
    from specc.variants.load import load_space

    spec, params = spec_and_params(model)
    if number == 0:
        return params, RATES[0]
    space, report = load_space(spec_of(spec, log, folder), params)
    assert space is not None, report
    drawn = sample(space, TRIALS - 1, seed=1)
    chosen = drawn[(number - 1) % len(drawn)].params if drawn else dict(params)
    return chosen, RATES[number % len(RATES)]


@dataclass(frozen=True)
class Trained:
    results: Mapping[str, Any]
    valid: float
    best: int
    seconds: float
    parameters: int


def trained(
    model: str,
    log: Log,
    data: Path,
    folder: Path,
    params: Mapping[str, Any],
    lr: float,
    seed: int,
    test: bool,
) -> Trained:
    """Train until the validation period gets no better, and test where asked."""
    import torch

    import specc
    from specc_runtime.train import Recipe, evaluate_files, fit

    parts = examples_of(model, log, data, folder)
    torch.manual_seed(seed)
    built = specc.compile(spec_of(spec_and_params(model)[0], log, folder), **params)
    recipe = Recipe.of(built.manifest).changed(
        "adam", lr, batch=BATCH, epochs=EPOCHS, patience=1, seed=seed, metric="auc"
    )
    place = folder / f"{model}_trained"
    shutil.rmtree(place, ignore_errors=True)
    outcome = fit(built, [parts["train"]], place, recipe, valid=[parts["valid"]])
    valid = max(float(epoch["valid"]["click"]["auc"]) for epoch in outcome.epochs)
    results = evaluate_files(built, place, [parts["test"]], "example_user").results["click"] if test else {}
    tables = {w["path"] for w in built.manifest["weights"] if w["kind"] == "table"}
    parameters = sum(w.numel() for path, w in built.named_parameters() if path not in tables)
    seconds = statistics.median(epoch["seconds"] for epoch in outcome.epochs)
    return Trained(results, valid, outcome.best, seconds, parameters)


@click.command()
@click.option("--data", "logs", multiple=True, type=click.Choice([log.name for log in LOGS]))
@click.option("--only", multiple=True, type=click.Choice([*PARAMS, *CODES]), help="Only these models.")
@click.option("--seeds", default=3, show_default=True)
@click.option("--trials", default=TRIALS, show_default=True, help="Settings tried for each model.")
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
    """Tune, train and test the seven models on the logs of FOLDER."""
    import torch

    from bench.pages import write_pages

    torch.set_num_threads(1)
    file = work / "runs.jsonl"
    work.mkdir(parents=True, exist_ok=True)
    tried, runs = kept(file)

    def keep(kind: str, found: Trial | Run) -> None:
        with file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({kind: asdict(found)}) + "\n")

    for log in (x for x in LOGS if not logs or x.name in logs):
        for model in (*PARAMS, *(CODES if log.name == CODES_LOG else ())):
            if only and model not in only:
                continue
            place = work / log.name
            own = [t for t in tried if (t.log, t.model) == (log.name, model)]
            for number in range(len(own), trials):
                params, lr = settings_of(model, log, place, number)
                found = trained(model, log, folder, place, params, lr, 0, False)
                own.append(Trial(log.name, model, number, params, lr, found.valid))
                keep("trial", own[-1])
                click.echo(
                    f"{log.name} {model} trial {number}: AUC {found.valid:.4f} at {lr:g}, {dict(params)}"
                )
            best = max(own, key=lambda t: t.auc)
            for seed in range(seeds):
                if any((r.log, r.model, r.seed) == (log.name, model, seed) for r in runs):
                    continue
                found = trained(model, log, folder, place, best.params, best.lr, seed, True)
                of = found.results["model"]
                runs.append(
                    Run(log.name, model, seed, of["auc"], of["gauc"], of["logloss"], found.best, best.lr,
                        best.params, found.parameters, found.seconds, found.results["popularity"]["auc"])
                )  # fmt: skip
                keep("run", runs[-1])
                click.echo(f"{log.name} {model} seed {seed}: AUC {of['auc']:.4f}, best epoch {found.best}")
    write_pages(runs, out)


if __name__ == "__main__":
    main()
