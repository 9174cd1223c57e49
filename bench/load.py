"""A load test of a served model, beside the same model in an endpoint that was written by hand."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from specc_runtime import encoded
from specc_runtime.encode import Origin, load_trained
from specc_runtime.retrieval import Index, Lacking, Made, Stages, vectors
from specc_runtime.retrieval.vectors import rows_of
from specc_runtime.score import Scorer
from specc_runtime.serve.app import application
from specc_runtime.serve.service import Limits, Service

CONNECTIONS = (1, 16, 64)
CATALOGUE, NEAREST = 20_000, 200  # items of an index, and how many are found for a request
THREADS = 2  # that `specc serve` scores with


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


def indexed(towers: Path, folder: Path) -> Path:
    """A flat index of items with the vectors of a two-tower model."""
    model, encoders = load_trained(towers)
    width = next(o["width"] for o in model.manifest["outputs"] if o["name"] == "item_vector")
    made = Made("two_tower", model.saved_as or "", "item_vector", width, "next", "viewer_vector", "inner")
    keys = np.arange(CATALOGUE)
    items = pa.table({"ad_item": keys, "ad_category": keys % 100})
    parts = vectors(model, encoders, [(items, Origin("catalogue"))], made, {}, Lacking())
    found = np.concatenate([rows_of(part.column("item_vector"), width, "vectors") for part in parts])
    Index.build(made, found, items).save(folder / "items.index")
    return folder / "items.index"


def load_of_stages(
    towers: Path, ranking: Path, bodies: list[bytes], seconds: float, folder: Path
) -> list[dict[str, Any]]:
    """As `load_test`, of two stages: candidates from an index, ranked by the model."""
    index = indexed(towers, folder)
    service = Service(lambda: Stages.load(towers, index, ranking, nearest=NEAREST), Limits())
    with listening(application(service, threads=THREADS)) as port:
        return [_row("specc serve, two stages", port, bodies, number, seconds) for number in CONNECTIONS]


def _row(name: str, port: int, bodies: list[bytes], connections: int, seconds: float) -> dict[str, Any]:
    taken = sorted(asked(port, bodies, connections, seconds))
    p50, p99 = (round(1e3 * taken[int(share * (len(taken) - 1))], 2) for share in (0.5, 0.99))
    rate = round(len(taken) / seconds, 1)
    return {"by": name, "connections": connections, "a second": rate, "p50 ms": p50, "p99 ms": p99}


def load_test(path: Path, scorer: Scorer, bodies: list[bytes], seconds: float) -> list[dict[str, Any]]:
    """For each way of serving and number of connections: requests a second, and how many milliseconds the
    median and the slowest hundredth took. The two have their turns."""
    served = application(Service(lambda: Scorer.load(path), Limits()), threads=THREADS)
    rows = []
    for connections in CONNECTIONS:
        for name, app in (("specc serve", served), ("by hand", by_hand(scorer))):
            with listening(app) as port:
                rows.append(_row(name, port, bodies, connections, seconds))
    return rows
