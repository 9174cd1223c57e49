"""One request, and many: what serving takes.

    python -m bench.serve --peers .venv-peers/bin/python
    python -m bench.serve --only din --quick
    python -m bench.serve --only load

One request has 200 candidates and a history of 50, on one thread. Times are of the processor, medians of
rounds in which each way has its turn: the model's own code, as `Scorer` calls it, the candidates' part alone,
where the state was kept, what `specc export` makes of it for ONNX Runtime and AOTInductor, and FuxiCTR's
module on 200 rows that repeat the request; and encoding the request. The models are those of `bench/specs`,
items and categories 64 wide.

How long a model takes to load, and its first request beside the hundredth, is asked of a process of its own
that has imported torch, of the shipped specs: their tables have 10^6 rows, and their vocabularies as many
keys. pandas, which pyarrow imports where it is there, is kept out, as what serves does not install it.

`load` serves DIN on loopback, by `specc serve` and by an endpoint written by hand in FastAPI on the same
model, and asks both from 1, 16 and 64 connections; and DIN as the second of two stages.

Writes bench/results/serve/NAME.json after each, and leaves out what was measured of the same code.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import torch

import specc
from bench.contenders.arec import params_of, spec_of
from bench.duel import Process
from bench.machine import ROOT, code, facts
from bench.models import RESULTS
from bench.tasks import Task
from specc.export import ExportError
from specc.export.export import export
from specc_runtime import Batch, Model, save
from specc_runtime.encode import Encoders, Vocabulary, write_encoders
from specc_runtime.encode.encoders import vocabularies_of
from specc_runtime.engines import load_exported
from specc_runtime.score import Scorer
from specc_runtime.score.prebuilt import write_prebuilt

MODELS = ("afm", "din", "dien", "bst", "dsin", "dstn", "atrank")
LOAD = "load"
CANDIDATES, HISTORY = 200, 50
FORMATS = ("onnx", "aoti")
PEER = "fuxictr"
SPECS, ITEM = ROOT / "specs", ("ad_item", "ad_category")


def task_of(name: str) -> Task:
    """200 examples with 50 positions each, as those that are timed against others have them."""
    shape: dict[str, int] = {"bound": 10, "sessions": 5} if name == "dsin" else {"bound": HISTORY}
    return Task(name, batch=CANDIDATES, full=True, **shape)


def saved(model: Model, folder: Path) -> Path:
    """A model with the weights that it starts with, whose vocabularies have integers for all rows."""
    found = {}
    for vocabulary, options in vocabularies_of(model.manifest).items():
        keys = np.arange(options["max"] - 1)
        found[vocabulary] = Vocabulary(pa.array(keys), np.ones(len(keys), dtype=np.int64))
    encoders = Encoders(model.manifest, found)
    save(model, folder, beside=[partial(write_encoders, encoders), partial(write_prebuilt, model, encoders)])
    return folder


def request(scorer: Scorer, seed: int) -> dict[str, Any]:
    """A request in raw values."""
    draw = random.Random(seed)
    bounds = {axis["id"]: axis["bound"] for axis in scorer.manifest["axes"]}

    def value(entry: dict[str, Any], sizes: list[int]) -> Any:
        if sizes:
            return [value(entry, sizes[1:]) for _ in range(sizes[0])]
        vocabulary = scorer.encoders.vocabularies.get(entry["vocabulary"])
        if vocabulary is not None:
            return draw.randrange(len(vocabulary.keys))
        return draw.randrange(entry["options"]["n"]) if entry["encoding"] == "ids" else draw.random()

    found = {}
    for entry in scorer.manifest["fields"]:
        if entry.get("training"):
            continue
        sizes = [CANDIDATES] if entry["role"] == "candidate" else []
        left = HISTORY
        for axis in entry["axes"]:
            sizes.append(min(bounds[axis], left))
            left //= sizes[-1]
        if entry["encoding"] == "bag":
            sizes.append(2)
        found[entry["column"]] = value(entry, sizes)
    return found


def fresh(batch: Batch) -> Batch:
    """The batch as it comes, of whose layout nothing is known."""
    return replace(batch)


# ------------------------------------------------------------------------ one request


def one_request(name: str, folder: Path, rounds: int, python: str | None) -> dict[str, Any]:
    """By way of scoring, the milliseconds of each round; why others are not there; how far exports are
    off."""
    torch.manual_seed(0)
    model = specc.compile(spec_of(task_of(name)), **params_of(task_of(name)))
    scorer = Scorer.load(saved(model, folder / name))
    one, own = request(scorer, 0), scorer.model
    batch = scorer.encoded(one)
    with torch.inference_mode():
        state = own.request_part(batch)
    doing: dict[str, Callable[[], Any]] = {
        "native": lambda: own(fresh(batch)),
        "state kept": lambda: own.candidate_part(state, fresh(batch)),
        "encode": lambda: scorer.encoded(one),
    }
    absent, apart = {}, {}
    for format in FORMATS:
        path = folder / f"{name}.{format}"
        try:
            apart[format] = export(own, path, format, "request")
            doing[format] = partial(load_exported(path, threads=1), batch)
        except ExportError as error:
            absent[format] = str(error)
    with ExitStack() as stack:
        peer = None
        if python is None:
            absent[PEER] = "not asked"
        else:
            peer = Process.start(PEER, task_of(name), python)
            stack.callback(peer.stop)
            reply = peer.answer()
            if "absent" in reply:
                absent[PEER], peer = reply["absent"], None
        taken = timed(doing, rounds, peer)
    return {"ms": taken, "absent": absent, "apart": apart}


def timed(doing: dict[str, Callable[[], Any]], rounds: int, peer: Process | None) -> dict[str, list[float]]:
    """The milliseconds of each in each round, after some that do not count: the better of two runs."""
    found: dict[str, list[float]] = {name: [] for name in [*doing, *([PEER] if peer else [])]}
    for number in range(-2, rounds):
        for name, do in doing.items():
            took = min(_once(do), _once(do))
            if number >= 0:
                found[name].append(took)
        if peer is not None:
            seconds = peer.timed("score")
            if number >= 0 and seconds is not None:
                found[PEER].append(1e3 * seconds)
    return {name: [round(ms, 4) for ms in taken] for name, taken in found.items()}


def _once(do: Callable[[], Any]) -> float:
    with torch.inference_mode():
        begin = time.process_time()
        do()
        return 1e3 * (time.process_time() - begin)


# ------------------------------------------------------------------------ a process that starts

STARTING = "import json, sys; from bench.serve import starting; print(json.dumps(starting(sys.argv[1])))"


class _WithoutPandas:
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.partition(".")[0] == "pandas":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def starting(folder: str) -> dict[str, float]:
    """What a fresh process takes to load a model, in seconds on the clock and of the processor, and for its
    first request and the hundredth, in milliseconds."""
    torch.set_num_threads(1)
    sys.meta_path.insert(0, _WithoutPandas())  # type: ignore[arg-type]
    begin, spent = time.perf_counter(), time.process_time()
    scorer = Scorer.load(folder)
    found = {"load_s": time.perf_counter() - begin, "load_cpu_s": time.process_time() - spent}
    taken = []
    asked = [request(scorer, seed) for seed in range(110)]
    for one in asked:
        spent = time.process_time()
        scorer.score(one)
        taken.append(1e3 * (time.process_time() - spent))
    return found | {"first_ms": taken[0], "hundredth_ms": statistics.median(taken[95:105])}


def starts(name: str, folder: Path, times: int) -> list[dict[str, float]]:
    torch.manual_seed(0)
    path = saved(specc.compile(name), folder / f"{name}-shipped")
    found = []
    for _ in range(times):
        command = [sys.executable, "-c", STARTING, str(path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        found.append({key: round(value, 4) for key, value in json.loads(done.stdout).items()})
    return found


# ------------------------------------------------------------------------ all


def measured(name: str, rounds: int, seconds: float, python: str | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if name == LOAD:
            from bench.load import load_of_stages, load_test  # needs what serves and retrieves

            torch.manual_seed(0)
            path = saved(specc.compile("din"), folder / "din")
            scorer = Scorer.load(path)
            bodies = [json.dumps(request(scorer, seed)).encode() for seed in range(40)]
            rows = load_test(path, scorer, bodies, seconds)
            towers = saved(specc.compile(SPECS / "more" / "two_tower.arec"), folder / "towers")
            first = Scorer.load(towers)
            both = [request(first, seed) | request(scorer, seed) for seed in range(40)]
            bodies = [json.dumps({k: v for k, v in one.items() if k not in ITEM}).encode() for one in both]
            rows += load_of_stages(towers, path, bodies, seconds, folder)
            return {"seconds": seconds, "rows": rows}
        return {**one_request(name, folder, rounds, python), "starts": starts(name, folder, 3)}


def told(name: str, found: dict[str, Any]) -> str:
    if name == LOAD:
        return "\n".join(f"{row}" for row in found["rows"])
    middle = {way: statistics.median(ms) for way, ms in found["ms"].items()}
    start = {key: min(each[key] for each in found["starts"]) for key in found["starts"][0]}
    both = {**{way: f"{ms:.2f} ms" for way, ms in middle.items()}, **start, **found["absent"]}
    return f"{name}: " + ", ".join(f"{key} {value}" for key, value in both.items())


def kept(path: Path, rounds: int, python: str | None) -> dict[str, Any] | None:
    """What was measured of the same code before."""
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text())
    asked = python is None or found.get("absent", {}).get(PEER) != "not asked"
    return found if found["machine"]["code"] == code() and found["rounds"] >= rounds and asked else None


@click.command()
@click.option("--only", multiple=True, type=click.Choice([*MODELS, LOAD]), help="Only these.")
@click.option("--peers", type=click.Path(exists=True), help="Python of the environment that has the peers.")
@click.option("--rounds", default=40, show_default=True, help="Turns that each way gets.")
@click.option("--seconds", default=5.0, show_default=True, help="For each number of connections.")
@click.option("--quick", is_flag=True, help="5 rounds, and 1 second.")
@click.option("--again", is_flag=True, help="Measure also what was measured of the same code.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, show_default="bench/results")
def main(
    only: tuple[str, ...], peers: str | None, rounds: int, seconds: float, quick: bool, again: bool, out: Path
) -> None:
    """Time one request, or many."""
    torch.set_num_threads(1)
    if quick:
        rounds, seconds = 5, 1.0
    for name in only or (*MODELS, LOAD):
        path = out / "serve" / f"{name}.json"
        found = None if again else kept(path, rounds, peers)
        if found is None:
            found = {**measured(name, rounds, seconds, peers), "rounds": rounds, "machine": facts()}
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(found, indent=1) + "\n")
        click.echo(told(name, found))


if __name__ == "__main__":
    main()
