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

import torch

from specc_runtime import encoded
from specc_runtime.score import Scorer

CONNECTIONS = (1, 16, 64)
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


def load_test(path: Path, scorer: Scorer, bodies: list[bytes], seconds: float) -> list[dict[str, Any]]:
    """For each way of serving and number of connections: requests a second, and how many milliseconds the
    median and the slowest hundredth took. The two have their turns."""
    from specc_runtime.serve.app import application
    from specc_runtime.serve.service import Limits, Service

    served = application(Service(lambda: Scorer.load(path), Limits()), threads=THREADS)
    rows = []
    for connections in CONNECTIONS:
        for name, app in (("specc serve", served), ("by hand", by_hand(scorer))):
            with listening(app) as port:
                taken = sorted(asked(port, bodies, connections, seconds))
            p50, p99 = (round(1e3 * taken[int(share * (len(taken) - 1))], 2) for share in (0.5, 0.99))
            rate = round(len(taken) / seconds, 1)
            rows.append(
                {"by": name, "connections": connections, "a second": rate, "p50 ms": p50, "p99 ms": p99}
            )
    return rows
