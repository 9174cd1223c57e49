"""`python -m bench.quality`: all seven models on real event logs, side by side.

One split by time, one recipe, several seeds; each run's figures are kept as a line of JSON, so that an
interrupted bench goes on where it was. Writes docs/models/results.md from them.

    python -m bench.quality                       # both logs of ../shared/data
    python -m bench.quality --data taobao --only din --only dsin --seeds 1
"""

from __future__ import annotations

import json
import re
import statistics
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

REPO = Path(__file__).parents[1]
SPECS = REPO / "specs"
# Rows that the logs need; a spec's own bounds are for larger ones.
ROWS = 70_000
TRAIN, TEST = 60_000, 20_000

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
    "atrank_official": ("atrank_official", PARAMS["atrank"], "atrank"),
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
    recipe = Recipe.of(built.manifest).changed("adam", 0.001, batch=256, epochs=1, seed=seed)
    begun = time.perf_counter()
    outcome = fit(built, [train], folder / f"{model}_{seed}", recipe)
    seconds = outcome.epochs[-1].get("seconds", time.perf_counter() - begun)
    results = evaluate_files(built, folder / f"{model}_{seed}", [test], "example_user")["click"]
    tables = {w["path"] for w in built.manifest["weights"] if w["kind"] == "table"}
    parameters = sum(w.numel() for path, w in built.named_parameters() if path not in tables)
    found = results["model"]
    popularity = results["popularity"]["auc"]
    return Run(
        log.name, model, seed, found["auc"], found["gauc"], found["logloss"], parameters, seconds, popularity
    )


def results_page(runs: Iterable[Run], facts: Mapping[str, Any]) -> str:
    """The tables as Markdown."""
    lines = [
        "# The seven on real logs",
        "",
        "Made by `python -m bench.quality`; figures are means over seeds ± standard deviation.",
        "",
        f"One recipe for all: Adam at 0.001, batches of 256, one epoch over the last {facts['train']:,} "
        f"examples before the test period, tested on the first {facts['test']:,} examples of it; one sampled "
        "negative for each event; item and category 16 channels each; everything else as in the spec. "
        "Histories know nothing of what came later. This compares models under one small budget: it "
        "is no reproduction of the papers' figures, which come from other data, sizes and recipes.",
        "",
        "Parameters are those beside the tables; seconds are of one epoch on one core "
        "of a machine with other work, so that they compare only roughly.",
    ]
    known = list(runs)
    for log in dict.fromkeys(r.log for r in known):
        own = [r for r in known if r.log == log]
        lines += ["", f"## {log.capitalize()}", ""]
        lines += [f"Item popularity in the training examples alone: AUC {own[0].popularity:.4f}.", ""]
        lines += ["| model | AUC | GAUC | logloss | parameters | s an epoch | seeds |"]
        lines += ["|---|---|---|---|---|---|---|"]
        for model in PARAMS:
            of = [r for r in own if r.model == model]
            if of:
                lines.append(
                    f"| [{model}]({model}.md) | {_spread(r.auc for r in of)} | {_spread(r.gauc for r in of)} "
                    f"| {_spread(r.logloss for r in of)} | {of[0].parameters:,} "
                    f"| {statistics.median(r.seconds for r in of):.0f} | {len(of)} |"
                )
    lines += _codes([r for r in known if r.log == CODES_LOG])
    return "\n".join(lines) + "\n"


def _codes(runs: list[Run]) -> list[str]:
    """What the differences of published codes do, seed by seed beside the paper's."""
    by = {(r.model, r.seed): r for r in runs}
    lines = ["", f"## Papers and published codes, {CODES_LOG.capitalize()}", ""]
    lines += [
        "AUC and logloss of what the code computes, and how they differ from the paper's equations with"
    ]
    lines += ["the same seeds.", ""]
    lines += [
        "| code | beside | AUC | difference | logloss | difference | seeds |",
        "|---|---|---|---|---|---|---|",
    ]
    for label, (_, _, paper) in CODES.items():
        pairs = [(r, by[paper, r.seed]) for r in runs if r.model == label and (paper, r.seed) in by]
        if pairs:
            lines.append(
                f"| {label} | {paper} | {_spread(a.auc for a, _ in pairs)} "
                f"| {_spread(a.auc - b.auc for a, b in pairs)} | {_spread(a.logloss for a, _ in pairs)} "
                f"| {_spread(a.logloss - b.logloss for a, b in pairs)} | {len(pairs)} |"
            )
    return lines


def _spread(values: Iterable[float]) -> str:
    known = list(values)
    spread = f" ± {statistics.stdev(known):.4f}" if len(known) > 1 else ""
    return f"{statistics.mean(known):.4f}{spread}"


@click.command()
@click.option("--data", "logs", multiple=True, type=click.Choice([log.name for log in LOGS]))
@click.option("--only", multiple=True, type=click.Choice([*PARAMS, *CODES]), help="Only these models.")
@click.option("--seeds", default=3, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), default=REPO.parent / "shared" / "data")
@click.option("--work", type=click.Path(path_type=Path), default=REPO / "build" / "quality")
@click.option("--out", type=click.Path(path_type=Path), default=REPO / "docs" / "models" / "results.md")
def main(
    logs: tuple[str, ...], only: tuple[str, ...], seeds: int, folder: Path, work: Path, out: Path
) -> None:
    """Train and test the seven models on the logs of FOLDER."""
    import torch

    torch.set_num_threads(1)
    kept = work / "runs.jsonl"
    work.mkdir(parents=True, exist_ok=True)
    runs = [Run(**json.loads(line)) for line in kept.read_text().splitlines()] if kept.is_file() else []
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
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(results_page(runs, {"train": TRAIN, "test": TEST}), encoding="utf-8")


if __name__ == "__main__":
    main()
