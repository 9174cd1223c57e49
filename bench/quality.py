"""`python -m bench.quality`: all seven models on real event logs, side by side.

One split by time, one recipe, several seeds; each run's figures are kept as a line of JSON, so that an
interrupted bench goes on where it was. Writes docs/models from them (pages.py).

    python -m bench.quality                       # both logs of ../shared/data
    python -m bench.quality --data taobao --only din --only dsin --seeds 1
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

REPO = Path(__file__).parents[1]
SPECS = REPO / "specs"
# Rows that the logs need; a spec's own bounds are for larger ones.
ROWS = 70_000
TRAIN, TEST, BATCH = 60_000, 20_000, 128

# Widths alike, so that models are compared and not sizes.
PARAMS: Mapping[str, Mapping[str, Any]] = {
    "afm": {"k": 16, "t": 16, "l2": 0.0, "dropout": 0.0},
    "din": {"dim": 16},
    "dien": {"dim": 16, "longest": 50},
    "dsin": {"dim": 16},
    "bst": {"dim": 16},
    "dstn": {"dim": 16},
    "atrank": {"dim": 16, "common": 32, "spaces": 4},
}
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
    """A log and what `specc prepare` is told about it. changes: by model, what its spec says otherwise."""

    name: str
    file: str
    settings: Mapping[str, Any]
    changes: Mapping[str, str]


# AFM's rating becomes a click, so that all have the same metrics.
AFM = """
drop rating
predict click: binary = w0 + linear_part + (interactions |> linear(1, bias = false))
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
        {
            "columns": {"user": 0, "item": 1, "category": 2, "behaviour": 3, "time": 4},
            "begin": "2017-11-24",
            "utc_offset": 8,
        },
        {"afm": AFM},
    ),
    Log(
        "grocery",
        "grocery/train.csv",
        {
            "items": "grocery/item_meta.csv",
            "columns": {"user": "user_id", "item": "item_id", "time": "time"},
            "item_columns": {"item": "item_id", "category": "i_category"},
            "test": "0.2",
        },
        {"afm": AFM, "atrank": ONE_GROUP},
    ),
)


@dataclass(frozen=True)
class Run:
    """One training and its test. parameters: beside the tables. seconds: of an epoch."""

    log: str
    model: str
    seed: int
    auc: float
    gauc: float
    logloss: float
    parameters: int
    seconds: float
    popularity: float


def runs_of(file: Path) -> list[Run]:
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return [Run(**json.loads(line)) for line in lines]


def spec_of(model: str, log: Log, folder: Path) -> Path:
    """The shipped spec with as many rows as the log needs, and what this log asks for."""
    base_of = model.removesuffix("_official")
    if base_of != model:
        spec_of(base_of, log, folder)  # found beside it, and so extended instead of the shipped one
    text = (SPECS / f"{model}.arec").read_text(encoding="utf-8")
    folder.mkdir(parents=True, exist_ok=True)
    text = re.sub(r"vocab\((?:1_000_000|500_000|100_000), ", f"vocab({ROWS:_}, ", text)
    # Widths are this bench's own.
    text = re.sub(r"(param (?:dim|k|t|common|spaces) +=.*?) in \{.*?\}", r"\1", text)
    if model not in log.changes:
        path = folder / f"{model}.arec"
        path.write_text(text, encoding="utf-8")
        return path
    base = folder / f"{model}_base.arec"
    base.write_text(text.replace(f"model {model}", f"model {model}_base", 1), encoding="utf-8")
    path = folder / f"{model}.arec"
    path.write_text(f"model {model}\nextends {model}_base {{{log.changes[model]}}}\n", encoding="utf-8")
    return path


def examples_of(model: str, log: Log, data: Path, folder: Path) -> tuple[Path, Path]:
    """Training and test examples: the last of the training period, and a part of the test's; the same
    events for every model."""
    train, test = folder / f"{model}_train.parquet", folder / f"{model}_test.parquet"
    if train.is_file() and test.is_file():
        return train, test
    import pyarrow.parquet as pq

    import specc
    from specc.prepare import Settings, prepare

    spec, params = spec_and_params(model)
    manifest = specc.compile(spec_of(spec, log, folder), **params).manifest
    settings = dict(log.settings)
    if "items" in settings:
        settings["items"] = str(data / settings["items"])
    prepare(manifest, data / log.file, folder / model, Settings.model_validate(settings))
    for part, path, count in (("train", train, TRAIN), ("test", test, TEST)):
        whole = pq.read_table(folder / model / f"{part}.parquet")
        order = whole.sort_by([("example_time", "ascending"), ("example_request", "ascending")])
        # Testing begins where training ends.
        kept = order.slice(max(len(order) - count, 0)) if part == "train" else order.slice(0, count)
        pq.write_table(kept, path, row_group_size=4096)
    return train, test


def run(model: str, log: Log, seed: int, data: Path, folder: Path) -> Run:
    import torch

    import specc
    from specc_runtime.train import Recipe, evaluate_files, fit

    train, test = examples_of(model, log, data, folder)
    torch.manual_seed(seed)
    spec, params = spec_and_params(model)
    built = specc.compile(spec_of(spec, log, folder), **params)
    recipe = Recipe.of(built.manifest).changed("adam", 0.001, batch=BATCH, epochs=1, seed=seed)
    begun = time.perf_counter()
    outcome = fit(built, [train], folder / f"{model}_{seed}", recipe)
    seconds = outcome.epochs[-1].get("seconds", time.perf_counter() - begun)
    results = evaluate_files(built, folder / f"{model}_{seed}", [test], "example_user").results["click"]
    tables = {w["path"] for w in built.manifest["weights"] if w["kind"] == "table"}
    parameters = sum(w.numel() for path, w in built.named_parameters() if path not in tables)
    found = results["model"]
    popularity = results["popularity"]["auc"]
    return Run(
        log.name, model, seed, found["auc"], found["gauc"], found["logloss"], parameters, seconds, popularity
    )


@click.command()
@click.option("--data", "logs", multiple=True, type=click.Choice([log.name for log in LOGS]))
@click.option("--only", multiple=True, type=click.Choice([*PARAMS, *CODES]), help="Only these models.")
@click.option("--seeds", default=3, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), default=REPO.parent / "shared" / "data")
@click.option("--work", type=click.Path(path_type=Path), default=REPO / "build" / "quality")
@click.option("--out", type=click.Path(path_type=Path), default=REPO / "docs" / "models")
def main(
    logs: tuple[str, ...], only: tuple[str, ...], seeds: int, folder: Path, work: Path, out: Path
) -> None:
    """Train and test the seven models on the logs of FOLDER."""
    import torch

    from bench.pages import write_pages

    torch.set_num_threads(1)
    kept = work / "runs.jsonl"
    work.mkdir(parents=True, exist_ok=True)
    runs = runs_of(kept)
    done = {(r.log, r.model, r.seed) for r in runs}
    for seed in range(seeds):
        for log in LOGS:
            if logs and log.name not in logs:
                continue
            for model in (*PARAMS, *(CODES if log.name == CODES_LOG else ())):
                if (only and model not in only) or (log.name, model, seed) in done:
                    continue
                found = run(model, log, seed, folder, work / log.name)
                click.echo(f"{log.name} {model} {seed}: AUC {found.auc:.4f}, {found.seconds:.0f} s an epoch")
                runs.append(found)
                with kept.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(found)) + "\n")
    write_pages(runs, out)


if __name__ == "__main__":
    main()
