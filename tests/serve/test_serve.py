"""A served model, asked over HTTP: answers, bad requests, slow clients, other models meanwhile, a kill."""

from __future__ import annotations

import gzip
import json
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

import specc
from specc_runtime import save
from specc_runtime.encode import Encoders, Origin, write_encoders
from specc_runtime.score import Scorer
from tests.cli.test_predict import run

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
from specc_runtime.serve.__main__ import main as serve_alone
from specc_runtime.serve.run import server_of
from specc_runtime.serve.service import Limits, Service

SPEC = """model shop
table items = vocab(50, 4)
space user from request { id: vocab(50, 4), age: number(none, default = 30) }
space ad from candidate { item: items, price: number(log1p), slot: ids(5, 4) }
space history[t <= 4] from request { item: items }
predict click: binary = concat(user, ad, mean(history, over t)) |> mlp([8]) |> linear(1)
predict stay: real = concat(user, ad) |> linear(1)
"""


def request(seed: int, candidates: int = 3) -> dict[str, Any]:
    draw = random.Random(seed)
    return {
        "user_id": f"u{draw.randrange(9)}",
        "user_age": draw.randrange(90),
        "history_item": [f"i{draw.randrange(20)}" for _ in range(draw.randrange(6))],
        "ad_item": [f"i{draw.randrange(20)}" for _ in range(candidates)],
        "ad_price": [draw.randrange(100) for _ in range(candidates)],
        "ad_slot": [draw.randrange(5) for _ in range(candidates)],
    }


def write(path: Path, seed: int) -> Path:
    """A model with weights of its own."""
    torch.manual_seed(seed)
    model = specc.compile(SPEC)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, 0.0, 0.5)
    rows = [request(n, 1) for n in range(40)]
    flat = [{k: v[0] if k.startswith("ad_") else v for k, v in row.items()} for row in rows]
    table = pa.Table.from_pylist([{**row, "click": 1.0, "stay": 0.5} for row in flat])
    encoders = Encoders.learn(model.manifest, [(table, Origin("train"))])
    save(model, path, beside=[lambda place: write_encoders(encoders, place)])
    return path


@dataclass(frozen=True)
class Served:
    port: int
    service: Service
    folder: Path

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            sent = body if isinstance(body, bytes | type(None)) else json.dumps(body).encode()
            connection.request(method, path, sent)
            answer = connection.getresponse()
            text = answer.read()
            is_json = bool(text) and answer.headers.get_content_type() == "application/json"
            return answer.status, json.loads(text) if is_json else text.decode()
        finally:
            connection.close()


def serving(folder: Path, limits: Limits | None = None) -> AbstractContextManager[Served]:
    return serving_by(Service(lambda: Scorer.load(folder), limits or Limits()), folder)


@contextmanager
def serving_by(service: Service, folder: Path) -> Iterator[Served]:
    server = server_of(service, threads=4)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=lambda: server.run(sockets=[listener]))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield Served(listener.getsockname()[1], service, folder)
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = write(tmp_path_factory.mktemp("served") / "model", seed=0)
    with serving(folder, Limits(candidates=50, body=10_000, seconds=0.3)) as found:
        yield found


def test_an_answer_is_a_line_of_specc_score(served: Served, tmp_path: Path) -> None:
    file = tmp_path / "requests.jsonl"
    asked = [request(n, n % 4) for n in range(6)]
    file.write_text("".join(json.dumps(one) + "\n" for one in asked))
    for options, query in (
        ([], ""),
        (["--top", "2"], "?top=2"),
        (["--top", "1", "--by", "stay"], "?top=1&by=stay"),
    ):
        done = run("score", served.folder, file, "-o", tmp_path / "scores.jsonl", *options)
        assert done.exit_code == 0, done.output
        for one, line in zip(asked, (tmp_path / "scores.jsonl").read_text().splitlines(), strict=True):
            status, found = served.ask("POST", f"/score{query}", one)
            wanted = json.loads(line)
            del wanted["request"]
            assert status == 200
            assert found.keys() == wanted.keys()
            for name in wanted:
                if name in ("click", "stay"):
                    assert found[name] == pytest.approx(wanted[name], rel=1e-5)
                else:
                    assert found[name] == wanted[name]


PATHS = "there are POST /score, GET /health, GET /metrics, POST /reload, GET /openapi.json"
BAD: list[tuple[str, Any, str]] = [
    ("", b"{", "the request is not JSON"),
    ("", b'{"user_id": "u1",\n "ad_item": x}', "(line 2, column 13)"),
    ("", b"\xff", "not UTF-8: byte 1"),
    ("", b'{"user_age": NaN}', "NaN is no number"),
    ("", b'{"user_age": 3, "user_id": "u1", "user_age": 4}', "`user_age` is there twice"),
    ("", b"[" * 9000, "nested too deeply"),
    ("", [1], "a request is an object of columns, and this is a list"),
    ("", {"other": 1}, "it has none of the model's columns"),
    ("", {**request(1), "ad_slot": [0, 1, 9]}, "column `ad_slot`, item 3: 9 is not one of the ids 0 to 4"),
    ("", {**request(1), "ad_slot": [0, 1]}, "ad_slot"),
    ("", {**request(1), "user_age": "old"}, "request, row 1, column `user_age`"),
    ("", {**request(1), "ad_price": 3}, "ad_price"),
    ("", request(1, 51), "51 candidates; at most 50"),
    ("?top=0", request(1), "`top`"),
    ("?top=some", request(1), "`top`"),
    ("?top=1&by=clik", request(1), "ranked by click, stay"),
    ("?by=click", request(1), "by goes with top"),
    ("?top=1&top=2", request(1), "`top` is there twice"),
    ("?topp=1", request(1), "no parameter `topp`; there are top, by and seed"),
]


@pytest.mark.parametrize(("query", "body", "says"), BAD, ids=range(len(BAD)))
def test_a_bad_request_is_told_what_is_wrong(served: Served, query: str, body: Any, says: str) -> None:
    status, found = served.ask("POST", f"/score{query}", body)
    assert (status, says in found["error"]) == (400, True), found
    assert served.ask("POST", "/score", request(1))[0] == 200


def test_faults_are_data_too(served: Served) -> None:
    one = {**request(1), "ad_slot": [0, 7, 9]}
    del one["ad_price"]
    _, found = served.ask("POST", "/score", one)
    assert {fault["column"] for fault in found["faults"]} == {"ad_slot", "ad_price"}
    slot = next(fault for fault in found["faults"] if fault["column"] == "ad_slot")
    assert slot["what"].startswith("7 is not one of the ids")
    assert (slot["items"], slot["more"]) == ([2], 1)


def test_advice_is_for_who_asks_and_not_for_a_file(served: Served) -> None:
    one = {**request(1), "user_age": "old", "history_item": "i3", "ad_slot": [0, 7, 1]}
    _, found = served.ask("POST", "/score", one)
    help = {fault["column"]: fault.get("help", "") for fault in found["faults"]}
    assert help["user_age"] == "give a number, or null where there is no value"
    assert help["history_item"].startswith("give a list, or ")
    assert set(help) == {"user_age", "history_item", "ad_slot"}  # all at once, and none for what is there
    one |= {"user_age": None, "history_item": ["i3"], "ad_slot": [0, 4, 1]}
    assert served.ask("POST", "/score", one)[0] == 200
    _, found = served.ask("POST", "/score", {"user_id": "u1"})
    assert found["faults"][0]["help"].startswith("what is given has user_id; add the column")


def test_a_body_beyond_the_bound_is_not_read(served: Served) -> None:
    status, found = served.ask("POST", "/score", b" " * 20_000)
    assert (status, found["error"]) == (413, "the request is larger than 10,000 bytes")
    with socket.create_connection(("127.0.0.1", served.port), timeout=5) as client:
        client.sendall(b"POST /score HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(3):
            client.sendall(b"1388\r\n" + b" " * 5000 + b"\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_slow_client_is_sent_away_and_delays_nobody(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=5) as client:
        client.sendall(b"POST /score HTTP/1.1\r\nhost: x\r\ncontent-length: 500\r\n\r\n{")
        assert served.ask("POST", "/score", request(1))[0] == 200
        answer = b"".join(iter(lambda: client.recv(1000), b""))
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"did not arrive within 0.3 seconds" in answer


def test_headers_that_come_slowly_are_waited_for_no_longer(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=5) as client:
        client.sendall(b"POST /score HTTP/1.1\r\nhost: x\r\n")
        for _ in range(4):  # a letter now and then keeps nobody waiting
            time.sleep(0.05)
            client.sendall(b"a")
        assert served.ask("GET", "/health")[0] == 200
        answer = b"".join(iter(lambda: client.recv(1000), b""))
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"the headers did not arrive within 0.3 seconds" in answer
    # Between requests on a connection nothing is late.
    with socket.create_connection(("127.0.0.1", served.port), timeout=5) as client:
        for _ in range(3):
            client.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
            answer = b""
            while not answer.endswith(b"}"):
                answer += client.recv(1000)
            assert answer.startswith(b"HTTP/1.1 200 ")
            time.sleep(0.2)
        client.sendall(b"GET /he")
        answer = b"".join(iter(lambda: client.recv(1000), b""))
    assert answer.startswith(b"HTTP/1.1 408 ")
    with socket.create_connection(("127.0.0.1", served.port), timeout=5) as client:
        assert client.recv(1000).startswith(b"HTTP/1.1 408 ")


def test_a_client_that_goes_away_is_no_trouble(served: Served) -> None:
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", served.port)) as client:
            client.sendall(b"POST /score HTTP/1.1\r\nhost: x\r\ncontent-length: 500\r\n\r\n{")
    assert served.ask("POST", "/score", request(1))[0] == 200


def test_health_metrics_and_schema(served: Served) -> None:
    status, health = served.ask("GET", "/health")
    assert (status, health) == (
        200,
        {"status": "ok", "model": "shop", "version": served.service.scorer.version, "engine": "native"},
    )
    served.ask("POST", "/score", request(77))
    served.ask("POST", "/score", request(77))
    metrics = served.ask("GET", "/metrics")[1]
    counts = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if not line.startswith("#"))
    assert float(counts['arec_requests_total{status="200"}']) >= 2
    assert float(counts["arec_states_hits"]) >= 1
    assert float(counts["arec_candidates_total"]) >= 2 * len(request(77)["ad_price"]) > 0
    assert 0 < float(counts["arec_states_bytes"]) < 64 << 20
    assert float(counts["arec_score_seconds_count"]) >= 2
    schema = served.ask("GET", "/openapi.json")[1]["paths"]["/score"]["post"]
    columns = schema["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert set(columns) == set(request(0))
    assert columns["ad_price"]["type"] == ["array", "null"]
    assert columns["user_age"]["type"] == ["number", "string", "null"]


def test_what_is_not_there_and_what_is_packed_is_told(served: Served) -> None:
    assert served.ask("GET", "/score") == (405, {"error": f"there is no GET /score; {PATHS}"})
    assert served.ask("GET", "/scores") == (404, {"error": f"there is no GET /scores; {PATHS}"})
    assert served.ask("POST", "/score/") == (404, {"error": f"there is no POST /score/; {PATHS}"})
    assert served.ask("HEAD", "/health")[0] == 200
    connection = HTTPConnection("127.0.0.1", served.port, timeout=20)
    packed = gzip.compress(json.dumps(request(1)).encode())
    connection.request("POST", "/score", packed, {"content-encoding": "gzip"})
    answer = connection.getresponse()
    told = json.loads(answer.read())["error"]
    connection.close()
    assert (answer.status, told) == (400, "the request is packed (gzip): send it as it is")


def test_many_clients_get_their_own_answers(served: Served) -> None:
    asked = [request(n, 1 + n % 5) for n in range(24)]
    alone = [served.ask("POST", "/score", one)[1] for one in asked]

    def client(seed: int) -> None:
        connection = HTTPConnection("127.0.0.1", served.port, timeout=20)
        for n in random.Random(seed).choices(range(len(asked)), k=25):
            connection.request("POST", "/score", json.dumps(asked[n]).encode())
            assert json.loads(connection.getresponse().read()) == alone[n]
        connection.close()

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(client, range(16)))


def test_another_model_takes_over_while_it_is_asked(tmp_path: Path) -> None:
    """Every answer is whole, by one of the two; after the reload all are by the new one. A folder that
    cannot be loaded changes nothing."""
    folder = write(tmp_path / "model", seed=1)
    with serving(folder) as served:
        one = request(5)
        before = served.ask("POST", "/score", one)[1]
        write(folder, seed=2)
        after = Scorer.load(folder).score(one).values["click"].tolist()
        done, seen = threading.Event(), []

        def client() -> None:
            while not done.is_set():
                status, found = served.ask("POST", "/score", one)
                assert status == 200
                seen.append(found["click"])

        with ThreadPoolExecutor(3) as pool:
            clients = [pool.submit(client) for _ in range(3)]
            time.sleep(0.1)
            status, told = served.ask("POST", "/reload")
            assert (status, told["version"]) == (200, served.service.scorer.version)
            time.sleep(0.1)
            done.set()
            for each in clients:
                each.result()
        olds = [x == before["click"] for x in seen]
        assert all(old or x == pytest.approx(after) for old, x in zip(olds, seen, strict=True))
        assert True in olds
        assert False in olds
        assert served.ask("POST", "/score", one)[1]["click"] == pytest.approx(after)

        (folder / "weights.safetensors").write_bytes(b"damaged")
        status, told = served.ask("POST", "/reload")
        assert status == 409
        assert "weights.safetensors is not the file that was saved" in told["error"]
        assert served.ask("POST", "/score", one)[1]["click"] == pytest.approx(after)


# What `python -m specc_runtime.serve` runs, where there is no compiler of specs.
ALONE = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "specc":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from specc_runtime.serve.__main__ import main
sys.exit(main())
"""


@contextmanager
def process_of(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process without specc that serves, and the line that says so."""
    command = [sys.executable, "-c", ALONE, str(folder), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            yield process, process.stderr.readline()
        finally:
            process.kill()


def test_a_killed_process_is_started_again_where_it_was(served: Served) -> None:
    wanted = served.ask("POST", "/score", request(3))[1]
    with process_of(served.folder, "--port", "0") as (process, said):
        assert said.startswith(f"serving shop {served.service.scorer.version[:12]} at http://127.0.0.1:"), (
            said
        )
        port = int(said.rsplit(":", 1)[1])
        there = Served(port, served.service, served.folder)
        assert there.ask("POST", "/score", request(3))[1] == wanted
        process.send_signal(signal.SIGKILL)
    with pytest.raises(OSError, match="refused"):
        there.ask("GET", "/health")
    with process_of(served.folder, "--port", str(port)) as (process, said):
        assert there.ask("POST", "/score", request(3))[1] == wanted
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) in (0, -signal.SIGTERM)
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_an_address_that_is_taken_is_told(served: Served) -> None:
    done = run("serve", served.folder, "--port", str(served.port))
    assert done.exit_code == 1
    assert f"127.0.0.1:{served.port} cannot be had" in done.output
    assert run("serve", served.folder.parent).exit_code == 1


def test_a_file_that_cannot_be_read_is_no_fault_of_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unread(given: object) -> None:
        raise PermissionError(13, "Permission denied", "weights.safetensors")

    monkeypatch.setattr("specc_runtime.serve.__main__._loaded", unread)
    assert serve_alone([str(tmp_path), "--port", "0"]) == 1
    assert capsys.readouterr().err == "error: weights.safetensors: Permission denied\n"


def test_an_engine_runs_what_was_exported_beside_the_model(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
    pytest.importorskip("onnxscript", reason="the extra `onnx` is not installed")
    folder = write(tmp_path / "model", seed=3)
    done = run("serve", folder, "--engine", "onnx")
    advice = f"specc export {folder} --format onnx"
    assert (done.exit_code, f"`{advice}` writes it" in done.output) == (1, True), done.output
    exported = run(*advice.split()[1:])
    assert exported.exit_code == 0, exported.output
    assert (tmp_path / "model.onnx").is_file()
    with process_of(folder, "--port", "0", "--engine", "onnx") as (_, said):
        assert said.startswith("serving"), said
        there = Served(int(said.rsplit(":", 1)[1]), Service(lambda: Scorer.load(folder), Limits()), folder)
        for seed, candidates in ((6, 4), (7, 0), (8, 1)):
            one = request(seed, candidates)
            status, found = there.ask("POST", "/score", one)
            wanted = there.service.scorer.score(one).values
            assert status == 200
            assert {name: pytest.approx(values, abs=1e-5) for name, values in wanted.items()} == found
        assert there.ask("GET", "/health")[1]["engine"] == "onnx"
    with process_of(folder, "--port", "0") as (process, said):
        assert re.match(
            r"engine (native|onnx) \(native [^,]+ ms, onnx [^,]+ ms for 200 candidates\)$", said
        ), said
        assert process.stderr is not None
        there = replace(there, port=int(process.stderr.readline().rsplit(":", 1)[1]))
        assert there.ask("GET", "/health")[1]["milliseconds"].keys() == {"native", "onnx"}
    done = run("serve", folder, "--engine", "aoti", "--exported", tmp_path / "model.onnx")
    assert (done.exit_code, "leave --engine away" in done.output) == (2, True)
