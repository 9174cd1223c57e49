"""One request, and many: what serving takes.

    python -m bench.serve [--only din] [--rounds 40]
    python -m bench.serve --load [--seconds 5]

One request has 200 candidates and a history of 50, on one thread. Times are medians of rounds in which each
way has its turn, in milliseconds: encoding a request; the model on it (the request's part and its
candidates'); the candidates' part alone, where the state was kept; the same model on 200 examples that repeat
the request; all of it (`score`), once the state is kept.

`--load` serves DIN on loopback, by `specc serve` and by an endpoint written by hand in FastAPI on the same
model, and asks both from 1, 16 and 64 connections: requests a second, and how long the median and the
slowest hundredth took.
"""

from __future__ import annotations

import json
import random
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import torch

import specc
from bench.machine import facts
from specc.testing.laws import candidates_apart
from specc_runtime import Batch, Model, encoded, save
from specc_runtime.encode import Encoders, Vocabulary, write_encoders
from specc_runtime.encode.encoders import vocabularies_of
from specc_runtime.score import Scorer
from specc_runtime.score.prebuilt import write_prebuilt

MODELS = ("afm", "din", "dien", "bst", "dsin", "dstn", "atrank")
CANDIDATES, HISTORY = 200, 50


def saved(name: str, folder: Path) -> Path:
    """A model of a shipped spec with the weights that it starts with, whose keys are integers."""
    torch.manual_seed(0)
    model = specc.compile(name)
    found = {}
    for vocabulary, options in vocabularies_of(model.manifest).items():
        keys = np.arange(options["max"] - 1)
        found[vocabulary] = Vocabulary(pa.array(keys), np.ones(len(keys), dtype=np.int64))
    encoders = Encoders(model.manifest, found)
    beside = [
        lambda place: write_encoders(encoders, place),
        lambda place: write_prebuilt(model, encoders, place),
    ]
    save(model, folder / name, beside=beside)
    return folder / name


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


def ways(scorer: Scorer, one: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """By name, what is timed."""
    batch, model = scorer.encoded(one), scorer.model
    with torch.inference_mode():
        state = model.request_part(batch)
    rows = Batch.collate(candidates_apart(batch))
    found: dict[str, Callable[[], Any]] = {
        "encode": lambda: scorer.encoded(one),
        "model": lambda: parts(model, fresh(batch)),
        "state kept": lambda: model.candidate_part(state, fresh(batch)),
        "repeated rows": lambda: model(fresh(rows)),
        "score": lambda: scorer.score(one),
    }
    return found


def parts(model: Model, batch: Batch) -> Any:
    return model.candidate_part(model.request_part(batch), batch)


def timed(doing: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The median of each in milliseconds; every round has all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in doing}
    for _ in range(rounds):
        for name, do in doing.items():
            with torch.inference_mode():
                begin = time.perf_counter()
                do()
                seconds[name].append(time.perf_counter() - begin)
    return {name: 1e3 * statistics.median(found) for name, found in seconds.items()}


# -------------------------------------------------------------------------- load


@contextmanager
def listening(application: Any) -> Iterator[int]:
    """An application on loopback, in this process."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(application, log_level="error", access_log=False))
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=lambda: server.run(sockets=[listener]))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def by_hand(scorer: Scorer) -> Any:
    """The endpoint that one writes first: a batch of the request, and the model."""
    from fastapi import FastAPI

    app = FastAPI()

    @app.post("/score")
    def score(request: dict[str, Any]) -> dict[str, list[float]]:
        with torch.inference_mode():
            batch = encoded(scorer.encoders, [request], candidates=True, labels=False)
            return {"click": torch.sigmoid(scorer.model(batch)["click"]).tolist()}

    return app


def asked(port: int, bodies: list[bytes], connections: int, seconds: float) -> list[float]:
    """How long each request took, asked from so many connections for some seconds."""
    until, found = time.perf_counter() + seconds, list[float]()

    def client(seed: int) -> None:
        connection, draw = HTTPConnection("127.0.0.1", port, timeout=60), random.Random(seed)
        while (begin := time.perf_counter()) < until:
            connection.request("POST", "/score", draw.choice(bodies), {"content-type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200
            found.append(time.perf_counter() - begin)
        connection.close()

    threads = [threading.Thread(target=client, args=(n,)) for n in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def load_test(folder: Path, seconds: float) -> None:
    from specc_runtime.serve.app import application
    from specc_runtime.serve.service import Limits, Service

    path = saved("din", folder)
    scorer = Scorer.load(path)
    bodies = [json.dumps(request(scorer, seed)).encode() for seed in range(40)]
    served = application(Service(lambda: Scorer.load(path), Limits()), threads=2)
    click.echo(f"{'':14}{'connections':>12}{'requests/s':>12}{'p50 ms':>10}{'p99 ms':>10}")
    for connections in (1, 16, 64):
        for name, app in (("specc serve", served), ("by hand", by_hand(scorer))):
            with listening(app) as port:
                took = sorted(asked(port, bodies, connections, seconds))
            p50, p99 = (1e3 * took[int(share * (len(took) - 1))] for share in (0.5, 0.99))
            rate = len(took) / seconds
            click.echo(f"{name:14}{connections:12}{rate:12.0f}{p50:10.1f}{p99:10.1f}")


@click.command()
@click.option("--only", multiple=True, help="Only these models.")
@click.option("--rounds", default=40, show_default=True, help="Turns that each way gets.")
@click.option("--load", is_flag=True, help="A load test over HTTP instead.")
@click.option("--seconds", default=5.0, show_default=True, help="For each number of connections.")
@click.option("--json", "as_json", is_flag=True, help="Print results as JSON, one a line.")
def main(only: tuple[str, ...], rounds: int, load: bool, seconds: float, as_json: bool) -> None:
    """Time one request, or many."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        if load:
            load_test(Path(place), seconds)
            return
        for name in only or MODELS:
            path = saved(name, Path(place))
            begin = time.perf_counter()
            scorer = Scorer.load(path)
            loaded = time.perf_counter() - begin
            first, hundredth = firsts(scorer)
            found = timed(ways(scorer, request(scorer, 0)), rounds)
            found |= {"first": first, "hundredth": hundredth, "load": 1e3 * loaded}
            if as_json:
                click.echo(json.dumps({"model": name, "ms": found, **facts()}))
            else:
                click.echo(f"{name:8}" + "".join(f"  {what} {ms:.2f}" for what, ms in found.items()))


def firsts(scorer: Scorer) -> tuple[float, float]:
    """How long the first request takes, and about the hundredth, in milliseconds; all differ."""
    took = []
    for seed in range(110):
        one = request(scorer, seed)
        begin = time.perf_counter()
        scorer.score(one)
        took.append(1e3 * (time.perf_counter() - begin))
    return took[0], statistics.median(took[95:])


if __name__ == "__main__":
    main()
