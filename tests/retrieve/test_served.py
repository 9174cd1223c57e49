"""Two stages over HTTP: many clients at once, bad and slow ones too, while another ranking takes over."""

from __future__ import annotations

import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from specc_runtime import load, save
from specc_runtime.retrieval import Stages
from tests.cli.test_predict import run
from tests.retrieve.shop import Shop
from tests.retrieve.test_index import REQUESTS, whole

pytest.importorskip("faiss")
pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
from specc_runtime.serve.service import Limits, Service
from tests.serve.test_serve import Served, process_of, serving_by

QUERY = "/score?top=4"


@pytest.fixture
def served(shop: Shop, index: Path, ranking: Path, tmp_path: Path) -> Iterator[Served]:
    """With a ranking, and an index, of its own."""
    shutil.copytree(ranking, tmp_path / "ranking")
    shutil.copytree(index, tmp_path / "index")

    def stages() -> Stages:
        return Stages.load(shop.towers, tmp_path / "index", tmp_path / "ranking", nearest=12)

    with serving_by(Service(stages, Limits(body=10_000, seconds=0.5)), tmp_path) as found:
        yield found


def answers(served: Served) -> list[Any]:
    return [served.ask("POST", QUERY, one) for one in REQUESTS]


def test_every_client_gets_its_own_answer_while_a_ranking_takes_over(served: Served) -> None:
    before = answers(served)
    assert {status for status, _ in before} == {200}
    model = load(served.folder / "ranking")
    with torch.no_grad():
        for weight in model.parameters():
            weight.neg_()
    save(model, served.folder / "ranking")
    done, wrong = threading.Event(), list[Any]()

    def client(first: int) -> list[Any]:
        seen, turn = [], first
        while not done.is_set():
            at = turn % len(REQUESTS)
            seen.append((at, served.ask("POST", QUERY, REQUESTS[at])))
            turn += 1
        return seen

    def bad(body: Any, says: str) -> int:
        asked = 0
        while not done.is_set():
            status, found = served.ask("POST", QUERY, body)
            if status != 400 or says not in found["error"]:
                wrong.append((status, found))
            asked += 1
        return asked

    def slow() -> bytes:
        with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
            connection.sendall(b"POST /score HTTP/1.1\r\nhost: x\r\ncontent-length: 500\r\n\r\n{")
            return b"".join(iter(lambda: connection.recv(1000), b""))

    with ThreadPoolExecutor(8) as pool:
        good = [pool.submit(client, first) for first in range(4)]
        faulty = [pool.submit(bad, b"{", "is not JSON")]
        faulty.append(pool.submit(bad, whole(REQUESTS[0]), "leave their columns out"))
        waiting = pool.submit(slow)
        time.sleep(0.2)
        status, told = served.ask("POST", "/reload")
        assert (status, told["version"]) == (200, served.service.scorer.version)
        assert waiting.result().startswith(b"HTTP/1.1 408 ")
        done.set()
        seen = [each for future in good for each in future.result()]
        assert not wrong
        assert all(future.result() for future in faulty)
    after = answers(served)
    assert before[0] != after[0]
    for at, answer in seen:
        assert answer in (before[at], after[at])
    assert any(answer == before[at] for at, answer in seen)

    (served.folder / "index" / "items.arrow").write_bytes(b"damaged")
    status, told = served.ask("POST", "/reload")
    assert (status, "is not the file that was saved" in told["error"]) == (409, True)
    assert answers(served) == after


def test_the_ranking_may_be_an_exported_one(shop: Shop, index: Path, ranking: Path, tmp_path: Path) -> None:
    """In a process without specc."""
    done = run("serve", shop.towers, "--port", 0, "--retrieve", index, "--engine", "onnx")
    assert (done.exit_code, "are of --rank MODEL2" in done.stderr) == (2, True)
    pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
    pytest.importorskip("onnxscript", reason="the extra `onnx` is not installed")
    folder = tmp_path / "ranking"
    shutil.copytree(ranking, folder)
    assert run("export", folder, "--format", "onnx").exit_code == 0
    wanted = Stages.load(shop.towers, index, ranking, nearest=12).answer(REQUESTS[0], 4)
    options = ("--retrieve", str(index), "--rank", str(folder), "--nearest", "12", "--engine", "onnx")
    with process_of(shop.towers, "--port", "0", *options) as (_, said):
        there = Served(int(said.rsplit(":", 1)[1]), None, folder)  # type: ignore[arg-type]
        status, found = there.ask("POST", QUERY, REQUESTS[0])
        assert (status, there.ask("GET", "/health")[1]["engine"]) == (200, "onnx")
    assert found["candidate"] == wanted["candidate"]
    assert found["click"] == pytest.approx(wanted["click"], abs=1e-5)
    assert json.dumps(found["ad_item"]) == json.dumps(wanted["ad_item"])
