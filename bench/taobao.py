"""`python -m bench.taobao`: the models of specs/more learn from one public log of clicks, beside popularity.

Models that rank are tested by the AUC of the last day's events beside sampled items, models that retrieve by
recall@50: the share of the last day's clicks whose item is among the 50 that the model finds in the whole
catalogue. Each is trained by its own spec's optimizer, briefly, unless `CHANGES` says otherwise. A model that
was measured is not measured again, so that an interrupted run goes on where it was.

    python -m bench.taobao                      # what is missing of bench/results/taobao.json, and the page
    python -m bench.taobao --only sasrec --again
    python -m bench.taobao --only sasrec --eve  # a day earlier, to choose settings by: nothing is written
    python -m bench.taobao --page               # docs/models/taobao.md from the results, nothing measured
"""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from bench.machine import facts

REPO = Path(__file__).parents[1]
SPECS = REPO / "specs" / "more"
RESULTS = Path(__file__).parent / "results" / "taobao.json"
PAGE = REPO / "docs" / "models" / "taobao.md"
# The log has some 65,000 items; the specs' own bounds are for larger ones.
ROWS = 70_000
# Of models that rank: examples at most, the last before the validation day, and the first of each later day.
TRAIN, VALID, TEST = 30_000, 5_000, 20_000
RANK_EPOCHS, BATCH = 4, 128
# Of models that retrieve: clicks of the test, and how many items are found for each.
CLICKS, K = 2_000, 50
RETRIEVE_EPOCHS = 2
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Subject:
    """A model and what this log asks for.

    params: beside the spec's defaults. fields: what the log calls otherwise or does not have at all.
    labels: what makes a label, where the prediction's name does not say it. every: of each user's clicks of
    the training, the one that is an example, where each example has a loss for all of its history.
    anywhere: negatives are drawn from the whole catalogue, as the paper has it; `prepare` draws what was
    known by then, so that items of the last hours are hardly ever negatives, and would be found first.
    valid: of the validation day, the first examples that choose the epoch; None for all of them.
    clicks: trained is on clicks alone, where nothing is learned of what was not clicked.
    """

    name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    labels: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    optimizer: str | None = None
    lr: float | None = None
    epochs: int | None = None
    every: int = 1
    anywhere: bool = False
    clicks: bool = False
    valid: int | None = VALID


NOTHING: Mapping[str, Any] = {"constant": 0}
AGE = {"user.age": NOTHING}
ANY = {"how": "made", "behaviours": ("pv", "cart", "fav", "buy")}
# A purchase is a click, too.
TASKS = {"click": ANY, "buy": {"how": "made", "behaviours": ("buy",)}}
ITEM: Mapping[str, Any] = {"attribute": "item"}

RANKING = (
    Subject("deepfm", fields=AGE),
    Subject("fmfm", fields=AGE),
    Subject("ffm", fields=AGE),
    Subject("fibinet", fields=AGE, lr=0.003),
    Subject("xdeepfm", fields={"user.city": NOTHING}),
    Subject("dcnv2", fields=AGE),
    Subject("fgcnn", fields={**AGE, "user.city": NOTHING, "ad.brand": {"attribute": "category"}}),
    Subject("eulernet", fields=AGE),
    Subject("star", fields={**AGE, "domain.id": {"column": "domain"}, "domain.number": {"column": "domain"}}),
    # Of the first 5,000 examples 29 are purchases, by which no epoch can be chosen.
    Subject("mmoe", fields=AGE, labels=TASKS, valid=None),
    Subject("ple", fields=AGE, labels=TASKS, lr=0.003, valid=None),
    Subject("esmm", fields=AGE, labels=TASKS, lr=0.003, valid=None),
    Subject("can"),
    Subject("hstu", {"dim": 16, "longest": 10}),
    Subject("sim", {"longest": 200}),
    Subject("eta", {"longest": 200}),
    Subject("twin", {"longest": 200}),
    Subject("sdim", {"longest": 50, "groups": 4}),
)
RETRIEVING = (
    Subject("two_tower", fields=AGE),
    Subject("mind"),
    Subject("sasrec", {"dim": 32, "longest": 10}, lr=0.005, every=2, epochs=4, anywhere=True),
    Subject("bert4rec", {"longest": 10}, lr=0.003, every=2, epochs=6, anywhere=True, clicks=True),
    Subject("nextitnet", {"longest": 10}, lr=0.003, every=2, epochs=4, anywhere=True, clicks=True),
    Subject("caser", fields={"ad.wanted": ITEM}, anywhere=True),
    Subject("gru4rec", fields={"met.click": {"constant": 1}}, labels={"next": {"how": "item"}}),
)
COLUMNS = {"user": "user", "item": "item", "category": "category", "behaviour": "behaviour", "time": "time"}


def log_of(source: Path, target: Path) -> Path:
    """The log with names for its columns, and a part of the day for what reads a domain."""
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        with source.open(newline="") as file, target.open("w", newline="") as out:
            rows = csv.writer(out)
            rows.writerow([*COLUMNS, "domain"])
            for row in csv.reader(file):
                if len(row) == 5 and row[4].isdigit():
                    rows.writerow([*row, (int(row[4]) + 8 * 3600) % 86_400 // 28_800])
    return target


def spec_of(name: str, folder: Path) -> Path:
    """The shipped spec, with as many rows as the log needs."""
    text = (SPECS / f"{name}.arec").read_text("utf-8")
    text = re.sub(r"vocab\((?:1_000_000|500_000|100_000), ", f"vocab({ROWS:_}, ", text)
    path = folder / f"{name}.arec"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def prepared(subject: Subject, model: Any, log: Path, folder: Path, **more: Any) -> Path:
    """The folder with the log's examples for a model."""
    from specc.prepare import Settings, prepare

    place = folder / subject.name
    if not (place / "data.json").is_file():
        settings = {
            "columns": COLUMNS, "begin": "2017-11-24", "utc_offset": 8,
            "fields": subject.fields, "labels": subject.labels, **more,
        }  # fmt: skip
        prepare(model.manifest, log, place, Settings.model_validate(settings))
    return place


def cut(path: Path, count: int | None, last: bool) -> Path:
    """The first or last examples of a file, or all of them, in the order of time."""
    import pyarrow.parquet as pq

    order = pq.read_table(path).sort_by([("example_time", "ascending"), ("example_request", "ascending")])
    target = path.with_name(f"few-{path.name}")
    kept = len(order) if count is None else count
    start = max(len(order) - kept, 0) if last else 0
    pq.write_table(order.slice(start, kept), target, row_group_size=4096)
    return target


def fitted(subject: Subject, model: Any, parts: Mapping[str, Path], folder: Path, **more: Any) -> Any:
    """Train, and return the outcome and the folder of the model."""
    from specc_runtime.train import Recipe, fit

    recipe = Recipe.of(model.manifest).changed(subject.optimizer, subject.lr, seed=0, **more)
    place = folder / f"{subject.name}_trained"
    shutil.rmtree(place, ignore_errors=True)
    valid = [parts["valid"]] if "valid" in parts else []
    return fit(model, [parts["train"]], place, recipe, valid=valid), place, recipe


def rank(subject: Subject, log: Path, folder: Path) -> dict[str, Any]:
    """The test's metrics of a model that ranks, beside popularity's."""
    import torch

    import specc
    from specc_runtime.train import evaluate_files

    torch.manual_seed(0)
    model = specc.compile(spec_of(subject.name, folder), **subject.params)
    data = prepared(subject, model, log, folder, valid="last-day")
    parts = {
        "train": cut(data / "train.parquet", TRAIN, last=True),
        "valid": cut(data / "valid.parquet", subject.valid, last=False),
        "test": cut(data / "test.parquet", TEST, last=False),
    }
    epochs = subject.epochs or RANK_EPOCHS
    outcome, place, recipe = fitted(
        subject, model, parts, folder, batch=BATCH, epochs=epochs, patience=2, metric="auc"
    )
    results = evaluate_files(model, place, [parts["test"]], "example_user").results
    named = {
        name: {"auc": of["model"]["auc"], "gauc": of["model"]["gauc"], "popularity": of["popularity"]["auc"]}
        for name, of in results.items()
    }
    return {**_told(subject, recipe, outcome), "best epoch": outcome.best, "predictions": named}


def _told(subject: Subject, recipe: Any, outcome: Any) -> dict[str, Any]:
    return {
        "otherwise": otherwise(subject),
        "optimizer": recipe.optimizer,
        "lr": recipe.options["lr"],
        "batch": recipe.batch,
        "epochs": len(outcome.epochs),
        "seconds": round(sum(e["seconds"] for e in outcome.epochs), 1),
    }


def otherwise(subject: Subject) -> list[str]:
    """What is not as the spec has it."""
    told = [f"`{name} = {value}`" for name, value in subject.params.items()]
    told += [f"`{subject.optimizer}`"] if subject.optimizer is not None else []
    told += [f"`lr = {subject.lr:g}`"] if subject.lr is not None else []
    told += [f"one click of {subject.every}"] if subject.every > 1 else []
    told += ["epoch chosen by all of the eighth day"] if subject.valid is None else []
    told += ["clicks alone"] if subject.clicks else []
    return told + (["negatives from anywhere"] if subject.anywhere else [])


def retrieve(subject: Subject, log: Path, folder: Path, *, eve: bool = False) -> dict[str, Any]:
    """Recall of a model that finds items of the whole catalogue, beside popularity's.

    eve: tested is on the eighth day, after a training on the seven before it."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch

    import specc
    from specc_runtime.encode import load_trained

    torch.manual_seed(0)
    model = specc.compile(spec_of(subject.name, folder), **subject.params)
    # What couples a batch's examples makes its own negatives.
    couples = any(p["kind"] == "choice" for p in model.manifest["predictions"])
    more: dict[str, Any] = {"negatives": 0} if couples else {}
    more |= {"valid": "last-day"} if eve else {}
    data = prepared(subject, model, log, folder, positive=("pv",), **more)
    whole = pq.read_table(data / "train.parquet").to_pylist()
    examples = [row for row in thinned(whole, subject.every) if not subject.clicks or row["click"]]
    if subject.anywhere:
        examples = redrawn(examples, sorted({row["ad_item"] for row in whole}))
    np.random.default_rng(0).shuffle(examples)  # type: ignore[arg-type]
    parts = {"train": data / "shuffled.parquet"}
    pq.write_table(pa.Table.from_pylist(examples), parts["train"])
    outcome, place, recipe = fitted(subject, model, parts, folder, epochs=subject.epochs or RETRIEVE_EPOCHS)
    model, encoders = load_trained(place)
    labels = {"click", "next"}

    def taken(row: Mapping[str, Any]) -> bool:
        return all(value != 0 for name, value in row.items() if name in labels)

    clicks = [row for row in whole if taken(row)]
    asked = pq.read_table(data / ("valid.parquet" if eve else "test.parquet")).to_pylist()
    test = [row for row in asked if taken(row)]
    chosen = np.sort(np.random.default_rng(0).permutation(len(test))[:CLICKS])
    test = [test[i] for i in chosen]
    wanted = [row["ad_item"] for row in test]
    catalogue = {row["ad_item"]: row.get("ad_category") for row in clicks}
    counts = Counter(row["ad_item"] for row in clicks)
    popular = {item for item, _ in counts.most_common(K)}
    found = FINDERS.get(subject.name, nearest)(model, encoders, test, catalogue)
    return {
        **_told(subject, recipe, outcome),
        "catalogue": len(catalogue),
        "clicks": len(test),
        "reachable": sum(item in catalogue for item in wanted) / len(wanted),
        "recall": sum(item in items for item, items in zip(wanted, found, strict=True)) / len(wanted),
        "popularity": sum(item in popular for item in wanted) / len(wanted),
        "last": sum(row["ad_item"] in row["history_item"] for row in test) / len(test),
    }


def thinned(rows: Sequence[dict[str, Any]], every: int) -> list[dict[str, Any]]:
    """The examples of one in `every` requests of each user, the last of them among these."""
    requests = dict[Any, set[Any]]()
    for row in rows:
        requests.setdefault(row["example_user"], set()).add((row["example_time"], row["example_request"]))
    kept = {one for known in requests.values() for one in sorted(known)[::-1][::every]}
    return [row for row in rows if (row["example_time"], row["example_request"]) in kept]


def redrawn(rows: Sequence[dict[str, Any]], items: Sequence[Any]) -> list[dict[str, Any]]:
    """The examples with negatives from anywhere in the catalogue."""
    dice = Random(0)

    def other(row: dict[str, Any]) -> dict[str, Any]:
        found = {**row, "ad_item": row["ad_item"] if row["click"] else dice.choice(items)}
        if "noise_item" in row:
            found["noise_item"] = dice.choices(items, k=len(row["noise_item"]))
        return found

    return [other(row) for row in rows]


def vectors(model: Any, encoders: Any, name: str, rows: Sequence[Mapping[str, Any]]) -> Floats:
    """An output of rows, [rows, width]."""
    from dataclasses import replace

    from specc_runtime import encoded
    from specc_runtime.score.requests import narrowed, output

    own = replace(encoders, manifest=narrowed(model.manifest, name))
    parts = [output(model, name, encoded(own, list(rows[at : at + 512]), labels=False))
             for at in range(0, len(rows), 512)]  # fmt: skip
    return np.concatenate(parts).astype(np.float32).reshape(len(rows), -1)


def _best(scores: Floats, names: Sequence[Any]) -> list[set[Any]]:
    rows = np.argpartition(-scores, K, axis=1)[:, :K]
    return [{names[i] for i in row} for row in rows.tolist()]


def catalogue_rows(catalogue: Mapping[Any, Any]) -> list[dict[str, Any]]:
    return [{"ad_item": item, "ad_category": category} for item, category in catalogue.items()]


def nearest(
    model: Any, encoders: Any, test: Sequence[Mapping[str, Any]], catalogue: Mapping[Any, Any]
) -> Any:
    """By the product of what the request and the item give."""
    outputs = [o["name"] for o in model.manifest["outputs"]]
    mine = next(name for name in outputs if name != "item_vector")
    items = vectors(model, encoders, "item_vector", catalogue_rows(catalogue))
    asked, names = vectors(model, encoders, mine, test), list(catalogue)
    found = list[set[Any]]()
    for at in range(0, len(asked), 256):
        found += _best(asked[at : at + 256] @ items.T, names)
    return found


def of_interests(model: Any, encoders: Any, test: Sequence[Any], catalogue: Mapping[Any, Any]) -> Any:
    """By the nearest of a user's interests, of which a history of n has log2 n (MIND, eq. 7)."""
    items = vectors(model, encoders, "item_vector", catalogue_rows(catalogue))
    asked, names = vectors(model, encoders, "interest_vectors", test), list(catalogue)
    each = asked.reshape(len(test), -1, items.shape[1])
    lengths = np.array([min(max(len(row["history_item"]), 1), 50) for row in test])
    active = np.clip(np.floor(np.log2(lengths)), 1, each.shape[1])
    found = list[set[Any]]()
    for at in range(0, len(test), 128):
        scores = np.einsum("ncd,id->nci", each[at : at + 128], items)
        scores[np.arange(each.shape[1])[None, :] >= active[at : at + 128, None]] = -np.inf
        found += _best(scores.max(1), names)
    return found


def of_classes(model: Any, encoders: Any, test: Sequence[Any], catalogue: Mapping[Any, Any]) -> Any:
    """The likeliest classes, which are the table's rows."""
    from specc_runtime import encoded
    from specc_runtime.score.requests import predictions

    words = encoders.vocabulary("items")
    found = list[set[Any]]()
    for at in range(0, len(test), 256):
        batch = encoded(encoders, list(test[at : at + 256]), labels=False)
        rows = predictions(model, batch, K)["next_class"].astype(np.int64)
        found += [set(words.key_of(row)) for row in rows]
    return found


FINDERS: Mapping[str, Any] = {"mind": of_interests, "gru4rec": of_classes}


def read() -> dict[str, Any]:
    if RESULTS.is_file():
        found: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
        return found
    return {"ranking": {}, "retrieval": {}}


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=REPO.parent / "shared" / "data")
@click.option("--work", type=click.Path(path_type=Path), default=REPO / "build" / "taobao")
@click.option("--only", multiple=True, help="Only these models.")
@click.option("--again", is_flag=True, help="Measure also what was measured.")
@click.option("--eve", is_flag=True, help="Print what models that retrieve find on the eighth day.")
@click.option("--page", is_flag=True, help="Write the page of what was measured, and measure nothing.")
def main(data: Path, work: Path, only: tuple[str, ...], again: bool, eve: bool, page: bool) -> None:
    """Train and test the shipped models on Taobao's log, and write the page."""
    from bench.taobao_page import taobao_page

    if eve:
        log = log_of(data / "taobao" / "UserBehavior.csv", work / "log.csv")
        for subject in (s for s in RETRIEVING if not only or s.name in only):
            found = retrieve(subject, log, work / "eve", eve=True)
            print(f"{subject.name}: {found['recall']:.4f}, popularity {found['popularity']:.4f}", flush=True)
        return
    if not page:
        import torch

        torch.set_num_threads(1)
        log = log_of(data / "taobao" / "UserBehavior.csv", work / "log.csv")
        for kind, subjects, measure in (("ranking", RANKING, rank), ("retrieval", RETRIEVING, retrieve)):
            for subject in subjects:
                if (only and subject.name not in only) or (subject.name in read()[kind] and not again):
                    continue
                begin = time.monotonic()
                found = {**measure(subject, log, work), "machine": facts()}
                known = read()
                known[kind][subject.name] = found
                RESULTS.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
                told = found.get("predictions") or (found["recall"], found["popularity"], found["last"])
                print(
                    f"{subject.name}: {time.monotonic() - begin:.0f} s, {told}", file=sys.stderr, flush=True
                )
    PAGE.write_text(taobao_page(read()), encoding="utf-8")


if __name__ == "__main__":
    main()
